"""The inspection step: the verdict on every capture, and how the line is told."""

from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Final

import dagster as dg
import polars as pl

from cv_assets.frames.captures import miscounted
from cv_assets.frames.files import write_atomically
from cv_assets.inspection.schema import VERDICTS, Inspections, Outbox
from cv_assets.release.schema import Releases
from cv_assets.requests.base import release_in_force
from cv_assets.spec.assets import in_force
from cv_assets.spec.schema import Spec
from resources.contracts import Audited, Check, TableAsset, preview
from resources.deployments import Deployment, writing
from resources.partitions import deliveries
from resources.pictures import figure_png, montage, picture
from resources.tables import Snapshot, Tables

if TYPE_CHECKING:
    from cv_assets.inspection.verdicts import Decider, Scored

EVERY_CAPTURE_HAS_ONE_VERDICT = Check(
    "every_capture_has_one_verdict", "Has every capture exactly one verdict?"
)
VERDICTS_ARE_WRITTEN_ONCE = Check(
    "verdicts_are_written_once",
    "Are all verdicts new, or the same as those that were given before? A verdict that was given never changes.",
)
A_RELEASE_IS_IN_FORCE = Check(
    "a_release_is_in_force",
    "Is a release in force that can decide? Without one every part goes to people.",
    blocking=False,
)
ONE_PREPARATION = Check(
    "one_preparation",
    "Did the frames go through the pass that the released model was trained on? A frame that did not goes to people.",
    blocking=False,
)
EVERY_SCORE_IS_A_PROBABILITY = Check(
    "every_score_is_a_probability",
    "Did the model give one probability per class for every frame that it looked at? A frame without goes to people.",
    blocking=False,
)
EVERY_VERDICT_IS_TOLD = Check(
    "every_verdict_is_told", "Is every verdict in the line's file, and nothing else?"
)

INSPECTIONS = TableAsset(
    "inspections",
    Inspections,
    step="inspection",
    kinds=frozenset({"onnx"}),
    partitions=deliveries,
    checks=(
        EVERY_CAPTURE_HAS_ONE_VERDICT,
        VERDICTS_ARE_WRITTEN_ONCE,
        A_RELEASE_IS_IN_FORCE,
        ONE_PREPARATION,
        EVERY_SCORE_IS_A_PROBABILITY,
    ),
)
OUTBOX = TableAsset(
    "outbox",
    Outbox,
    step="inspection",
    kinds=frozenset({"json"}),
    partitions=deliveries,
    checks=(EVERY_VERDICT_IS_TOLD,),
)

_CHUNK: Final = 256
"""Frames that are held in memory at a time."""

_SHOWN_COLUMNS: Final = ("part", "verdict", "reason", "why", "release", "audit", "captured_at")


@dg.asset(**INSPECTIONS.arguments, deps=["releases"])
def inspections(
    context: dg.AssetExecutionContext,
    project_spec: pl.DataFrame,
    raw_frames: pl.DataFrame,
    prepared_frames: pl.DataFrame,
    tables: dg.ResourceParam[Tables],
    deployment: dg.ResourceParam[Deployment],
) -> Audited:
    """The verdict on every capture: PASS, FAIL, or REVIEW by a person, and everything that it follows from.

    The release in force decides by its model's defect score and its two thresholds. What it cannot decide goes to
    people, each with its reason: a rejected frame, one of another pass, one to which the model gave no probabilities,
    or any frame while nothing is in force that can decide. A verdict is written once: later releases judge later
    deliveries.
    """
    from cv_assets.inspection.verdicts import inspect, to_score

    spec, snapshot = in_force(project_spec, deployment), tables.snapshot(context)
    decider = _decider(snapshot)
    try:
        scored = _score(to_score(prepared_frames, decider, spec), decider, snapshot, deployment)
        rows = inspect(raw_frames, prepared_frames, decider, scored, spec=spec, decided_at=datetime.now(UTC))
    except ValueError as error:
        raise dg.Failure(str(error), allow_retries=False) from error
    rows, once = _written_once(rows, snapshot, context.partition_key)
    yield from INSPECTIONS.audited(
        rows,
        checks=[
            _one_verdict_each(raw_frames, rows),
            once,
            _can_decide(decider, rows, spec),
            _one_preparation(decider, rows),
            _probabilities(rows),
        ],
        metadata={
            "rows": preview(rows, _SHOWN_COLUMNS),
            **_figures(rows),
            **_in_effect(decider),
            "verdicts": preview(rows.group_by("verdict", "reason").len("captures").sort("verdict", "reason")),
            **_pictures(rows, decider, snapshot, spec),
        },
    )


@dg.asset(**OUTBOX.arguments)
def outbox(
    context: dg.AssetExecutionContext,
    project_spec: pl.DataFrame,
    raw_frames: pl.DataFrame,
    inspections: pl.DataFrame,
    tables: dg.ResourceParam[Tables],
    deployment: dg.ResourceParam[Deployment],
) -> Audited:
    """What the line was told: the verdicts of the delivery as they stand in its one file in the outbox, and when.

    The file is there, whole, before this table is published; docs/outbox.md says what is in it. The line may take it
    away: a delivery that was told is not told again.
    """
    from cv_assets.inspection.outbox import differing, verdict_file

    delivery, snapshot = context.partition_key, tables.snapshot(context)
    folder = in_force(project_spec, deployment).inspection.outbox
    with writing(folder):
        file = deployment.told_in(folder) / f"{delivery}.json"
    rows = snapshot.table("outbox", delivery, or_empty=Outbox)
    was_told = snapshot.has("outbox", delivery) and differing(rows, inspections).is_empty()
    if not was_told:
        rows = _tell(file, verdict_file(inspections, raw_frames, delivery), inspections, raw_frames)
    yield from OUTBOX.audited(
        rows,
        checks=[_every_verdict_is_told(inspections, rows)],
        metadata={
            "file": dg.MetadataValue.path(file),
            "told": "before: nothing is written again, the line may have taken it" if was_told else "now",
            **_quantiles(rows["seconds"], "file to verdict {} s", decimals=1),
        },
    )


def _decider(snapshot: Snapshot) -> "Decider | None":
    from cv_assets.inspection.verdicts import Decider

    release = release_in_force(snapshot.table("releases", or_empty=Releases))
    if release is None:
        return None
    asset, candidate = f"{release['model']}_checkpoint", release["candidate"]
    if not snapshot.has(asset, candidate):
        raise dg.Failure(
            f"The lake lacks {asset}[{candidate}], the model of {release['version']}, which is in force: no verdict "
            "can be given. Put it back from the backup, or roll back to an earlier version (job `roll_back`); then "
            "re-execute the run from failure.",
            allow_retries=False,
        )
    return Decider(release, snapshot.table(asset, candidate).row(0, named=True))


def _score(
    frames: pl.DataFrame, decider: "Decider | None", snapshot: Snapshot, deployment: Deployment
) -> dict[str, "Scored"]:
    """What the released model says of `frames`, by capture id; no model is loaded where there is none to score."""
    if decider is None or frames.is_empty():
        return {}
    from cv_assets.inspection.verdicts import Scored
    from cv_assets.training.features import cores, read_images
    from cv_assets.training.inference import load_predictor, timed_scores

    predictor = load_predictor(decider.checkpoint, snapshot.fetch, deployment.cache_dir)
    scored: dict[str, Scored] = {}
    for part in frames.iter_slices(_CHUNK):
        images = list(read_images(snapshot.fetch_all(part["path"])))
        scores_NC, latency_ms_N = timed_scores(predictor, images, cores())
        said = zip(scores_NC.tolist(), latency_ms_N.tolist(), strict=True)
        scored |= dict(zip(part["capture_id"], (Scored(*one) for one in said), strict=True))
    return scored


def _written_once(
    rows: pl.DataFrame, snapshot: Snapshot, delivery: str
) -> tuple[pl.DataFrame, dg.AssetCheckResult]:
    """The verdicts that count, and whether they are new or as they were given before."""
    from cv_assets.inspection.written_once import differences, refusal

    if not snapshot.has("inspections", delivery):
        return rows, VERDICTS_ARE_WRITTEN_ONCE.result(
            True, "No capture of this delivery had a verdict before."
        )
    before = snapshot.table("inspections", delivery)
    found = differences(before, rows)
    if found.is_empty():
        said = f"All {before.height} verdicts are those that were given before: nothing changes."
        return before, VERDICTS_ARE_WRITTEN_ONCE.result(True, said)
    return rows, VERDICTS_ARE_WRITTEN_ONCE.result(
        False,
        refusal(before, rows, found, told=snapshot.has("outbox", delivery)),
        {"offenders": preview(found, rows_shown=20)},
    )


def _one_verdict_each(raw_frames: pl.DataFrame, rows: pl.DataFrame) -> dg.AssetCheckResult:
    offenders = miscounted(raw_frames, rows)
    counts = f"{raw_frames.height} captures, {rows.height} verdicts"
    return EVERY_CAPTURE_HAS_ONE_VERDICT.no_rows(
        offenders,
        f"{counts}: one each."
        if offenders.is_empty()
        else f"{counts}: {offenders.height} missing, repeated, or on no capture. Materialize prepared_frames of this "
        "delivery, then inspections.",
    )


def _can_decide(decider: "Decider | None", rows: pl.DataFrame, spec: Spec) -> dg.AssetCheckResult:
    from cv_assets.inspection.verdicts import why_none_decides

    unable = why_none_decides(decider, spec)
    if decider is None or unable:
        return A_RELEASE_IS_IN_FORCE.result(
            False,
            f"Nothing decides by itself: {unable}. All {rows.height} captures go to people. Release a candidate (job "
            "`release`); it judges the deliveries that come after it.",
        )
    release = decider.release
    return A_RELEASE_IS_IN_FORCE.result(
        True,
        f"{release['version']} decides: {release['model']} of {release['candidate']}, concluded by "
        f"{release['approver']} on {release['concluded_at']:%Y-%m-%d}.",
    )


def _one_preparation(decider: "Decider | None", rows: pl.DataFrame) -> dg.AssetCheckResult:
    changed = rows.filter(reason="preparation_changed")
    if decider is None:
        return ONE_PREPARATION.result(True, "Not applicable: no release is in force.")
    if changed.is_empty():
        return ONE_PREPARATION.result(
            True,
            f"No capture goes to people for it; the model was trained on the pass {decider.checkpoint['preparation']}.",
        )
    return ONE_PREPARATION.result(
        False,
        f"{changed.height} of {rows.height} captures go to people for it: {changed['why'][0]}. A pass is the spec's "
        "`preparation` and OpenCV's version: put the earlier one back, or train a candidate on frames of this one.",
    )


def _probabilities(rows: pl.DataFrame) -> dg.AssetCheckResult:
    looked_at = rows.filter(pl.col("weights_sha256").is_not_null())
    offenders = looked_at.filter(reason="no_score").select("part", "why", "model", "release", "capture_id")
    if offenders.is_empty():
        said = f"The model gave probabilities for all {looked_at.height} frames that it looked at."
    else:
        one = offenders.row(0, named=True)
        said = (
            f"{offenders.height} of {looked_at.height} frames that {one['model']} of {one['release']} looked at go to "
            f"people for it; of part {one['part']} {one['why']}. Roll back to an earlier version (job `roll_back`), or "
            "release another candidate (job `release`)."
        )
    return EVERY_SCORE_IS_A_PROBABILITY.no_rows(offenders, said)


def _figures(rows: pl.DataFrame) -> dict[str, int | float]:
    """What people follow from delivery to delivery."""
    counts = {name: rows.filter(verdict=name).height for name in VERDICTS}
    automatic = rows.filter(pl.col("verdict") != "REVIEW")
    figures: dict[str, int | float] = {
        "captures": rows.height,
        **counts,
        "audited": automatic.filter("audit").height,
    }
    if rows.height:
        figures["review share"] = round(counts["REVIEW"] / rows.height, 3)
    return figures | _quantiles(rows["latency_ms"], "latency {} ms", decimals=2)


def _quantiles(values: pl.Series, name: str, *, decimals: int) -> dict[str, float]:
    """The median and the 95th percentile, `{}` of the name being p50 or p95; nothing where there is no value."""
    found = {name.format(f"p{percent}"): values.quantile(percent / 100, "linear") for percent in (50, 95)}
    return {key: round(value, decimals) for key, value in found.items() if value is not None}


def _in_effect(decider: "Decider | None") -> dict[str, str]:
    if decider is None:
        return {"release": "none", "operating band": "none: people look at every part"}
    release = decider.release
    return {
        "release": f"{release['version']} ({release['model']} of {release['candidate']})",
        "operating band": decider.band.words,
    }


def _pictures(
    rows: pl.DataFrame, decider: "Decider | None", snapshot: Snapshot, spec: Spec
) -> dict[str, dg.MarkdownMetadataValue]:
    from cv_assets.inspection.figures import frames_of, scores_figure

    pictures = {}
    if decider is not None and rows["defect_score"].count():
        figure = figure_png(scores_figure(rows, decider.band))
        pictures["defect scores"] = picture(figure, f"defect scores: {decider.band.words}")
    for name in ("FAIL", "REVIEW"):
        shown = frames_of(rows, name, snapshot.fetch, spec.preparation.bounds.max_pixels)
        if shown.images:
            pictures[f"{name} frames"] = picture(
                montage(shown.images, shown.captions), f"frames with the verdict {name}"
            )
    return pictures


def _tell(file: Path, content: bytes, inspections: pl.DataFrame, raw_frames: pl.DataFrame) -> pl.DataFrame:
    """Write the file and return what it tells. One that the audit would refuse is kept from the line."""
    from cv_assets.inspection.outbox import differing, told_rows

    rows = told_rows(content, raw_frames, file=file.name, told_at=datetime.now(UTC))
    if Outbox.filter(rows).failure.counts() or not differing(rows, inspections).is_empty():
        return rows
    with writing(file):
        write_atomically(file, content)
    return told_rows(content, raw_frames, file=file.name, told_at=datetime.now(UTC))


def _every_verdict_is_told(inspections: pl.DataFrame, rows: pl.DataFrame) -> dg.AssetCheckResult:
    from cv_assets.inspection.outbox import differing

    # The name of the file and when it arrived are of one row of raw_frames.
    unknown = rows.filter(pl.col("arrived_at").is_null()).select("capture_id", "part", "verdict")
    if not unknown.is_empty():
        capture = unknown["capture_id"][0]
        return EVERY_VERDICT_IS_TOLD.no_rows(
            unknown,
            f"Nothing was told: capture {capture} has a verdict but is not in raw_frames, as {unknown.height} of "
            f"{inspections.height} are not. The delivery's raw_frames is not the one that was inspected: bring that "
            "one back, which the history of the lake has, then execute this step again.",
        )
    wrong = differing(rows, inspections)
    return EVERY_VERDICT_IS_TOLD.no_rows(
        wrong,
        f"The file holds all {inspections.height} verdicts of the table."
        if wrong.is_empty()
        else f"File and table differ in {wrong.height} verdicts.",
    )
