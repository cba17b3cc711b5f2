"""The review step: what people are asked, the file that asks them, and what their answers say of the release."""

from datetime import UTC, datetime
from pathlib import Path
from typing import Final

import dagster as dg
import polars as pl

from cv_assets.drift import episodes
from cv_assets.drift.schema import DriftMetrics
from cv_assets.frames.files import write_atomically
from cv_assets.frames.schema import RawFrames
from cv_assets.inspection.schema import Inspections
from cv_assets.labels.schema import BenchmarkFrames, LabelTable
from cv_assets.release.schema import Releases
from cv_assets.requests.base import release_in_force
from cv_assets.review import queue as items
from cv_assets.review.answers import known_truth
from cv_assets.review.asked import whole_deliveries
from cv_assets.review.schema import STATES, Kpis, ReviewQueue, ReviewWorklist
from cv_assets.review.worklist import FILE, PICTURES, picture_name, tasks_json, worklist
from cv_assets.spec.assets import in_force
from cv_assets.spec.schema import Spec
from cv_assets.words import moment
from resources.contracts import Audited, Check, TableAsset, preview
from resources.deployments import Deployment, writing
from resources.pictures import figure_png, montage, picture
from resources.tables import Snapshot, Tables

NOBODY_IS_FORGOTTEN = Check(
    "nobody_is_forgotten",
    "Has every capture of a drifted delivery, with the verdict REVIEW or drawn for the audit, and every frame whose "
    "votes do not decide, its item?",
)
NOTHING_IS_OVERDUE = Check(
    "nothing_is_overdue", "Is every item answered by its due time, or not due yet?", blocking=False
)

REVIEW_QUEUE = TableAsset(
    "review_queue",
    ReviewQueue,
    step="review",
    checks=(NOBODY_IS_FORGOTTEN, NOTHING_IS_OVERDUE),
)
REVIEW_WORKLIST = TableAsset("review_worklist", ReviewWorklist, step="review", kinds=frozenset({"json"}))

NO_KPI_IS_BROKEN = Check(
    "no_kpi_is_broken",
    "Does no KPI of the release in force lie with all of its interval beyond the spec's bound, in its newest window?",
    blocking=False,
)
ENOUGH_IS_ANSWERED = Check(
    "enough_is_answered",
    "Is enough answered to hold the release in force to every bound of the spec's `kpis`, in its newest window?",
    blocking=False,
)

KPIS = TableAsset("kpis", Kpis, step="review", checks=(NO_KPI_IS_BROKEN, ENOUGH_IS_ANSWERED))

MOST_PICTURES: Final = 12
"""How many frames the montage shows."""

_SHOWN: Final = ("part", "reason", "why", "state", "due_at", "delivery", "file_name")
_SHOWN_KPIS: Final = (
    "metric", "value", "low", "high", "bound", "verdict", "until", "captures", "asked", "answered"
)  # fmt: skip


@dg.asset(
    **REVIEW_QUEUE.arguments,
    deps=["inspections", "raw_frames", "label_table", "benchmark_frames", "drift_metrics", "releases"],
)
def review_queue(
    context: dg.AssetExecutionContext,
    project_spec: pl.DataFrame,
    tables: dg.ResourceParam[Tables],
    deployment: dg.ResourceParam[Deployment],
) -> Audited:
    """What people are asked, and what they answered: a frame is here once, with the reason why it needs a person.

    Every frame of deliveries that belong to a drift alarm, frames whose verdict is REVIEW, a random share of those that
    passed or failed by themselves, and frames whose votes do not decide. An item is answered once its label is agreed
    in the label table or verified in the benchmark. What only a drift asked for, and nobody answered, leaves the queue
    with the release that judged it. The table follows from those tables alone: made again, it is the
    same.
    """
    spec, snapshot, now = in_force(project_spec, deployment), tables.snapshot(context), datetime.now(UTC)
    inspections = snapshot.columns("inspections", items.VERDICT_FACTS, schema=Inspections)
    label_table = snapshot.table("label_table", or_empty=LabelTable)
    now_decides = release_in_force(snapshot.table("releases", or_empty=Releases))
    whole = whole_deliveries(
        _drift(snapshot), spec.drift.patience, now_decides["number"] if now_decides else None
    )
    still_asked = whole.filter("still_asked")["delivery"]
    rows = items.review_queue(
        inspections=inspections,
        raw_frames=snapshot.columns("raw_frames", items.RAW_FACTS, schema=RawFrames),
        label_table=label_table,
        benchmark_frames=snapshot.table("benchmark_frames", or_empty=BenchmarkFrames),
        whole=whole,
        review=spec.review,
    )
    overdue = items.waiting(rows).filter(pl.col("due_at") <= now)
    yield from REVIEW_QUEUE.audited(
        rows,
        checks=[
            _nobody_is_forgotten(
                rows, inspections, items.forgotten(rows, inspections, label_table, still_asked)
            ),
            _nothing_is_overdue(overdue, now),
        ],
        metadata={
            **{state: (rows["state"] == state).sum() for state in STATES},
            "overdue": overdue.height,
            "drifted deliveries": len(still_asked),
            "rows": preview(items.waiting(rows), _SHOWN, rows_shown=10),
            "by reason": _counts(rows, "reason"),
            "waiting by delivery": _counts(items.waiting(rows), "delivery"),
            **_urgent_pictures(items.waiting(rows), snapshot, spec),
        },
    )


@dg.asset(**REVIEW_WORKLIST.arguments)
def review_worklist(
    context: dg.AssetExecutionContext,
    project_spec: pl.DataFrame,
    review_queue: pl.DataFrame,
    tables: dg.ResourceParam[Tables],
    deployment: dg.ResourceParam[Deployment],
) -> Audited:
    """The tasks that wait for people, as they lie in the review folder of the data folder, due first.

    `worklist.json` is a list that Label Studio imports; the tasks' pictures are in `pictures` beside it, each named by
    its frame id, so that an export from any tool names the frame. Made again when the queue is; answers come back as
    label exports.
    """
    spec, snapshot = in_force(project_spec, deployment), tables.snapshot(context)
    with writing(spec.review.folder):
        folder = deployment.told_in(spec.review.folder)
    rows = worklist(items.waiting(review_queue), spec.labels.guideline)
    copied = sum(_copy_picture(snapshot, path, folder / PICTURES) for path in rows["path"])
    # Pictures lie in the lake for good under their path: a link through the branch stays the same in every refresh.
    content = tasks_json(rows, lambda path: tables.lake.url(deployment.branch, path))
    written = _write_if_changed(folder / FILE, content)
    yield from REVIEW_WORKLIST.audited(
        rows,
        metadata={
            "tasks": rows.height,
            "pictures copied": copied,
            "file": dg.MetadataValue.path(folder / FILE),
            "the file is": "written anew" if written else "as it was",
        },
    )


@dg.asset(
    **KPIS.arguments,
    # The queue is not read. Made after it, the KPIs know all that it knows, and its commit tells what both do not.
    deps=["inspections", "label_table", "benchmark_frames", "drift_metrics", "releases", "review_queue"],
)
def kpis(
    context: dg.AssetExecutionContext,
    project_spec: pl.DataFrame,
    tables: dg.ResourceParam[Tables],
    deployment: dg.ResourceParam[Deployment],
) -> Audited:
    """Quality in production: escapes, overkill, precision of FAIL and review load of each release, as far as known.

    A row is about the newest deliveries of a release at the time of one of them, and is estimated from what people
    answered: an answer stands for as many captures as the probability says with which it was asked for. Where too
    little is answered the row says so, and nothing follows from it.
    """
    from cv_assets.review import kpis as estimated
    from cv_assets.review.figures import kpis_figure

    spec, snapshot = in_force(project_spec, deployment), tables.snapshot(context)
    releases = snapshot.table("releases", or_empty=Releases)
    truth = known_truth(
        snapshot.table("label_table", or_empty=LabelTable),
        snapshot.table("benchmark_frames", or_empty=BenchmarkFrames),
    )
    rows = estimated.kpis(
        inspections=snapshot.columns("inspections", estimated.NEEDED, schema=Inspections),
        truth=truth,
        drifted=episodes.drifted_deliveries(_drift(snapshot), spec.drift.patience),
        releases=releases,
        spec=spec,
    )
    now = release_in_force(releases)
    newest = estimated.newest(rows, now["number"] if now else None)
    version = str(now["version"]) if now else ""
    told = rows.filter(pl.col("verdict") != "not_enough")
    yield from KPIS.audited(
        rows,
        checks=[_no_kpi_is_broken(newest, version), _enough_is_answered(newest, version)],
        metadata={
            "release": version or "none",
            "in short": _told(newest) or "The release in force inspected nothing yet.",
            **{
                name: round(value, 4)
                for name, value in newest.select("metric", "value").drop_nulls().iter_rows()
            },
            **{name: int(newest[name][0]) for name in ("asked", "answered") if newest.height},
            "broken": int((newest["verdict"] == "broken").sum()),
            "rows": preview(newest, _SHOWN_KPIS),
            "by window": picture(figure_png(kpis_figure(rows)), "each KPI by window, with its interval")
            if told.height
            else "No window of any release has enough answers to tell anything yet.",
        },
    )


def _drift(snapshot: Snapshot) -> pl.DataFrame:
    return snapshot.columns("drift_metrics", episodes.NEEDED, schema=DriftMetrics)


def _no_kpi_is_broken(newest: pl.DataFrame, version: str) -> dg.AssetCheckResult:
    broken = newest.filter(verdict="broken")
    if broken.is_empty():
        met, undecided = (
            ", ".join(newest.filter(verdict=one)["metric"]) or "none" for one in ("met", "undecided")
        )
        said = (
            f"No KPI of {version} is broken."
            if version
            else "No release is in force, so none breaks a bound."
        )
        return NO_KPI_IS_BROKEN.result(True, f"{said} Within its bound: {met}. Undecided: {undecided}.")
    return NO_KPI_IS_BROKEN.result(
        False,
        f"{version} breaks the spec's bound on {', '.join(broken['metric'])}. The table alarms says what follows.",
        {"broken": broken.height, "why": _told(broken), "offenders": preview(broken, _SHOWN_KPIS)},
    )


def _enough_is_answered(newest: pl.DataFrame, version: str) -> dg.AssetCheckResult:
    if newest.is_empty():
        why = f"{version} inspected nothing yet" if version else "no release is in force"
        return ENOUGH_IS_ANSWERED.result(True, f"There is nothing to answer: {why}.")
    lacking = newest.filter(pl.col("verdict") == "not_enough", pl.col("bound").is_not_null())
    if lacking.is_empty():
        silent = ", ".join(newest.filter(verdict="not_enough")["metric"]) or "nothing"
        said = f"Enough is answered for every bound of the spec. What is not told of {version}: {silent}."
        return ENOUGH_IS_ANSWERED.result(True, said)
    # Its figures change with every answer, these words do not: people are told once of what lacks.
    names = ", ".join(lacking["metric"])
    return ENOUGH_IS_ANSWERED.result(
        False,
        f"Too few answers to judge {names} of {version}: no KPI alarm can open. Work through the worklist "
        "(docs/review.md); the figures stand below.",
        {"lacks": _told(lacking), "offenders": preview(lacking, _SHOWN_KPIS)},
    )


def _told(windows: pl.DataFrame) -> str:
    return "; ".join(f"{name}: {why}" for name, why in windows.select("metric", "why").iter_rows())


def _nobody_is_forgotten(
    rows: pl.DataFrame, inspections: pl.DataFrame, missing: pl.DataFrame
) -> dg.AssetCheckResult:
    said = f"{rows.height} items stand for all that people must see of {inspections.height} verdicts."
    if not missing.is_empty():
        frame_id, because = missing.row(0)
        said = (
            f"{missing.height} have no item, such as frame {frame_id}: {because}. A label that is older than the last "
            "change of raw_frames may name a frame that is not there. Materialize label_table, then review_queue."
        )
    return NOBODY_IS_FORGOTTEN.no_rows(missing, said)


def _nothing_is_overdue(overdue: pl.DataFrame, now: datetime) -> dg.AssetCheckResult:
    if overdue.is_empty():
        return NOTHING_IS_OVERDUE.result(True, f"No item is overdue at {moment(now)}.", {"overdue": 0})
    # How many changes with every look, these words do not: people are told once.
    said = (
        "Items are overdue: label them (docs/review.md says how), or give people more time in the spec's "
        "`review.due_hours`."
    )
    shown = preview(overdue, _SHOWN, rows_shown=10)
    return NOTHING_IS_OVERDUE.result(False, said, {"overdue": overdue.height, "offenders": shown})


def _counts(rows: pl.DataFrame, by: str) -> dg.TableMetadataValue:
    """How many items of each kind are in which state; most waiting first."""
    counts = rows.group_by(by).agg(*((pl.col("state") == state).sum().alias(state) for state in STATES))
    waiting = pl.col("open") + pl.col("unresolved")
    return preview(counts.sort(waiting, by, descending=[True, True]), rows_shown=20)


def _urgent_pictures(
    waiting: pl.DataFrame, snapshot: Snapshot, spec: Spec
) -> dict[str, dg.MarkdownMetadataValue]:
    """The frames that are due first."""
    from cv_assets.frames.preparing import fetch_to_show

    if waiting.is_empty():
        return {}
    first, max_pixels = waiting.head(MOST_PICTURES), spec.preparation.bounds.max_pixels
    pictures = [fetch_to_show(snapshot.fetch, path, max_pixels) for path in first["path"]]
    captions = [f"{part}: {reason}" for part, reason in first.select("part", "reason").iter_rows()]
    return {"due first": picture(montage(pictures, captions), "frames that wait for people, due first")}


def _copy_picture(snapshot: Snapshot, path: str, folder: Path) -> bool:
    """Put the picture where labelling tools can read it, unless it is there: its name stands for its content."""
    file = folder / picture_name(path)
    if file.exists():
        return False
    # Past the snapshot's list of reads, which the commit keeps: the table itself lists the pictures, maybe thousands.
    content = snapshot.lake.read(snapshot.commit, path)
    with writing(file):
        write_atomically(file, content)
    return True


def _write_if_changed(file: Path, content: bytes) -> bool:
    with writing(file):
        if file.exists() and file.read_bytes() == content:
            return False
        write_atomically(file, content)
        return True
