"""Make the review queue again when what it follows from changed, or when an item came due."""

from collections.abc import Iterable
from datetime import UTC, datetime
from typing import Final

import dagster as dg
import polars as pl

from cv_assets.review.refreshing import Changes, came_due, standing
from cv_assets.review.schema import ReviewQueue
from cv_assets.spec.assets import spec_at
from cv_assets.spec.schema import ProjectSpec
from resources.deployments import Deployment
from resources.lake import Commit
from resources.runs import newest_run, run_with_key
from resources.tables import Snapshot, Tables, table_path

QUEUE: Final = table_path("review_queue")
SPEC: Final = table_path("project_spec")
INSPECTIONS: Final = "tables/inspections/"
TABLES: Final = {table_path(name): name for name in ("label_table", "benchmark_frames", "project_spec")}
"""The inputs that are one table each; a delivery's inspections are written once."""


@dg.sensor(
    job_name="refresh",
    minimum_interval_seconds=9,  # every second look of the daemon, which looks every 5 s
    default_status=dg.DefaultSensorStatus.RUNNING,
    description="Requests the review queue and its worklist again after an inspection, new labels or another review "
    "section of the spec, and when an item came due; one run at a time. Else the tick says how the queue stands.",
)
def review_changes(
    context: dg.SensorEvaluationContext,
    tables: dg.ResourceParam[Tables],
    deployment: dg.ResourceParam[Deployment],
) -> dg.RunRequest | dg.SkipReason:
    """Compare the queue's inputs at the head of the data branch with those that it was made from."""
    # Runs first, the lake after: a run that ends in between shows as in flight, not as one that published nothing.
    newest = newest_run(context.instance, "refresh")
    if newest and not newest.is_finished:
        return dg.SkipReason(_in_flight(newest))
    head, now = tables.head(), datetime.now(UTC)
    try:
        spec_at(head, deployment)
    except dg.Failure as failure:
        return dg.SkipReason(str(failure.description))
    published = next(tables.lake.log(head.commit, QUEUE)) if head.has("review_queue") else None
    queue = _queue(head) if published else ReviewQueue.create_empty()
    changes = _changes(head, published, queue, now)
    if published is None and not changes:
        return dg.SkipReason("Nothing to review yet: no delivery was inspected, and nothing is labelled.")
    earlier = run_with_key(context.instance, changes.run_key) if changes else newest
    if earlier and not earlier.is_finished:
        return dg.SkipReason(_in_flight(earlier))
    if earlier and not earlier.is_success:
        return dg.SkipReason(_failed(earlier, queue, now))
    if changes and not earlier:
        return dg.RunRequest(run_key=changes.run_key, tags={"why": changes.why})
    return dg.SkipReason(f"The queue is up to date: {standing(queue, now)}.")


def _changes(head: Snapshot, published: Commit | None, queue: pl.DataFrame, now: datetime) -> Changes:
    """How the inputs at `head` differ from those of the queue that was `published`, and what came due since."""
    lake = head.lake
    if published is None:
        there = [path for path in lake.paths(head.commit, "tables/") if path != SPEC]
        return Changes(inspected=_inspected(there), tables=_publications(head, there))
    made_from = Snapshot(lake, published.metadata["input_commit"])
    changed = [change.path for change in lake.diff(made_from.commit, head.commit, "tables/")]
    if SPEC in changed and _review(made_from) == _review(head):
        changed.remove(SPEC)
    return Changes(
        made_by=published.id,
        inspected=_inspected(changed),
        tables=_publications(head, changed),
        due_at=came_due(queue, published.created_at, now),
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


def _queue(head: Snapshot) -> pl.DataFrame:
    return pl.read_parquet(head.fetch(QUEUE), columns=["state", "due_at"])


def _in_flight(run: dg.DagsterRun) -> str:
    return f"Run {run.run_id} is refreshing the queue."


def _failed(run: dg.DagsterRun, queue: pl.DataFrame, now: datetime) -> str:
    return (
        f"Run {run.run_id} did not refresh the queue ({run.status.value.lower()}): read why there, mend it, then "
        f"re-execute the run. The queue as it was published: {standing(queue, now)}."
    )
