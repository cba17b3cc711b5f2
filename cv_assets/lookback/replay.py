"""Threshold replay: what another operating band would have made of stored scores. It changes no verdict.

What a band lets through is known only where people looked: at every REVIEW, at automatic verdicts drawn at random, and
at drifted deliveries. A capture that they answered for stands for others by its weight, as in the KPIs. A frame
labelled for another reason (it trains, it judges) was not drawn at random: it stands for none but itself.
"""

from collections.abc import Collection, Sequence
from typing import Final

import polars as pl

from cv_assets.evaluation.band import UNREACHABLE, OperatingBand, verdict
from cv_assets.inspection.schema import VERDICTS
from cv_assets.lookback.schema import ThresholdReplay
from cv_assets.release.history import another_passes
from cv_assets.requests.base import release_in_force
from cv_assets.review.asked import asked
from cv_assets.review.estimates import verdict_codes, weights
from cv_assets.words import counted, listed

NEEDED: Final = (
    "capture_id", "part", "delivery", "group", "frame_id", "prepared_path", "verdict", "audit",
    "review_probability", "release", "defect_score", "lower", "upper",
)  # fmt: skip
"""The columns of inspections that a replay needs."""


class CannotReplayError(ValueError):
    """What was asked for cannot be replayed."""


def proposed_band(lower: float, upper: float) -> OperatingBand:
    """The band to try. Raises CannotReplayError for thresholds that are no scores, or the wrong way round."""
    for name, threshold in (("lower", lower), ("upper", upper)):
        if not (0 <= threshold <= 1 or threshold == UNREACHABLE):
            raise CannotReplayError(
                f"`{name}` must be a defect score from 0 to 1, or {UNREACHABLE:g} for a threshold that no score "
                f"reaches; got {threshold:g}"
            )
    if lower > upper:
        raise CannotReplayError(
            f"`lower` must be at most `upper`, for no part both passes and fails; got {lower:g} and {upper:g}"
        )
    return OperatingBand(lower, upper)


def version_to_replay(asked: str, releases: pl.DataFrame, pass_class: str) -> str:
    """The version `asked` for, or the one in force when that is empty.

    Raises CannotReplayError when it was never released, or with another class as the one that passes than the spec's
    `pass_class`: labels are read by the spec, and by them its escapes would be others.
    """
    now, released = release_in_force(releases), releases.filter(pl.col("outcome") == "released")
    if now is None:
        raise CannotReplayError("nothing was released yet: no verdict has a score to replay")
    version = asked or str(now["version"])
    rows = {row["version"]: row for row in released.iter_rows(named=True)}
    if version not in rows:
        raise CannotReplayError(
            f"`release`: {version} was never released; released versions: {listed(list(rows))}"
        )
    if differs := another_passes(rows[version], pass_class):
        raise CannotReplayError(
            f"{differs}, and labels are read by that: they do not tell which of its verdicts were right"
        )
    return version


def deliveries_to_replay(asked: Sequence[str], inspected: Sequence[str]) -> list[str]:
    """The deliveries `asked` for, or all `inspected` ones. Raises CannotReplayError for one that was not inspected."""
    if unknown := sorted(set(asked) - set(inspected)):
        raise CannotReplayError(
            f"`deliveries`: no inspections of {listed(unknown)}; inspected were {listed(inspected) or 'none yet'}"
        )
    return sorted(set(asked) or inspected)


def check_classes(truth: pl.DataFrame, scored: pl.DataFrame, classes: Sequence[str]) -> None:
    """Raises CannotReplayError when the truth of a scored capture is none of the spec's `classes`.

    The class that passes, under the name that it had before, would be read as a defect.
    """
    said = truth.join(scored, on="frame_id", how="semi")["truth"].unique().sort()
    if unknown := [f"`{name}`" for name in said if name not in classes]:
        raise CannotReplayError(
            f"labels say {listed(unknown)}, and the spec's classes are {listed(classes)}: whether such a part passes "
            "is not known. Export these labels again under the spec's names, then replay"
        )


def scored_by(inspections: pl.DataFrame, version: str) -> pl.DataFrame:
    """The captures that the model of release `version` scored. Raises CannotReplayError when there is none."""
    scored = inspections.filter(pl.col("release") == version, pl.col("defect_score").is_not_null())
    if scored.is_empty():
        raise CannotReplayError(
            f"{version} scored none of the {counted(inspections.height, 'capture')} looked through: there is nothing "
            "to replay"
        )
    return scored


def bands_in_effect(scored: pl.DataFrame) -> list[OperatingBand]:
    """The bands that decided; one for each release, as long as nobody changed a band in force."""
    thresholds = scored.select("lower", "upper").unique(maintain_order=True)
    return [OperatingBand(lower, upper) for lower, upper in thresholds.iter_rows()]


def contradictions(scored: pl.DataFrame) -> pl.DataFrame:
    """The captures whose stored verdict is not the one that their own stored thresholds give."""
    stored = scored.select("defect_score", "lower", "upper").iter_rows()
    said = [verdict(score, OperatingBand(lower, upper)) for score, lower, upper in stored]
    return scored.filter(pl.Series(said, dtype=pl.String) != pl.col("verdict"))


def replay(
    scored: pl.DataFrame, truth: pl.DataFrame, band: OperatingBand, drifted: Collection[str] = ()
) -> pl.DataFrame:
    """The stored verdict of every scored capture beside the one that `band` gives, as rows of `ThresholdReplay`.

    `truth` is that of `known_truth`, `drifted` are the deliveries that people see whole.
    """
    known = asked(scored, drifted).join(
        truth.select("frame_id", "truth"), on="frame_id", how="left", maintain_order="left"
    )
    weight_N = weights(
        verdict_codes(known["verdict"]),
        known["probability"].to_numpy(),
        known["asked"].to_numpy(),
        known["truth"].is_not_null().to_numpy(),
    )
    return (
        known.with_columns(
            replayed=pl.Series([verdict(one, band) for one in scored["defect_score"]], dtype=pl.String),
            weight=pl.Series(weight_N),
            lower=pl.lit(band.lower),
            upper=pl.lit(band.upper),
        )
        .with_columns(
            changed=pl.col("verdict") != pl.col("replayed"),
            weight=pl.when(pl.col("weight") > 0).then("weight"),
        )
        .select(ThresholdReplay.column_names())
    )


def answers_by_verdict(
    scored: pl.DataFrame, rows: pl.DataFrame, drifted: Collection[str] = ()
) -> pl.DataFrame:
    """How many captures of each stored verdict people were asked about, and how many of these they answered for.

    `labelled otherwise` are those whose class is known although nobody was asked. `rows` are those of `replay`.
    """
    answered, known = pl.col("weight").is_not_null(), pl.col("truth").is_not_null()
    counts = (
        asked(scored, drifted)
        .select("capture_id", "asked")
        .join(rows, on="capture_id")
        .group_by(stored="verdict")
        .agg(
            pl.len().alias("captures"),
            pl.col("asked").sum(),
            answered.sum().alias("answered"),
            (known & ~answered).sum().alias("labelled otherwise"),
        )
    )
    every = pl.DataFrame({"stored": VERDICTS})
    return every.join(counts, on="stored", how="left", maintain_order="left").fill_null(0)


def in_short(rows: pl.DataFrame, scored: pl.DataFrame, band: OperatingBand) -> str:
    """What was replayed and how much of it changes, in words. `rows` are those of `replay`."""
    return (
        f"{rows['changed'].sum()} of {counted(rows.height, 'verdict')} by {rows['release'][0]} in "
        f"{counted(rows['delivery'].n_unique(), 'delivery', 'deliveries')} would be another. "
        f"In effect: {' / '.join(one.words for one in bands_in_effect(scored))}. Replayed: {band.words}. "
        "This is a reading: no verdict and no release changes."
    )


def transitions(rows: pl.DataFrame) -> pl.DataFrame:
    """How many captures of each stored verdict get each replayed one: a row per stored verdict."""
    counts = rows.select("verdict", "replayed").rows()
    return pl.DataFrame(
        [
            {"stored": before, **{f"now {after}": counts.count((before, after)) for after in VERDICTS}}
            for before in VERDICTS
        ]
    )


def changes(rows: pl.DataFrame, pass_class: str) -> pl.DataFrame:
    """The kinds of change, and what is known of the changed captures, for whatever reason they were labelled."""
    defective = pl.col("truth") != pass_class
    return (
        rows.filter("changed")
        .group_by(change=pl.format("{} > {}", "verdict", "replayed"))
        .agg(
            captures=pl.len(),
            defective=defective.sum(),
            sound=(~defective).sum(),
            unknown=pl.col("truth").is_null().sum(),
        )
        .sort("captures", "change", descending=[True, False])
    )
