"""Runs, as Dagster's records know them: in flight or ended."""

from collections.abc import Collection, Mapping
from typing import Final

import dagster as dg

_PARTITION: Final = "dagster/partition"


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
