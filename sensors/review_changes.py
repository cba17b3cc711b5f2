"""Make the review queue again when what it follows from changed, or when an item came due."""

from collections.abc import Iterable
from datetime import UTC, datetime
from typing import Final

import dagster as dg
import polars as pl

from cv_assets.review.queue import waiting
from cv_assets.review.refreshing import Changes, came_due, standing
from cv_assets.review.schema import ReviewQueue, ReviewWorklist
from cv_assets.review.worklist import worklist
from cv_assets.spec.assets import spec_at
from cv_assets.spec.schema import ProjectSpec
from resources.deployments import Deployment
from resources.lake import Commit
from resources.runs import made_since, newest_run, run_with_key
from resources.tables import Snapshot, Tables, table_path

QUEUE: Final = table_path("review_queue")
SPEC: Final = table_path("project_spec")
INSPECTIONS: Final = "tables/inspections/"
TABLES: Final = {table_path(name): name for name in ("label_table", "benchmark_frames", "project_spec")}
"""The inputs that are one table each; a delivery's inspections are written once, and its raw_frames stay."""
MADE: Final = ("review_queue", "review_worklist")
"""What a refresh makes."""


@dg.sensor(
    job_name="refresh",
    minimum_interval_seconds=9,  # every second look of the daemon, which looks every 5 s
    default_status=dg.DefaultSensorStatus.RUNNING,
    description="Requests the review queue and its worklist again after an inspection, new labels or another review "
    "section of the spec, when an item came due, and when the worklist asks something else than the queue; one run at "
    "a time. Else the tick says how the queue stands.",
)
def review_changes(
    context: dg.SensorEvaluationContext,
    tables: dg.ResourceParam[Tables],
    deployment: dg.ResourceParam[Deployment],
) -> dg.RunRequest | dg.SkipReason:
    """Compare the queue's inputs at the head of the data branch with those that it was made from.

    A run that failed is named until the queue and its worklist are made, by whichever run, or something else changes.
    """
    # Runs first, the lake after: a run that ends in between shows as in flight, not as one that published nothing.
    newest = newest_run(context.instance, "refresh")
    if newest and not newest.is_finished:
        return dg.SkipReason(_in_flight(newest))
    head, now = tables.head(), datetime.now(UTC)
    try:
        spec = spec_at(head, deployment)
    except dg.Failure as failure:
        return dg.SkipReason(str(failure.description))
    published = next(tables.lake.log(head.commit, QUEUE)) if head.has("review_queue") else None
    queue = head.table("review_queue", or_empty=ReviewQueue)
    changes = _changes(head, published, queue, spec.labels.guideline, now)
    if published is None and not changes:
        return dg.SkipReason("Nothing to review yet: no delivery was inspected, and nothing is labelled.")
    earlier = run_with_key(context.instance, changes.run_key) if changes else None
    if changes and earlier is None:
        return dg.RunRequest(run_key=changes.run_key, tags={"why": changes.why})
    if earlier and not earlier.is_finished:
        return dg.SkipReason(_in_flight(earlier))
    if earlier and not earlier.is_success and not made_since(context.instance, earlier, MADE):
        return dg.SkipReason(_failed(earlier, queue, now))
    return dg.SkipReason(f"The queue is up to date: {standing(queue, now)}.")


def _changes(
    head: Snapshot, published: Commit | None, queue: pl.DataFrame, guideline: str, now: datetime
) -> Changes:
    """How the inputs at `head` differ from those of the queue that was `published`, and what came due since."""
    lake, input_commit = head.lake, published.metadata.get("input_commit") if published else None
    if published is None or input_commit is None:
        there = [path for path in lake.paths(head.commit, "tables/") if path != SPEC]
        made_by = published.id if published else ""
        return Changes(made_by, inspected=_inspected(there), tables=_publications(head, there))
    made_from = Snapshot(lake, input_commit)
    changed = [change.path for change in lake.diff(made_from.commit, head.commit, "tables/")]
    if SPEC in changed and _review(made_from) == _review(head):
        changed.remove(SPEC)
    asked = worklist(waiting(queue), guideline)
    return Changes(
        made_by=published.id,
        inspected=_inspected(changed),
        tables=_publications(head, changed),
        due_at=came_due(queue, published.created_at, now),
        worklist_is_stale=not asked.equals(head.table("review_worklist", or_empty=ReviewWorklist)),
    )


def _inspected(paths: Iterable[str]) -> tuple[str, ...]:
    return tuple(
        path.removeprefix(INSPECTIONS).removesuffix(".parquet")
        for path in paths
        if path.startswith(INSPECTIONS)
    )


def _publications(head: Snapshot, paths: Iterable[str]) -> dict[str, str]:
    """The commit that published each of these tables, by name: the same again after another one is another commit."""
    return {TABLES[path]: next(head.lake.log(head.commit, path)).id for path in paths if path in TABLES}


def _review(snapshot: Snapshot) -> list[str]:
    """What the published spec says about review."""
    spec = snapshot.table("project_spec", or_empty=ProjectSpec)
    return spec.filter(pl.col("section") == "review")["value"].to_list()


def _in_flight(run: dg.DagsterRun) -> str:
    return f"Run {run.run_id} is refreshing the queue."


def _failed(run: dg.DagsterRun, queue: pl.DataFrame, now: datetime) -> str:
    return (
        f"Run {run.run_id} did not refresh the queue ({run.status.value.lower()}): read why there, mend it, then "
        f"re-execute the run. The queue as it was published: {standing(queue, now)}."
    )
