"""Runs, as Dagster's records know them: in flight or ended.

Projects may share one Dagster and have jobs of the same names: here each sees its own runs.
"""

import time
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from typing import Final, Literal

import dagster as dg

from resources.partitions import OURS, asset_key

RUNS_LOOKED_AT: Final = 200
"""Older runs of a job are left out: looking at all of them each few seconds would cost more each year."""

AGAIN_WHEN_KILLED: Final = {"dagster/max_retries": "2", "dagster/retry_on_asset_or_op_failure": "false"}
"""Tags of a run that Dagster tries again when its process died; one that failed by its own work waits for a person."""

_PARTITION: Final = "dagster/partition"
_ENDED: Final = (dg.DagsterRunStatus.SUCCESS, dg.DagsterRunStatus.FAILURE, dg.DagsterRunStatus.CANCELED)
_UNFINISHED: Final = [status for status in dg.DagsterRunStatus if status not in _ENDED]
_WILL_RETRY: Final = "dagster/will_retry"
"""Dagster tags a failed run with it: whether run retries (`run_retries` in dagster.yaml) try it again."""
_RETRY: Final = "dagster/auto_retry_run_id"
"""Dagster tags a failed run with the run that tries it again."""
_MARKED_SECONDS: Final = 60.0
"""Within this Dagster has marked a failed run; usually it takes milliseconds."""


def newest_runs(
    instance: dg.DagsterInstance, job: str, partitions: Collection[str]
) -> Mapping[str, dg.DagsterRun]:
    """The newest run of `job` for each of these partitions that has one."""
    if not partitions:
        return {}
    filters = dg.RunsFilter(job_name=job, tags={**OURS, _PARTITION: list(partitions)})
    newest_last = reversed(instance.get_runs(filters))
    return {run.tags[_PARTITION]: run for run in newest_last}


def newest_run(instance: dg.DagsterInstance, job: str) -> dg.DagsterRun | None:
    """The newest run of `job`, whoever launched it."""
    return next(iter(instance.get_runs(dg.RunsFilter(job_name=job, tags=OURS), limit=1)), None)


def unfinished(instance: dg.DagsterInstance, job: str) -> int:
    """How many runs of `job` have not ended."""
    return instance.get_runs_count(dg.RunsFilter(job_name=job, statuses=_UNFINISHED, tags=OURS))


def made_since(instance: dg.DagsterInstance, run: dg.DagsterRun, assets: Collection[str]) -> bool:
    """Whether each of these assets was materialized after `run` was launched, by whichever run."""
    record = instance.get_run_record_by_id(run.run_id)
    made = instance.get_asset_records([asset_key(name) for name in assets])
    times = [one.asset_entry.last_materialization_record for one in made]
    launched = record.create_timestamp.timestamp() if record else 0.0
    return len(made) == len(assets) and all(time is not None and time.timestamp > launched for time in times)


def run_with_key(instance: dg.DagsterInstance, run_key: str) -> dg.DagsterRun | None:
    """The newest run that was requested under `run_key`; a sensor's key is spent once there is one."""
    with_key = dg.RunsFilter(tags={**OURS, "dagster/run_key": run_key})
    return next(iter(instance.get_runs(with_key, limit=1)), None)


def is_tried_again(run: dg.DagsterRun, ended_at: float) -> bool | None:
    """Whether Dagster tries the failed run, which ended at that time, again; None for a moment, before it has said so.

    Only Dagster's run retries say it: without them None means no. Times are seconds since 1970.
    """
    if _WILL_RETRY in run.tags:
        return run.tags[_WILL_RETRY] == "true"
    return None if time.time() - ended_at < _MARKED_SECONDS else False


def comes_again(run: dg.DagsterRun) -> bool:
    """Whether the run failed and Dagster, as it says on the run itself, tries it again."""
    return run.status is dg.DagsterRunStatus.FAILURE and run.tags.get(_WILL_RETRY) == "true"


def number_in(run: dg.DagsterRun, tag: str) -> int:
    """The number in a tag of the run; 0 also for what a person mistyped: Dagster does not retry such a run."""
    value = run.tags.get(tag, "")
    return int(value) if value.isdecimal() else 0


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
    """The newest runs of `job`, each group once, whoever launched them; the one begun last is first."""
    groups: dict[str, list[dg.RunRecord]] = {}
    for record in instance.get_run_records(dg.RunsFilter(job_name=job, tags=OURS), limit=RUNS_LOOKED_AT):
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
    said = is_tried_again(run, record.end_time or 0.0)
    return said if said is not None else tries <= number_in(run, "dagster/max_retries")
