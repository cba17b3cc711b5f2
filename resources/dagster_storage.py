"""Dagster's own storage as a whole, copied while Dagster works on it, and taken up again beside an older or newer lake.

On SQLite it is the databases in DAGSTER_HOME, which SQLite's own backup copies; on PostgreSQL it is one database, which
`pg_dump` copies. What steps printed is left out.
"""

import os
import sqlite3
import subprocess
from collections import Counter
from collections.abc import Collection, Sequence
from contextlib import closing
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Final
from urllib.parse import unquote, urlsplit

import dagster as dg

from resources.run_records import forget_run, run_records
from resources.runs import number_in

DUMP: Final = "dagster.dump"
_DRIVER: Final = "postgresql+psycopg2://"
_COPIED_FIRST: Final = ("schedules.db", "runs.db")
"""What was requested is remembered by neither longer than its run: a tick points to runs, and a run to its log."""


@dataclass(frozen=True)
class DagsterStorage:
    """Where Dagster's storage is: its home, and the URL of its database when that is not in its home."""

    home: Path
    postgres_url: str = ""

    def copy(self, into: Path) -> str:
        """Copy it as it is at one moment of each database, into an empty folder; what was copied, in words."""
        into.mkdir(parents=True)
        if self.postgres_url:
            self._program("pg_dump", "--format=custom", "--no-owner", "--file", str(into / DUMP))
            return "Dagster's database"
        files = sorted(self.home.rglob("*.db"), key=_turn)
        copied = sum(_copy_sqlite(file, into / file.relative_to(self.home)) for file in files)
        return f"{copied} SQLite databases of Dagster"

    def bring_back(self, source: Path) -> None:
        """Make what was copied into `source` the storage. Raises FileExistsError where there is one."""
        if self.postgres_url:
            self._program("pg_restore", "--no-owner", "--single-transaction", str(source / DUMP))
            return
        if present := next(self.home.rglob("*.db"), None):
            raise FileExistsError(f"{present} is there: move {self.home} away first")
        for file in sorted(source.rglob("*.db")):
            _copy_sqlite(file, self.home / file.relative_to(source))

    def settled(self, newest: datetime, published: Collection[str]) -> str:
        """Make its runs agree with a lake, as `settle` does; what was done, in words."""
        with dg.DagsterInstance.from_config(str(self.home)) as instance:
            return settle(instance, newest, published)

    def _program(self, name: str, *arguments: str) -> None:
        """Run one of PostgreSQL's own on the database; the password is told where other users do not see it."""
        plain, password = _without_password(self.postgres_url.replace(_DRIVER, "postgresql://", 1))
        environment = {**os.environ, **({"PGPASSWORD": password} if password else {})}
        command = [name, "--dbname", plain, *arguments]
        done = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
        if done.returncode:
            raise OSError(f"{name} failed: {done.stderr.strip()}")


def settle(instance: dg.DagsterInstance, newest: datetime, published: Collection[str] = ()) -> str:
    """Make the runs of a storage that was brought back agree with a lake whose newest publication was then.

    A run that ended later may have published what the lake does not hold, unless it is among `published`, the runs that
    the lake names: it is forgotten with its retries, and the sensor that asked for it asks again. So is one that was in
    flight for the last time. Another one in flight fails here, and Dagster or a person tries it again: it goes on where
    it stopped. What no sensor asked for is never forgotten. Returns what was done, in words.
    """
    groups: dict[str, list[dg.RunRecord]] = {}
    for record in run_records(instance):
        run = record.dagster_run
        groups.setdefault(run.root_run_id or run.run_id, []).append(record)
    done: Counter[str] = Counter()
    for group in groups.values():
        busy = [one.dagster_run for one in group if not one.dagster_run.is_finished]
        if _is_asked_again(group, newest, published):
            for record in group:
                forget_run(instance, record.dagster_run.run_id)
            done["were forgotten, for their sensors to ask again"] += len(group)
        elif busy:
            for run in busy:
                instance.report_run_failed(run, "It was in flight when Dagster's storage was copied.")
            done["failed, to be tried again by Dagster or a person"] += len(busy)
    return "; ".join(f"{number} runs {what}" for what, number in done.items()) or "No run had to be settled"


def _is_asked_again(group: Sequence[dg.RunRecord], newest: datetime, published: Collection[str]) -> bool:
    """Whether a run, with those that re-executed it, is forgotten: its sensor launches it anew."""
    runs = [record.dagster_run for record in group]
    if not any("dagster/run_key" in run.tags for run in runs):
        return False
    if busy := [run for run in runs if not run.is_finished]:
        return all(len(runs) > number_in(run, "dagster/max_retries") for run in busy)
    if any(run.run_id in published for run in runs):
        return False
    return max(record.end_time or 0.0 for record in group) > newest.timestamp()


def _turn(file: Path) -> tuple[int, Path]:
    name = file.name
    return _COPIED_FIRST.index(name) if name in _COPIED_FIRST else len(_COPIED_FIRST), file


def _copy_sqlite(source: Path, target: Path) -> bool:
    """Whether it was copied: not the log of a run that is let go of meanwhile. Raises OSError."""
    target.parent.mkdir(parents=True, exist_ok=True)
    try:
        with (
            closing(sqlite3.connect(f"file:{source}?mode=ro", uri=True)) as read,
            closing(sqlite3.connect(target)) as copy,
        ):
            read.backup(copy)
    except sqlite3.OperationalError as error:
        if not source.exists():
            target.unlink(missing_ok=True)
            return False
        raise OSError(f"{source} cannot be copied to {target}: {error}") from error
    return True


def _without_password(url: str) -> tuple[str, str]:
    password = urlsplit(url).password or ""
    return url.replace(f":{password}@", "@", 1), unquote(password)
