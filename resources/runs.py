"""Runs, as Dagster's records know them: in flight or ended."""

import time
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from typing import Final, Literal

import dagster as dg

RUNS_LOOKED_AT: Final = 200
"""Older runs of a job are left out: looking at all of them each few seconds would cost more each year."""

_PARTITION: Final = "dagster/partition"
_ENDED: Final = (dg.DagsterRunStatus.SUCCESS, dg.DagsterRunStatus.FAILURE, dg.DagsterRunStatus.CANCELED)
_UNFINISHED: Final = [status for status in dg.DagsterRunStatus if status not in _ENDED]
_WILL_RETRY: Final = "dagster/will_retry"
"""Dagster tags a failed run with it: whether run retries (`run_retries` in dagster.yaml) try it again."""
_RETRY: Final = "dagster/auto_retry_run_id"
"""Dagster tags a failed run with the run that tries it again."""
_MARKED_SECONDS: Final = 60.0


def newest_runs(
    instance: dg.DagsterInstance, job: str, partitions: Collection[str]
) -> Mapping[str, dg.DagsterRun]:
    """The newest run of `job` for each of these partitions that has one."""
    if not partitions:
        return {}
    filters = dg.RunsFilter(job_name=job, tags={_PARTITION: list(partitions)})
    newest_last = reversed(instance.get_runs(filters))
    return {run.tags[_PARTITION]: run for run in newest_last}


def newest_run(instance: dg.DagsterInstance, job: str) -> dg.DagsterRun | None:
    """The newest run of `job`, whoever launched it."""
    return next(iter(instance.get_runs(dg.RunsFilter(job_name=job), limit=1)), None)


def unfinished(instance: dg.DagsterInstance, job: str) -> int:
    """How many runs of `job` have not ended."""
    return instance.get_runs_count(dg.RunsFilter(job_name=job, statuses=_UNFINISHED))


def made_since(instance: dg.DagsterInstance, run: dg.DagsterRun, assets: Collection[str]) -> bool:
    """Whether each of these assets was materialized after `run` was launched, by whichever run."""
    record = instance.get_run_record_by_id(run.run_id)
    made = instance.get_asset_records([dg.AssetKey(name) for name in assets])
    times = [one.asset_entry.last_materialization_record for one in made]
    launched = record.create_timestamp.timestamp() if record else 0.0
    return len(made) == len(assets) and all(time is not None and time.timestamp > launched for time in times)


def run_with_key(instance: dg.DagsterInstance, run_key: str) -> dg.DagsterRun | None:
    """The newest run that was requested under `run_key`; a sensor's key is spent once there is one."""
    return next(iter(instance.get_runs(dg.RunsFilter(tags={"dagster/run_key": run_key}), limit=1)), None)


@dataclass(frozen=True)
class RunGroup:
    """A run with the runs that re-executed it, by Dagster's retries or by a person, and how they stand together.

    waiting: the newest failed, and Dagster tries it again. failed: nobody does by itself. succeeded: one ended well.
    """

    root: str
    partition: str
    newest: dg.DagsterRun
    state: Literal["in flight", "waiting", "failed", "succeeded"]
    tries: int


def run_groups(instance: dg.DagsterInstance, job: str) -> list[RunGroup]:
    """The newest runs of `job`, whoever launched them, each group once, the one that was begun last first."""
    groups: dict[str, list[dg.RunRecord]] = {}
    for record in instance.get_run_records(dg.RunsFilter(job_name=job), limit=RUNS_LOOKED_AT):
        run = record.dagster_run
        groups.setdefault(run.root_run_id or run.run_id, []).append(record)
    return [_group(root, records) for root, records in groups.items()]


def _group(root: str, records: Sequence[dg.RunRecord]) -> RunGroup:
    """Of `records`, newest first."""
    runs = [record.dagster_run for record in records]
    busy = next((run for run in runs if not run.is_finished), None)
    newest = busy or next((run for run in runs if run.is_success), runs[0])
    state: Literal["in flight", "waiting", "failed", "succeeded"] = "failed"
    if busy:
        state = "in flight"
    elif newest.is_success:
        state = "succeeded"
    elif any(_will_be_tried_again(record, len(runs)) for record in records):
        state = "waiting"
    return RunGroup(root, newest.tags.get(_PARTITION, ""), newest, state, len(runs))


def _will_be_tried_again(record: dg.RunRecord, tries: int) -> bool:
    """Whether Dagster says so, or has not said yet and may."""
    run = record.dagster_run
    if run.status is not dg.DagsterRunStatus.FAILURE or _RETRY in run.tags:
        return False
    if _WILL_RETRY in run.tags:
        return run.tags[_WILL_RETRY] == "true"
    # The mark follows the failure within a moment; without retries it never comes.
    may = tries <= int(run.tags.get("dagster/max_retries", 0))
    return may and time.time() - (record.end_time or 0) < _MARKED_SECONDS
