"""What Dagster's own storage holds of runs: which of them it still shows, and how the rest is let go.

The one reader of Dagster's tables: no public call says which run an asset's newest record is from, or removes a part
of a run's log. All else goes through the instance. Tried on SQLite and on PostgreSQL.
"""

import sqlite3
from collections.abc import Iterator
from contextlib import closing
from itertools import chain
from pathlib import Path
from typing import Any, Final

import dagster as dg
import sqlalchemy as db

# None of these is public.
from dagster._core.storage.event_log import SqliteEventLogStorage
from dagster._core.storage.event_log.schema import AssetCheckExecutionsTable, SqlEventLogStorageTable
from dagster._core.storage.runs.schema import RunTagsTable

from resources.partitions import OURS, PROJECT

THINNED: Final = "cv_assets/thinned"
"""Tags a run of whose log the messages are gone."""

MESSAGES: Final = (
    "ENGINE_EVENT",
    "HANDLED_OUTPUT",
    "LOADED_INPUT",
    "LOGS_CAPTURED",
    "RESOURCE_INIT_STARTED",
    "RESOURCE_INIT_SUCCESS",
    "STEP_INPUT",
    "STEP_OUTPUT",
    "STEP_WORKER_STARTED",
    "STEP_WORKER_STARTING",
)
"""Kinds of events that tell only how a run that ended well went; no table, check, status or time of a step is among
them. What steps logged has no kind, and is a message too."""

_PAGE: Final = 500
_OURS: Final = (
    dg.RunsFilter(tags=OURS),
    # What is materialized without a job carries no tag of a job.
    dg.RunsFilter(job_name="__ASSET_JOB", tags={".dagster/repository": f"__repository__@{PROJECT}"}),
)


def run_records(instance: dg.DagsterInstance) -> list[dg.RunRecord]:
    """Every run of the project, the newest first: those of its jobs, and what people materialized by hand."""
    records = [one for wanted in _OURS for one in _pages(instance, wanted)]
    return sorted(records, key=lambda one: one.storage_id, reverse=True)


def runs_shown(instance: dg.DagsterInstance) -> set[str]:
    """The runs that the newest materialization of some asset's partition, or the newest result of a check, is from."""
    with _storage(instance).index_connection() as connection:
        return {
            row[0] for row in chain(connection.execute(_tables()), connection.execute(_checks())) if row[0]
        }


def forget_run(instance: dg.DagsterInstance, run_id: str) -> None:
    """Remove a run, its log and what its steps printed; the tables and checks that it was the newest of go with it."""
    instance.compute_log_manager.delete_logs(prefix=[run_id])
    instance.delete_run(run_id)
    with instance.run_storage.connect() as connection:  # type: ignore[attr-defined]
        # PostgreSQL did it with the run, SQLite does not.
        connection.execute(RunTagsTable.delete().where(RunTagsTable.c.run_id == run_id))
    if file := _log_file(instance, run_id):
        for one in (file, file.with_name(f"{file.name}-wal"), file.with_name(f"{file.name}-shm")):
            one.unlink(missing_ok=True)


def thin_run(instance: dg.DagsterInstance, run_id: str) -> None:
    """Remove the messages of a run and what its steps printed; its tables, checks, steps and times stay."""
    kind = SqlEventLogStorageTable.c.dagster_event_type
    messages = SqlEventLogStorageTable.delete().where(
        SqlEventLogStorageTable.c.run_id == run_id, db.or_(kind.is_(None), kind.in_(MESSAGES))
    )
    with _storage(instance).run_connection(run_id) as connection:
        connection.execute(messages)
    if file := _log_file(instance, run_id):
        with closing(sqlite3.connect(file)) as log:
            log.execute("VACUUM")
    instance.compute_log_manager.delete_logs(prefix=[run_id])
    instance.add_run_tags(run_id, {THINNED: "true"})


def _pages(instance: dg.DagsterInstance, wanted: dg.RunsFilter) -> Iterator[dg.RunRecord]:
    cursor = None
    while page := instance.get_run_records(wanted, limit=_PAGE, cursor=cursor):
        yield from page
        cursor = page[-1].dagster_run.run_id


def _tables() -> db.Select[Any]:
    """Run ids."""
    table = SqlEventLogStorageTable.c
    newest = (
        db.select(db.func.max(table.id))
        .where(table.dagster_event_type == dg.DagsterEventType.ASSET_MATERIALIZATION.value)
        .group_by(table.asset_key, table.partition)
    )
    return db.select(table.run_id).where(table.id.in_(newest)).distinct()


def _checks() -> db.Select[Any]:
    """Run ids."""
    table = AssetCheckExecutionsTable.c
    newest = db.select(db.func.max(table.id)).group_by(table.asset_key, table.check_name, table.partition)
    return db.select(table.run_id).where(table.id.in_(newest)).distinct()


def _storage(instance: dg.DagsterInstance) -> Any:
    return instance.event_log_storage


def _log_file(instance: dg.DagsterInstance, run_id: str) -> Path | None:
    """On SQLite each run's log is a file of its own."""
    storage = instance.event_log_storage
    if not isinstance(storage, SqliteEventLogStorage):
        return None
    file = Path(storage.path_for_shard(run_id))
    return file if file.exists() else None
