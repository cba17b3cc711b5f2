"""The drift step: how each delivery differs from what the release that judged it was trained on."""

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Final

import dagster as dg
import polars as pl

from cv_assets.drift.episodes import NEEDED, Episode, episodes
from cv_assets.drift.schema import DriftMetrics
from cv_assets.reference.schema import NOVELTY, REJECTED, DriftReference
from cv_assets.spec.assets import in_force
from cv_assets.spec.schema import Spec
from resources.contracts import Audited, Check, TableAsset, preview
from resources.deployments import Deployment
from resources.partitions import deliveries
from resources.pictures import figure_png, montage, picture
from resources.tables import Snapshot, Tables, parquet

if TYPE_CHECKING:
    from cv_assets.drift.inspected import Inspected

EVERY_STATISTIC_IS_MEASURED = Check(
    "every_statistic_is_measured", "Has every statistic of the reference, and every share, exactly one row?"
)
WHAT_WAS_MEASURED_STANDS = Check(
    "what_was_measured_stands",
    "Are the figures new, or those that were measured before against the same frozen reference?",
)
NO_DRIFT = Check(
    "no_drift",
    "Does the delivery look like what the release that judged it was trained on?",
    blocking=False,
)
STATION_IS_SOUND = Check(
    "station_is_sound",
    "Are few captures rejected, and does the camera repeat no picture?",
    blocking=False,
)

DRIFT_METRICS = TableAsset(
    "drift_metrics",
    DriftMetrics,
    step="drift",
    partitions=deliveries,
    checks=(EVERY_STATISTIC_IS_MEASURED, WHAT_WAS_MEASURED_STANDS, NO_DRIFT, STATION_IS_SOUND),
)

_SHOWN_COLUMNS: Final = ("statistic", "verdict", "why", "psi", "psi_level")


@dg.asset(**DRIFT_METRICS.arguments, deps=["outbox", "releases"])
def drift_metrics(
    context: dg.AssetExecutionContext,
    project_spec: pl.DataFrame,
    raw_frames: pl.DataFrame,
    prepared_frames: pl.DataFrame,
    inspections: pl.DataFrame,
    tables: dg.ResourceParam[Tables],
    deployment: dg.ResourceParam[Deployment],
) -> Audited:
    """How the delivery differs, statistic by statistic, from what the release that judged it was trained on.

    The statistics of the image before and after the pass, the novelty, the defect score, and the shares of rejected and
    of repeated frames, each beside that release's frozen reference and level. Made once the line was told, whatever is
    in force by now. Drift of the novelty in `patience` deliveries in a row, or in `patience` + 1 of 2 `patience` + 1,
    opens an alarm; what else changes warns.
    """
    from cv_assets.drift.again import says_the_same

    spec, snapshot = in_force(project_spec, deployment), tables.snapshot(context)
    found = _measure(raw_frames, prepared_frames, inspections, spec, snapshot, deployment)
    rows, files = found.rows, found.files
    before = snapshot.table("drift_metrics", context.partition_key, or_empty=DriftMetrics)
    if says_the_same(before, rows):
        rows, files = before, {}
    around = _around(rows, snapshot, context.partition_key, spec)
    yield from DRIFT_METRICS.audited(
        rows,
        files=files,
        checks=[
            _every_statistic(found),
            _stands(before, rows),
            _no_drift(rows, around, spec),
            _station(rows),
        ],
        metadata={
            "rows": preview(rows, _SHOWN_COLUMNS, rows_shown=rows.height),
            **_figures(rows),
            "reference": _in_words(found.about),
            **_pictures(found, inspections, snapshot, spec),
        },
    )


@dataclass(frozen=True)
class _Measured:
    """The rows of a delivery, what they were measured on and against, and the bytes that they point to.

    All empty when no capture came; `about` is None then.
    """

    about: "Inspected | None" = None
    rows: pl.DataFrame = field(default_factory=DriftMetrics.create_empty)
    values: pl.DataFrame = field(default_factory=pl.DataFrame)
    reference: pl.DataFrame = field(default_factory=DriftReference.create_empty)
    files: Mapping[str, bytes] = field(default_factory=dict)


def _measure(
    raw_frames: pl.DataFrame,
    prepared_frames: pl.DataFrame,
    inspections: pl.DataFrame,
    spec: Spec,
    snapshot: Snapshot,
    deployment: Deployment,
) -> _Measured:
    from cv_assets.drift.inspected import comparable, inspected
    from cv_assets.drift.metrics import metrics
    from cv_assets.reference.statistics import frame_values, station_shares

    about = inspected(inspections)
    if about is None:
        return _Measured()
    reference, lacks = _reference(snapshot, about)
    values = comparable(frame_values(prepared_frames), inspections, about.model)
    values = _with_novelty(values, inspections, reference, snapshot, deployment)
    content = parquet(values)
    stored = f"drift_metrics/{about.delivery}/values-{hashlib.sha256(content).hexdigest()}.parquet"
    rows = metrics(
        about,
        values,
        station_shares(raw_frames, prepared_frames),
        reference,
        lacks=lacks,
        spec=spec,
        stored=stored,
        measured_at=datetime.now(UTC),
    )
    return _Measured(about, rows, values, reference, {stored: content})


def _reference(snapshot: Snapshot, about: "Inspected") -> tuple[pl.DataFrame, str]:
    """What normal looked like to the release that judged the delivery; or an empty one, and why there is none."""
    if about.candidate is None:
        return DriftReference.create_empty(), f"no release judged it, as {about.undecided}"
    if not snapshot.has("drift_reference", about.candidate):
        return DriftReference.create_empty(), (
            f"{about.release} was released without a drift_reference; the next release has one"
        )
    return snapshot.table("drift_reference", about.candidate), ""


def _with_novelty(
    values: pl.DataFrame,
    inspections: pl.DataFrame,
    reference: pl.DataFrame,
    snapshot: Snapshot,
    deployment: Deployment,
) -> pl.DataFrame:
    """`values` and the novelty; nothing heavy is loaded where the reference has none."""
    arrays = reference.filter(statistic=NOVELTY)["arrays"].drop_nulls()
    if arrays.is_empty():
        return values
    from cv_assets.drift.novelty import novelty_of

    try:
        return novelty_of(values, inspections, arrays[0], snapshot.fetch, deployment.cache_dir)
    except (FileNotFoundError, ValueError) as error:
        raise dg.Failure(
            f"The novelty cannot be measured: {error}. The line was told its verdicts. Put back from the backup what "
            "the lake lacks, then re-execute the run from failure.",
            allow_retries=False,
        ) from error


def _around(rows: pl.DataFrame, snapshot: Snapshot, delivery: str, spec: Spec) -> list[Episode]:
    """The episodes that the delivery belongs to, by all deliveries that were measured until now."""
    from cv_assets.drift.words import around

    others = [key for key in snapshot.partitions("drift_metrics") if key != delivery]
    history = snapshot.columns("drift_metrics", NEEDED, schema=DriftMetrics, partitions=others)
    return around(episodes(pl.concat([history, rows.select(NEEDED)]), spec.drift.patience), delivery)


def _every_statistic(found: _Measured) -> dg.AssetCheckResult:
    from cv_assets.drift.again import unmeasured

    if found.about is None:
        return EVERY_STATISTIC_IS_MEASURED.result(True, "No capture came: there is nothing to measure.")
    offenders = unmeasured(found.rows, found.reference, found.about.model)
    return EVERY_STATISTIC_IS_MEASURED.no_rows(
        offenders,
        f"{found.rows.height} statistics, one row each."
        if offenders.is_empty()
        else f"{offenders.height} statistics have no row, or more than one.",
    )


def _stands(before: pl.DataFrame, rows: pl.DataFrame) -> dg.AssetCheckResult:
    from cv_assets.drift.again import changed_figures

    if before.is_empty():
        return WHAT_WAS_MEASURED_STANDS.result(True, "This delivery was not measured before.")
    offenders = changed_figures(before, rows)
    return WHAT_WAS_MEASURED_STANDS.no_rows(
        offenders,
        "Every figure is the one that was measured before."
        if offenders.is_empty()
        else f"{offenders.height} figures would be others, though the reference is frozen: the frames were prepared "
        "anew, or a library has another version. What was measured first stays; bring those frames or that version "
        "back to measure again.",
    )


def _no_drift(rows: pl.DataFrame, around: Sequence[Episode], spec: Spec) -> dg.AssetCheckResult:
    from cv_assets.drift.words import drift_said

    said = drift_said(rows, around, spec.drift.patience)
    drifted = rows.filter(pl.col("role") != "station", verdict="drifted")
    shown = {"drifted": preview(drifted, _SHOWN_COLUMNS, rows_shown=20)} if drifted.height else {}
    return NO_DRIFT.result(said.passed, said.why, {"known": said.known, **shown})


def _station(rows: pl.DataFrame) -> dg.AssetCheckResult:
    from cv_assets.drift.words import station_said

    said = station_said(rows)
    return STATION_IS_SOUND.result(said.passed, said.why, {"known": said.known})


def _figures(rows: pl.DataFrame) -> dict[str, int | float]:
    """What people follow from delivery to delivery."""
    by_name = {row["statistic"]: row for row in rows.iter_rows(named=True)}
    novelty, rejected = by_name.get(NOVELTY, {}), by_name.get(REJECTED, {})
    figures = {
        "novelty PSI": novelty.get("psi"),
        "novelty level": novelty.get("psi_level"),
        "novelty KL": novelty.get("kl"),
        "novelty median": novelty.get("value"),
        "rejected share": rejected.get("value"),
    }
    drifted = rows.filter(pl.col("role") != "station", verdict="drifted").height
    return {
        "drifted statistics": drifted,
        **{name: round(value, 4) for name, value in figures.items() if value is not None},
    }


def _in_words(about: "Inspected | None") -> str:
    if about is None:
        return "none: no capture came"
    return f"of {about.release} ({about.candidate})" if about.candidate else f"none: {about.undecided}"


def _pictures(
    found: _Measured, inspections: pl.DataFrame, snapshot: Snapshot, spec: Spec
) -> dict[str, dg.MarkdownMetadataValue]:
    if found.reference.is_empty():
        return {}
    from cv_assets.drift.figures import distributions_figure, most_novel

    pictures = {}
    if figure := distributions_figure(found.rows, found.values, found.reference):
        pictures["distributions"] = picture(
            figure_png(figure), "shares of the delivery's frames and of the training frames, bin by bin"
        )
    shown = most_novel(found.values, inspections, snapshot.fetch, spec.preparation.bounds.max_pixels)
    if shown.images:
        pictures["most novel frames"] = picture(
            montage(shown.images, shown.captions), "the frames that lie farthest from the training frames"
        )
    return pictures
