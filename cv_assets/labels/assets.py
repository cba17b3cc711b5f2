"""The labels step: what annotators stated, what was diverted, the agreed labels and the benchmark."""

import hashlib
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from pathlib import PurePath
from typing import Any, Final

import dagster as dg
import polars as pl

from cv_assets.frames.schema import RawFrames
from cv_assets.labels.arrivals import MEGABYTE, find_export
from cv_assets.labels.benchmark import extend_benchmark, version_of
from cv_assets.labels.consensus import cast_votes, label_frames
from cv_assets.labels.expectations import EXPECTATIONS, Outcome
from cv_assets.labels.exports import ExportError, read_export
from cv_assets.labels.rules import check_annotations, rejected
from cv_assets.labels.schema import Annotations, BenchmarkFrames, LabelTable, RejectedAnnotations
from cv_assets.spec.assets import in_force
from cv_assets.spec.schema import Spec
from resources.contracts import Audited, Check, TableAsset, preview
from resources.deployments import Deployment
from resources.partitions import exports
from resources.pictures import montage, picture
from resources.tables import Snapshot, Tables

ROWS_FOLLOW_THE_ROW_RULES = Check(
    "rows_follow_the_row_rules", "Can every row of the export count?", blocking=False
)
NO_ROW_IS_DIVERTED = Check(
    "no_row_is_diverted", "Do all annotations of all exports follow the row rules?", blocking=False
)
BENCHMARK_ONLY_GROWS = Check("benchmark_only_grows", "Is every earlier benchmark frame there as it was?")
EVERY_STATEMENT_IS_APPLIED = Check(
    "every_statement_is_applied", "Does every verified statement agree with the benchmark?", blocking=False
)
ANNOTATORS_AGREE = Check(
    "annotators_agree",
    "Is the annotators' agreement beyond chance (Fleiss' kappa) at least the spec's `labels.min_kappa`?",
    blocking=False,
)
TABLE_RULES: Final = {one.name: Check(one.name, one.asks, one.blocking) for one in EXPECTATIONS}

ANNOTATIONS = TableAsset(
    "annotations", Annotations, step="labels", partitions=exports, checks=(ROWS_FOLLOW_THE_ROW_RULES,)
)
REJECTED_ANNOTATIONS = TableAsset(
    "rejected_annotations", RejectedAnnotations, step="labels", checks=(NO_ROW_IS_DIVERTED,)
)
BENCHMARK_FRAMES = TableAsset(
    "benchmark_frames",
    BenchmarkFrames,
    step="labels",
    checks=(BENCHMARK_ONLY_GROWS, EVERY_STATEMENT_IS_APPLIED),
)
LABEL_TABLE = TableAsset(
    "label_table",
    LabelTable,
    step="labels",
    kinds=frozenset({"greatexpectations"}),
    checks=(*TABLE_RULES.values(), ANNOTATORS_AGREE),
)

MOST_PICTURES: Final = 12
"""How many frames a montage shows."""


@dg.asset(**ANNOTATIONS.arguments)
def annotations(
    context: dg.AssetExecutionContext,
    project_spec: pl.DataFrame,
    tables: dg.ResourceParam[Tables],
    deployment: dg.ResourceParam[Deployment],
) -> Audited:
    """What annotators stated in one label export: a row per annotator and frame, with all objects they marked.

    Every row is here as it arrived, also those that break a row rule and do not count. The export's own bytes are
    kept beside it as evidence.
    """
    spec, snapshot, key = in_force(project_spec, deployment), tables.snapshot(context), context.partition_key
    earlier = snapshot.table("annotations", key, or_empty=Annotations)
    received_at = datetime.now(UTC) if earlier.is_empty() else earlier["received_at"][0]
    try:
        name, content = _export(snapshot, deployment, spec, key)
        sha256, ending = hashlib.sha256(content).hexdigest(), PurePath(name).suffix.lower()
        evidence = f"annotations/{key}/{sha256}{ending}"
        rows = read_export(content, file=name, export=key, evidence=evidence, received_at=received_at)
    except ExportError as error:
        raise dg.Failure(str(error), allow_retries=False) from error
    diverted = rejected(check_annotations(rows, RawFrames.create_empty(), spec), spec)
    yield from ANNOTATIONS.audited(
        rows,
        files={evidence: content},
        checks=[_share_of(ROWS_FOLLOW_THE_ROW_RULES, diverted, rows.height)],
        metadata={
            "export": name,
            "annotators": rows["annotator"].n_unique(),
            "images": rows["image"].n_unique(),
            "classes": _counts(rows.select(pl.col("objects").list.explode().struct.field("class"))),
        },
    )


@dg.asset(**REJECTED_ANNOTATIONS.arguments, deps=["annotations", "raw_frames"])
def rejected_annotations(
    context: dg.AssetExecutionContext,
    project_spec: pl.DataFrame,
    tables: dg.ResourceParam[Tables],
    deployment: dg.ResourceParam[Deployment],
) -> Audited:
    """Every annotation of every export that breaks a row rule, with the first rule it breaks: it has no vote.

    An annotation of a frame that has not arrived is not among them: it waits for its frame.
    """
    spec = in_force(project_spec, deployment)
    snapshot = tables.snapshot(context)
    checked = _checked(snapshot, _raw_frames(snapshot), spec)
    diverted = rejected(checked, spec)
    yield from REJECTED_ANNOTATIONS.audited(
        diverted,
        checks=[_share_of(NO_ROW_IS_DIVERTED, diverted, checked.height)],
        metadata={
            "by rule": _counts(diverted.select("broken_rule")),
            "by export": _counts(diverted.select("export", "broken_rule")),
        },
    )


@dg.asset(**BENCHMARK_FRAMES.arguments, deps=["annotations", "raw_frames"])
def benchmark_frames(
    context: dg.AssetExecutionContext,
    project_spec: pl.DataFrame,
    tables: dg.ResourceParam[Tables],
    deployment: dg.ResourceParam[Deployment],
) -> Audited:
    """The frames by which models are judged: golden and challenge frames, each verified by a named person.

    It only grows, by one version for each extension. No vote and no later statement changes a frame that is in it.
    """
    spec, snapshot = in_force(project_spec, deployment), tables.snapshot(context)
    raw_frames, current = _raw_frames(snapshot), snapshot.table("benchmark_frames", or_empty=BenchmarkFrames)
    frames, set_aside = extend_benchmark(current, _checked(snapshot, raw_frames, spec), spec.pass_class)
    yield from BENCHMARK_FRAMES.audited(
        frames,
        checks=[
            BENCHMARK_ONLY_GROWS.result(
                frames.head(current.height).equals(current),
                f"{current.height} earlier frames are as they were.",
            ),
            EVERY_STATEMENT_IS_APPLIED.no_rows(set_aside.select("why", pl.exclude("why"))),
        ],
        metadata={
            "version": version_of(frames),
            "added": frames.height - current.height,
            "classes": _counts(frames.select("set", "label")),
            **_golden_pictures(frames, raw_frames, snapshot, spec),
        },
    )


@dg.asset(**LABEL_TABLE.arguments, deps=["annotations", "raw_frames"])
def label_table(
    context: dg.AssetExecutionContext,
    project_spec: pl.DataFrame,
    benchmark_frames: pl.DataFrame,
    tables: dg.ResourceParam[Tables],
    deployment: dg.ResourceParam[Deployment],
) -> Audited:
    """The label of every frame that annotators voted on, as the spec's consensus rule resolves their votes.

    A frame whose votes are too few, unsure or not in agreement has no label and waits for people. Frames of the
    benchmark are not among them: they judge and never train.
    """
    from cv_assets.labels.agreement import cohen_kappas, fleiss_kappa
    from cv_assets.labels.validation import validate

    spec, snapshot = in_force(project_spec, deployment), tables.snapshot(context)
    frames = _raw_frames(snapshot)
    checked = _checked(snapshot, frames, spec)
    votes = cast_votes(checked, spec.pass_class).join(benchmark_frames, on="frame_id", how="anti")
    labels = label_frames(votes, spec.labels.consensus)
    validation = validate(
        labels, frames=frames["frame_id"], benchmark=benchmark_frames["frame_id"], spec=spec
    )
    page = f"label_table/{hashlib.sha256(validation.page).hexdigest()}.html"
    fleiss = fleiss_kappa(votes)
    yield from LABEL_TABLE.audited(
        labels,
        files={page: validation.page},
        checks=[
            *(_answer(TABLE_RULES[name], outcome) for name, outcome in validation.outcomes.items()),
            _kappa_is_enough(fleiss.kappa, fleiss.frames, spec.labels.min_kappa),
        ],
        metadata={
            "validation page": page,
            **_summary(labels, checked),
            "agreement of annotators": preview(cohen_kappas(votes), rows_shown=20),
            **_numbers({"Fleiss' kappa": fleiss.kappa, "observed agreement": fleiss.observed}),
            **_disputed_pictures(labels, frames, snapshot, spec),
        },
    )


def _export(snapshot: Snapshot, deployment: Deployment, spec: Spec, key: str) -> tuple[str, bytes]:
    """The export's name and bytes: from the lake when it was published, else from the watched folder."""
    evidence = snapshot.lake.paths(snapshot.commit, f"annotations/{key}/")
    if evidence:
        return PurePath(evidence[0]).name, snapshot.read(evidence[0])
    folder = deployment.folder(spec.labels.exports)
    found = find_export(folder, key, spec.labels.max_export_mb * MEGABYTE)
    if found is None:
        raise dg.Failure(
            f"No file in {spec.labels.exports}/ is the export {key}: it was removed, or written again since the run "
            "was requested. What is there now is requested by itself.",
            allow_retries=False,
        )
    return found


def _checked(snapshot: Snapshot, raw_frames: pl.DataFrame, spec: Spec) -> pl.DataFrame:
    return check_annotations(snapshot.tables("annotations", or_empty=Annotations), raw_frames, spec)


def _raw_frames(snapshot: Snapshot) -> pl.DataFrame:
    return snapshot.tables("raw_frames", or_empty=RawFrames)


def _share_of(check: Check, diverted: pl.DataFrame, rows: int) -> dg.AssetCheckResult:
    share = diverted.height / rows if rows else 0.0
    shown = diverted.select("broken_rule", "why", "unread", pl.exclude("broken_rule", "why", "unread"))
    return check.no_rows(
        shown, f"{diverted.height} of {rows} rows ({share:.1%}) are diverted and do not count."
    )


def _answer(check: Check, outcome: Outcome) -> dg.AssetCheckResult:
    metadata: dict[str, Any] = {"checked": outcome.checked, "unexpected": outcome.unexpected}
    if outcome.examples:
        metadata["examples"] = ", ".join(outcome.examples)
    said = f"{outcome.unexpected} of {outcome.checked} break this" if outcome.checked else "nothing to check"
    if outcome.missing:
        said = f"missing: {', '.join(outcome.missing)}"
    return check.result(
        outcome.passed, f"{check.asks} {'Yes.' if outcome.passed else f'No, {said}.'}", metadata
    )


def _kappa_is_enough(kappa: float | None, frames: int, least: float | None) -> dg.AssetCheckResult:
    if least is None:
        return ANNOTATORS_AGREE.result(True, "Not applicable: the spec asks for no least kappa.")
    if kappa is None:
        why = f"Not defined: {frames} frames have two votes or more, with a single class among them."
        return ANNOTATORS_AGREE.result(True, why)
    said = f"Fleiss' kappa is {kappa:.3f} on {frames} frames; the spec asks for at least {least:g}."
    return ANNOTATORS_AGREE.result(kappa >= least, said, {"kappa": kappa, "frames": frames})


def _counts(rows: pl.DataFrame) -> dg.TableMetadataValue:
    """How often each combination of values occurs, the most frequent first."""
    counts = rows.group_by(pl.all()).agg(rows=pl.len())
    return preview(
        counts.sort("rows", *rows.columns, descending=[True, *[False] * rows.width]), rows_shown=20
    )


def _summary(labels: pl.DataFrame, checked: pl.DataFrame) -> dict[str, Any]:
    """How the votes were resolved, and which annotations have none yet."""
    waiting = checked.filter(pl.col("waits_for").is_not_null(), pl.col("broken_rule").is_null())
    return {
        "classes": _counts(labels.select("label")),
        "resolutions": _counts(labels.select("status", "resolution")),
        "votes per frame": _counts(labels.select("votes")),
        "agreed frames": labels.filter(pl.col("status") == "agreed").height,
        "frames in review": labels.filter(pl.col("status") == "review").height,
        "disputed frames": labels["disputed"].sum(),
        "annotations that wait for": _counts(waiting.select("waits_for")),
    }


def _numbers(numbers: Mapping[str, float | None]) -> dict[str, float | str]:
    return {name: "not defined" if number is None else number for name, number in numbers.items()}


def _disputed_pictures(
    labels: pl.DataFrame, frames: pl.DataFrame, snapshot: Snapshot, spec: Spec
) -> dict[str, dg.MarkdownMetadataValue]:
    """The disputed frames that annotators agree on least."""
    disputed = _with_places(labels.filter("disputed"), frames).sort("agreement", "frame_id")
    captions = [
        f"{agreement:.0%} of {votes}: {name}"
        for agreement, votes, name in disputed.select("agreement", "votes", "file_name").iter_rows()
    ]
    sheet = _sheet(disputed["path"], captions, snapshot, spec, "frames that annotators dispute")
    return {"disputed": sheet} if sheet else {}


def _golden_pictures(
    benchmark: pl.DataFrame, frames: pl.DataFrame, snapshot: Snapshot, spec: Spec
) -> dict[str, dg.MarkdownMetadataValue]:
    """The first golden frames of each class."""
    golden = _with_places(benchmark.filter(pl.col("set") == "golden"), frames)
    some = golden.sort(pl.int_range(pl.len()).over("label"), "label")
    captions = [f"{label}: {name}" for label, name in some.select("label", "file_name").iter_rows()]
    sheet = _sheet(some["path"], captions, snapshot, spec, "golden frames with their labels")
    return {"golden": sheet} if sheet else {}


def _with_places(rows: pl.DataFrame, frames: pl.DataFrame) -> pl.DataFrame:
    """The rows with the `path` and `file_name` of each frame's first capture."""
    places = frames.select("frame_id", "path", "file_name").unique(
        "frame_id", keep="first", maintain_order=True
    )
    return rows.join(places, on="frame_id", maintain_order="left")


def _sheet(
    paths: pl.Series, captions: Sequence[str], snapshot: Snapshot, spec: Spec, alt: str
) -> dg.MarkdownMetadataValue | None:
    """A montage of the first of these raw frames; None when there is none."""
    from cv_assets.frames.preparing import fetch_to_show

    shown = list(zip(paths, captions, strict=True))[:MOST_PICTURES]
    if not shown:
        return None
    max_pixels = spec.preparation.bounds.max_pixels
    pictures = [fetch_to_show(snapshot.fetch, path, max_pixels) for path, _ in shown]
    return picture(montage(pictures, [caption for _, caption in shown]), alt)
