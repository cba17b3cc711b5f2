"""Dagster's own storage as a whole, copied while Dagster works on it, and taken up again beside an older or newer lake.

On SQLite it is the databases in DAGSTER_HOME, which SQLite's own backup copies; on PostgreSQL it is one database, which
`pg_dump` copies. What steps printed is left out.
"""

import sqlite3
import subprocess
from collections import Counter
from contextlib import closing
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Final

import dagster as dg

from resources.run_records import forget_run, run_records

DUMP: Final = "dagster.dump"
_DRIVER: Final = "postgresql+psycopg2://"


@dataclass(frozen=True)
class DagsterStorage:
    """Where Dagster's storage is: its home, and the URL of its database when that is not in its home."""

    home: Path
    postgres_url: str = ""

    def copy(self, into: Path) -> str:
        """Copy it as it is at one moment of each database, into an empty folder; what was copied, in words."""
        into.mkdir(parents=True)
        if self.postgres_url:
            _program("pg_dump", "--format=custom", "--no-owner", "--file", str(into / DUMP), self._plain_url)
            return "Dagster's database"
        files = sorted(self.home.rglob("*.db"))
        for file in files:
            _copy_sqlite(file, into / file.relative_to(self.home))
        return f"{len(files)} SQLite databases of Dagster"

    def bring_back(self, source: Path) -> None:
        """Make what was copied into `source` the storage. Raises FileExistsError where there is one."""
        if self.postgres_url:
            _program(
                "pg_restore", "--no-owner", "--exit-on-error", "--dbname", self._plain_url, str(source / DUMP)
            )
            return
        if present := next(self.home.rglob("*.db"), None):
            raise FileExistsError(f"{present} is there: move {self.home} away first")
        for file in sorted(source.rglob("*.db")):
            _copy_sqlite(file, self.home / file.relative_to(source))

    def settled(self, newest: datetime) -> str:
        """Make its runs agree with a lake whose newest publication was then; what was done, in words."""
        with dg.DagsterInstance.from_config(str(self.home)) as instance:
            return settle(instance, newest)

    @property
    def _plain_url(self) -> str:
        """As PostgreSQL's own programs take it."""
        return self.postgres_url.replace(_DRIVER, "postgresql://", 1)


def settle(instance: dg.DagsterInstance, newest: datetime) -> str:
    """Make the runs of a storage that was brought back agree with a lake whose newest publication was then.

    A run that ended later may have published what the lake does not hold: it is forgotten, and its sensor asks again.
    So is one that was in flight, unless Dagster tries it again: that one fails here, and goes on where it stopped.
    Returns what was done, in words.
    """
    done: Counter[str] = Counter()
    for record in run_records(instance):
        run = record.dagster_run
        if not run.is_finished and "dagster/max_retries" in run.tags:
            instance.report_run_failed(run, "It was in flight when Dagster's storage was copied.")
            done["failed, for Dagster to try them again"] += 1
        elif not run.is_finished or (record.end_time or 0.0) > newest.timestamp():
            forget_run(instance, run.run_id)
            done["were forgotten, for their sensors to ask again"] += 1
    return "; ".join(f"{number} runs {what}" for what, number in done.items()) or "No run had to be settled"


def _copy_sqlite(source: Path, target: Path) -> None:
    target.parent.mkdir(parents=True, exist_ok=True)
    with (
        closing(sqlite3.connect(f"file:{source}?mode=ro", uri=True)) as read,
        closing(sqlite3.connect(target)) as copy,
    ):
        read.backup(copy)


def _program(*command: str) -> None:
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode:
        raise OSError(f"{command[0]} failed: {done.stderr.strip()}")
