"""What people are told of one delivery: whether it drifted, what that means, and what follows by itself."""

from collections.abc import Iterable, Sequence
from typing import Final

import polars as pl

from cv_assets.drift.episodes import Episode
from cv_assets.drift.schema import JUDGED
from cv_assets.reference.schema import NOVELTY, REJECTED, REPEATED
from cv_assets.reference.words import it_takes
from cv_assets.words import Said, listed

_JUDGED: Final = pl.col("verdict").is_in(JUDGED)
_TOLD: Final = 3


def drift_said(rows: pl.DataFrame, around: Sequence[Episode], patience: int) -> Said:
    """Whether the delivery of `rows` drifted. `around` are the episodes that it belongs to.

    Only the novelty decides. Statistics that warn are told, and do not fail it: of so many some lie beyond the largest
    of a few reference deliveries nearly every day. Without a verdict on the novelty it says that nothing is known, and
    fails nothing: one delivery of few frames is no news, and what a release lacks is told once, where alarms are.
    """
    watched = rows.filter(pl.col("role") != "station")
    if watched.is_empty():
        return Said(True, "No capture came: there is nothing to measure.")
    drifted, judged = _by_change(watched.filter(verdict="drifted")), watched.filter(_JUDGED)
    slow = [one for one in around if one.slow]
    known = NOVELTY in judged["statistic"]
    said = [] if known else [f"Not known: {_why(watched)} {_no_verdict(watched)}"]
    if judged.is_empty():
        return Said(True, " ".join(said), known)
    said.append(_count(drifted, judged))
    if drifted.is_empty() and known:
        said.append(f"{NOVELTY}: {_why(judged)}")
    said += [_slowly(one) for one in slow]
    said += _follows(drifted, around, patience)
    if unjudged := watched.filter(~_JUDGED)["statistic"].to_list():
        said.append(f"Without a verdict: {listed(unjudged, _TOLD)}; the table says why.")
    alarming = not drifted.filter(role="alarms").is_empty() or any(one.role == "alarms" for one in slow)
    return Said(not alarming, " ".join(said), known)


def station_said(rows: pl.DataFrame) -> Said:
    """Whether the station of `rows` takes pictures as it should."""
    shares = rows.filter(role="station")
    if shares.is_empty():
        return Said(True, "No capture came: there is nothing to measure.")
    if shares.filter(_JUDGED).is_empty():
        return Said(True, f"Not known: {shares['why'][0]}", known=False)
    drifted = shares.filter(verdict="drifted")
    if drifted.is_empty():
        whole = shares.filter(pl.col("statistic").is_in([REJECTED, REPEATED]))
        told = "; ".join(
            f"{name}: {why.removesuffix('.')}" for name, why in whole.select("statistic", "why").rows()
        )
        return Said(True, f"{told}.")
    told = " ".join(f"{name}: {why}" for name, why in drifted.select("statistic", "why").rows())
    where = drifted["station"][0] or "unknown or mixed"
    look = (
        "light, focus and aim"
        if set(drifted["statistic"]) != {REPEATED}
        else "whether its camera stands still"
    )
    return Said(
        False,
        f"{told} An alarm about the station ({where}) follows, which never starts a training: look at it, at {look}.",
    )


def around(episodes: Iterable[Episode], delivery: str) -> list[Episode]:
    """The episodes of frames' statistics that `delivery` belongs to."""
    return [one for one in episodes if delivery in one.deliveries and one.role != "station"]


def _by_change(drifted: pl.DataFrame) -> pl.DataFrame:
    """The novelty first, then what changed most beside its level."""
    return drifted.sort(
        pl.col("role") != "alarms", -(pl.col("psi") / pl.col("psi_level")), "statistic", nulls_last=True
    )


def _why(rows: pl.DataFrame) -> str:
    """What is said of the novelty, or else of the first statistic."""
    return str(rows.sort(pl.col("statistic") != NOVELTY, maintain_order=True)["why"][0])


def _no_verdict(watched: pl.DataFrame) -> str:
    match watched.sort(pl.col("statistic") != NOVELTY, maintain_order=True)["verdict"][0]:
        case "not_enough":
            return "Nothing is said of it, and no alarm can come of it."
        case "not_calibrated":
            return "Train a candidate on more deliveries; until then people judge by the figures."
        case _:
            return "Release a candidate that has a drift_reference; it measures the deliveries that come after it."


def _count(drifted: pl.DataFrame, judged: pl.DataFrame) -> str:
    of, release = f"of {judged.height} statistics drifted from what", judged["release"][0]
    if drifted.is_empty():
        return f"None {of} {release} was trained on."
    told = [
        f"{name}: {why.removesuffix('.')}"
        for name, why in drifted.head(_TOLD).select("statistic", "why").rows()
    ]
    more = f"; and {drifted.height - _TOLD} more" if drifted.height > _TOLD else ""
    return f"{drifted.height} {of} {release} was trained on. {'; '.join(told)}{more}."


def _slowly(episode: Episode) -> str:
    return (
        f"{episode.statistic} drifts slowly: {len(episode.deliveries)} deliveries since {episode.deliveries[0]} each "
        "differ a little, together too much."
    )


def _follows(drifted: pl.DataFrame, around: Sequence[Episode], patience: int) -> list[str]:
    alarming = [one for one in around if one.role == "alarms"]
    confirmed = {delivery for one in alarming if one.confirmed for delivery in one.deliveries}
    if confirmed:
        return [
            f"A drift alarm covers {len(confirmed)} deliveries, this one among them. All their captures are on the "
            "worklist; a retraining waits for those labels."
        ]
    if alarming:
        (run,) = alarming
        return [
            f"This is a warning ({len(run.deliveries)} so far; an alarm takes {it_takes(patience)}); nobody is asked "
            "yet."
        ]
    if not drifted.is_empty() or around:
        return ["None of these opens an alarm: see whether light, focus or product changed."]
    return []
