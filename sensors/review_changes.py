"""Make the review queue, KPIs and alarms again when what they follow from changed, or when an item came due."""

import itertools
from collections.abc import Iterable
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Final

import dagster as dg
import polars as pl

from cv_assets.review.queue import waiting
from cv_assets.review.refreshing import Changes, came_due, standing
from cv_assets.review.schema import ReviewQueue, ReviewWorklist
from cv_assets.review.worklist import worklist
from cv_assets.spec.assets import spec_at
from cv_assets.spec.load import changed_sections
from cv_assets.spec.schema import ProjectSpec, Spec
from cv_assets.words import counted, listed
from resources.deployments import Deployment
from resources.lake import Commit
from resources.partitions import asset_key
from resources.runs import made_since, newest_run, run_with_key, unfinished
from resources.tables import Snapshot, Tables, table_path

QUEUE: Final = table_path("review_queue")
SPEC: Final = table_path("project_spec")
TABLES: Final = {
    table_path(name): name for name in ("label_table", "benchmark_frames", "releases", "project_spec")
}
"""The inputs that are one table each."""
INSPECTIONS: Final = "inspections"
DRIFT: Final = "drift_metrics"
REQUESTS: Final = "training_request"
"""The inputs of many tables, by delivery or candidate. Inspections are written once, and their raw_frames stay."""
FOLLOWING: Final = ("kpis", "alarms")
AT_MOST_SECONDS: Final = 60
"""While deliveries or exports are being taken in, a refresh waits for the last of them, but no longer than this after
the first change was seen: each would change what the one before made."""
TAKEN_IN_BY: Final = {"receive": ("delivery", "deliveries"), "take_labels": ("label export",)}
MADE: Final = ("review_queue", "review_worklist", *FOLLOWING)
"""What a refresh makes, the queue first. The last two are made from what the queue was, or later."""


@dg.sensor(
    job_name="refresh",
    minimum_interval_seconds=4,  # the daemon looks every 5 s: with 5 it often misses one by a hair
    default_status=dg.DefaultSensorStatus.RUNNING,
    description="Requests the review queue, its worklist, KPIs and alarms again after an inspection, a measurement of "
    "drift, new labels, a training request, a release or another spec, when an item came due, and when they were not "
    "made together. One run at a time; while deliveries or exports are being taken in, it waits for them up to a "
    "minute. Else the tick says how the queue stands.",
)
def review_changes(
    context: dg.SensorEvaluationContext,
    tables: dg.ResourceParam[Tables],
    deployment: dg.ResourceParam[Deployment],
) -> dg.RunRequest | dg.SkipReason:
    """Compare the inputs of a refresh at the head of the data branch with those that the queue was made from.

    A run that failed is named until all that it should have made is made, by whichever run, or something else changes.
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
    changes = _changes(head, published, queue, spec, now, _left_behind(context.instance))
    if published is None and not changes:
        return dg.SkipReason("Nothing to review yet: no delivery was inspected, and nothing is labelled.")
    earlier = run_with_key(context.instance, changes.run_key) if changes else None
    if earlier and earlier.is_success and changes.not_made:
        # They were looked at and left the queue as it is: what is missing beside it is a change of its own.
        changes = changes.not_made
        earlier = run_with_key(context.instance, changes.run_key)
    if changes and earlier is None and published and (wait := _more_comes(context, now)):
        return dg.SkipReason(f"{changes.why[:1].upper()}{changes.why[1:]}. {wait}")
    context.update_cursor("")
    if changes and earlier is None:
        return dg.RunRequest(run_key=changes.run_key, tags={"why": changes.why})
    if earlier and not earlier.is_finished:
        return dg.SkipReason(_in_flight(earlier))
    if earlier and not earlier.is_success and not made_since(context.instance, earlier, MADE):
        return dg.SkipReason(_failed(earlier, queue, now))
    return dg.SkipReason(f"The queue is up to date: {standing(queue, now)}.")


def _more_comes(context: dg.SensorEvaluationContext, now: datetime) -> str:
    """Why a refresh waits for what is being taken in, in words; empty when it does not.

    The cursor holds when the changes were first seen, by the clock of this sensor alone.
    """
    seen = datetime.fromisoformat(context.cursor) if context.cursor else now
    taken_in = {job: unfinished(context.instance, job) for job in TAKEN_IN_BY}
    until = seen + timedelta(seconds=AT_MOST_SECONDS)
    if not any(taken_in.values()) or now >= until:
        return ""
    context.update_cursor(seen.isoformat())
    what = listed([counted(count, *TAKEN_IN_BY[job]) for job, count in taken_in.items() if count])
    are = "is" if sum(taken_in.values()) == 1 else "are"
    return (
        f"{what} {are} being taken in: all is made again when they are through, or at {until:%H:%M:%S} UTC."
    )


def _changes(
    head: Snapshot,
    published: Commit | None,
    queue: pl.DataFrame,
    spec: Spec,
    now: datetime,
    left_behind: tuple[str, ...],
) -> Changes:
    """How the inputs at `head` differ from those of the queue that was `published`, and what came due since."""
    lake, input_commit = head.lake, published.metadata.get("input_commit") if published else None
    if published is None or input_commit is None:
        there = [path for path in lake.paths(head.commit, "tables/") if path != SPEC]
        made_by = published.id if published else ""
        return _inputs(head, there, made_by=made_by, since="")
    made_from = Snapshot(lake, lake.resolve(input_commit))
    changed = [change.path for change in lake.diff(made_from.commit, head.commit, "tables/")]
    sections = changed_sections(spec, made_from.table("project_spec", or_empty=ProjectSpec))
    if SPEC in changed and not sections:
        changed.remove(SPEC)
    asked = worklist(waiting(queue), spec.labels.guideline)
    return replace(
        _inputs(head, changed, made_by=published.id, since=made_from.commit),
        sections=tuple(sections),
        due_at=came_due(queue, published.created_at, now),
        worklist_is_stale=not asked.equals(head.table("review_worklist", or_empty=ReviewWorklist)),
        left_behind=left_behind,
    )


def _inputs(head: Snapshot, paths: Iterable[str], *, made_by: str, since: str) -> Changes:
    """Which inputs are among these `paths`, which changed after the commit `since`."""
    paths = list(paths)
    measured, requested = _partitions(DRIFT, paths), _partitions(REQUESTS, paths)
    newest = {
        asset: _newest_publication(head, asset, since)
        for asset, changed in ((DRIFT, measured), (REQUESTS, requested))
        if changed
    }
    return Changes(
        made_by=made_by,
        inspected=_partitions(INSPECTIONS, paths),
        measured=measured,
        requested=requested,
        tables={**_publications(head, paths), **newest},
    )


def _partitions(asset: str, paths: Iterable[str]) -> tuple[str, ...]:
    folder = f"tables/{asset}/"
    return tuple(
        path.removeprefix(folder).removesuffix(".parquet") for path in paths if path.startswith(folder)
    )


def _publications(head: Snapshot, paths: Iterable[str]) -> dict[str, str]:
    """The commit that published each of these tables, by name: the same again after another one is another commit."""
    return {TABLES[path]: next(head.lake.log(head.commit, path)).id for path in paths if path in TABLES}


def _newest_publication(head: Snapshot, asset: str, since: str) -> str:
    """The newest commit after `since` that published some partition of `asset`; empty when a person put it there.

    The log is read once: by path it would be read for each of them.
    """
    commits = itertools.takewhile(lambda commit: commit.id != since, head.lake.log(head.commit))
    return next((commit.id for commit in commits if commit.metadata.get("asset") == asset), "")


def _left_behind(instance: dg.DagsterInstance) -> tuple[str, ...]:
    """What the run that last made the queue did not make beside it, and nothing made since."""
    keys = [asset_key(name) for name in ("review_queue", *FOLLOWING)]
    records = {
        record.asset_entry.asset_key: record.asset_entry for record in instance.get_asset_records(keys)
    }
    made = {key: records[key].last_materialization_record for key in keys if key in records}
    queue = made.get(keys[0])
    if queue is None:
        return ()
    behind = [
        key.path[-1]
        for key in keys[1:]
        if (one := made.get(key)) is None or (one.run_id != queue.run_id and one.timestamp < queue.timestamp)
    ]
    return tuple(behind)


def _in_flight(run: dg.DagsterRun) -> str:
    return f"Run {run.run_id} is refreshing the queue, KPIs and alarms."


def _failed(run: dg.DagsterRun, queue: pl.DataFrame, now: datetime) -> str:
    return (
        f"Run {run.run_id} did not refresh the queue ({run.status.value.lower()}): read why there, mend it, then "
        f"re-execute the run. The queue as it was published: {standing(queue, now)}."
    )
