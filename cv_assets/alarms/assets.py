"""The alarms step: what happened, what it waits for, what closed it."""

import hashlib
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any, Final

import dagster as dg
import polars as pl

from cv_assets.alarms.drift_alarms import blind
from cv_assets.alarms.schema import STATES, Alarms
from cv_assets.drift.schema import DriftMetrics
from cv_assets.labels.schema import BenchmarkFrames, LabelTable
from cv_assets.reference.schema import DriftReference
from cv_assets.release.schema import Releases
from cv_assets.requests.assets import labels_seen, training_requests
from cv_assets.requests.base import release_in_force
from cv_assets.review.schema import Kpis
from cv_assets.spec.assets import in_force
from cv_assets.words import moment
from resources.contracts import Audited, Check, TableAsset, preview
from resources.deployments import Deployment
from resources.pictures import figure_png, picture
from resources.tables import Snapshot, Tables

if TYPE_CHECKING:
    from cv_assets.alarms.pages import Compared

NO_ALARM_IS_OPEN = Check("no_alarm_is_open", "Is no drift and no KPI alarm open?", blocking=False)
NO_STATION_ALARM_IS_OPEN = Check(
    "no_station_alarm_is_open", "Is no alarm about a station open?", blocking=False
)

DRIFT_CAN_BE_SEEN = Check(
    "drift_can_be_seen",
    "Has the release in force a calibrated reference that deliveries are held against?",
    blocking=False,
)

ALARMS = TableAsset(
    "alarms",
    Alarms,
    step="alarms",
    checks=(NO_ALARM_IS_OPEN, NO_STATION_ALARM_IS_OPEN, DRIFT_CAN_BE_SEEN),
)

_SHOWN: Final = ("alarm_id", "state", "why", "waiting", "closed_by")


@dg.asset(
    **ALARMS.arguments,
    deps=[
        "drift_metrics",
        "kpis",
        "releases",
        "training_request",
        "label_table",
        "benchmark_frames",
        "raw_frames",
        "prepared_frames",
        "inspections",
    ],
)
def alarms(
    context: dg.AssetExecutionContext,
    project_spec: pl.DataFrame,
    tables: dg.ResourceParam[Tables],
    deployment: dg.ResourceParam[Deployment],
) -> Audited:
    """What happened, what each alarm waits for, and what closed it: one drift alarm and one alarm per KPI and release.

    An alarm stays open until another version is in force, or until deliveries or answers are ordinary again. A sensor
    starts a retraining once an open one has its fresh labels and golden frames; alarms about a station are for people.
    The table follows from the other tables alone: made again, it is the same.
    """
    from cv_assets.alarms import fresh_labels, opening, pages
    from cv_assets.alarms.figures import DRAWN
    from cv_assets.alarms.table import alarms as what_follows

    spec, snapshot = in_force(project_spec, deployment), tables.snapshot(context)
    needed = tuple(dict.fromkeys((*opening.DRIFT_NEEDED, *DRAWN, *pages.NEEDED)))
    metrics = snapshot.columns("drift_metrics", needed, schema=DriftMetrics)
    kpis = snapshot.table("kpis", or_empty=Kpis)
    label_table = snapshot.table("label_table", or_empty=LabelTable)
    releases = snapshot.table("releases", or_empty=Releases)
    rows = what_follows(
        metrics=metrics,
        kpis=kpis,
        releases=releases,
        requests=training_requests(snapshot),
        label_table=label_table,
        benchmark_frames=snapshot.table("benchmark_frames", or_empty=BenchmarkFrames),
        captures=fresh_labels.captures(snapshot.columns),
        spec=spec,
        spec_digest=project_spec["spec_digest"][0],
        labels_of=_labels_of(snapshot),
    )
    rows, files = _with_pages(rows, metrics, snapshot)
    yield from ALARMS.audited(
        rows,
        files=files,
        checks=[
            _no_alarm_is_open(rows),
            _no_station_alarm_is_open(rows),
            _drift_can_be_seen(releases, snapshot),
        ],
        metadata={
            **{state: rows.filter(state=state).height for state in STATES},
            "rows": preview(_by_urgency(rows), _SHOWN, rows_shown=20),
            **_pages(rows, lambda path: "" if path in files else tables.lake.url(snapshot.commit, path)),
            **_trend(metrics, kpis, rows, spec.drift.measure),
        },
    )


def _by_urgency(rows: pl.DataFrame) -> pl.DataFrame:
    """What somebody has to act on first, what is over last, and what retrains before a station's."""
    order = {"open": 0, "warning": 1, "closed": 2}
    return rows.sort(pl.col("state").replace_strict(order), pl.col("kind") == "station", maintain_order=True)


def _labels_of(snapshot: Snapshot) -> Callable[[str], pl.DataFrame]:
    """The agreed labels that a candidate's training could see."""

    def labels(candidate: str) -> pl.DataFrame:
        seen = labels_seen(snapshot, candidate)
        return seen.filter(pl.col("status") == "agreed").select("frame_id", "label")

    return labels


def _with_pages(
    rows: pl.DataFrame, metrics: pl.DataFrame, snapshot: Snapshot
) -> tuple[pl.DataFrame, Mapping[str, bytes]]:
    """`rows` with their pages, and the bytes of those that are new."""
    from cv_assets.alarms import pages

    rows, files = pages.with_pages(rows, snapshot.table("alarms", or_empty=Alarms)), dict[str, bytes]()
    for compared in pages.to_compare(rows, metrics):
        try:
            html, note = _page(compared, snapshot)
        except FileNotFoundError as lost:
            html, note = b"", f"No page: {lost}."
        if not html:
            # An alarm must not wait for what only illustrates it.
            rows = pages.with_page(rows, compared.alarm_id, None, note)
            continue
        path = f"alarms/{compared.alarm_id}/evidently-{hashlib.sha256(html).hexdigest()}.html"
        rows, files[path] = pages.with_page(rows, compared.alarm_id, path, note), html
    return rows, files


def _page(compared: "Compared", snapshot: Snapshot) -> tuple[bytes, str]:
    """Evidently's page as HTML, empty when it fails, and what is said of it. Raises FileNotFoundError."""
    from cv_assets.alarms.pages import frames_of

    reference = snapshot.table("drift_reference", compared.candidate)
    stored = tuple(reference["values"].drop_nulls().unique().sort())
    then, now = frames_of(stored, snapshot.fetch), frames_of(compared.values, snapshot.fetch)
    from cv_assets.reference.evidently_page import page

    made = page(then, now)
    return made.html, made.beside(compared.ours)


def _pages(rows: pl.DataFrame, url: Callable[[str], str]) -> dict[str, dg.MarkdownMetadataValue]:
    """Links to Evidently's pages, each with what it says; one that is new is linked under `lake/files`."""
    told = rows.filter(pl.col("page").is_not_null()).select("alarm_id", "page", "page_note").iter_rows()
    links = [f"- {f'[{name}]({link})' if (link := url(path)) else name}: {note}" for name, path, note in told]
    return {"Evidently's pages": dg.MetadataValue.md("\n".join(links))} if links else {}


def _no_alarm_is_open(rows: pl.DataFrame) -> dg.AssetCheckResult:
    about = rows.filter(pl.col("kind") != "station")
    opened, warning = about.filter(state="open"), about.filter(state="warning")
    told = [_told(row) for row in opened.iter_rows(named=True)]
    calm = [
        "No alarm is open.",
        *(f"{name} warns: {why}" for name, why in warning.select("alarm_id", "why").rows()),
    ]
    return NO_ALARM_IS_OPEN.result(opened.is_empty(), " ".join(told or calm), _waiting(opened))


def _no_station_alarm_is_open(rows: pl.DataFrame) -> dg.AssetCheckResult:
    opened = rows.filter(kind="station", state="open")
    told = [_told(row) for row in opened.iter_rows(named=True)] or ["No alarm about a station is open."]
    return NO_STATION_ALARM_IS_OPEN.result(opened.is_empty(), " ".join(told), _waiting(opened))


def _drift_can_be_seen(releases: pl.DataFrame, snapshot: Snapshot) -> dg.AssetCheckResult:
    """In words that stay the same while the release is in force: who is told of it is told once."""
    release = release_in_force(releases)
    if release is None:
        return DRIFT_CAN_BE_SEEN.result(True, "No release is in force: there is nothing to differ from.")
    reference = snapshot.table("drift_reference", release["candidate"], or_empty=DriftReference)
    lacks = blind(release["version"], reference)
    seen = f"Every delivery that {release['version']} judges is held against what it was trained on."
    return DRIFT_CAN_BE_SEEN.result(not lacks, lacks or seen)


def _told(row: Mapping[str, Any]) -> str:
    """The alarm in words that stay the same while it is open: whoever is told of it is told once."""
    what = {
        "drift": f"deliveries no longer look like what {row['release']} was trained on",
        "kpi": f"{row['statistic']} of {row['release']} lies beyond the spec's bound",
        "station": f"too many captures count for {row['statistic']} at {row['station'] or 'an unknown station'}",
    }[row["kind"]]
    do = {
        "drift": "Label its deliveries: they are on the worklist.",
        "kpi": "The table alarms says what it waits for.",
        "station": "Look at camera, light and file transfer.",
    }[row["kind"]]
    first = f", from {row['first_delivery']} on" if row["first_delivery"] else ""
    return f"{row['alarm_id']} is open since {moment(row['opened_at'])}: {what}{first}. {do}"


def _waiting(opened: pl.DataFrame) -> dict[str, dg.TableMetadataValue]:
    """What each waits for by now."""
    shown = ("alarm_id", "waiting", "why", "fresh_labels", "needed_labels")
    return {} if opened.is_empty() else {"waiting": preview(opened, shown, rows_shown=20)}


def _trend(
    metrics: pl.DataFrame, kpis: pl.DataFrame, rows: pl.DataFrame, measure: str
) -> dict[str, dg.MarkdownMetadataValue]:
    from cv_assets.alarms.figures import DRAWN, trend_figure

    if metrics.is_empty():
        return {}
    figure = trend_figure(metrics.select(DRAWN), kpis, rows, measure)
    says = "drift per delivery with its level, alarms, and KPIs with their bounds, across releases"
    return {"trend": picture(figure_png(figure), says)}
