"""Waiting for the product, as a person would: looking at the lake and at the list of runs, and asking why not."""

import time
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Final, TypeVar

from demo.api import Dagster, Run
from demo.screen import Bar, Screen
from demo.server import Server
from resources.tables import Snapshot, Tables

LOOK_EVERY_SECONDS: Final = 1.0
PATIENCE_SECONDS: Final = 300.0
"""A stage in which nothing at all changed for so long has failed."""


T = TypeVar("T")


class StoryError(RuntimeError):
    """The story cannot go on; the message says why, in words."""


@dataclass
class Watch:
    """Looks at one Dagster and its lake."""

    server: Server
    dagster: Dagster
    tables: Tables
    screen: Screen
    patience_seconds: float = PATIENCE_SECONDS
    _changed_at: float = field(default_factory=time.monotonic)
    _seen: object = None

    def head(self) -> Snapshot:
        """The lake's main data branch as it is now."""
        return self.tables.head()

    def candidate(self, key: str) -> Snapshot | None:
        """The candidate's branch as it is now; None before its first step ran."""
        return self.tables.candidate(key)

    def at_head(self, look: Callable[[Snapshot], T]) -> Callable[[], T]:
        """`look` at the lake's main data branch, again only when it moved: tables take time to read."""
        known: dict[str, T] = {}

        def now() -> T:
            head = self.head()
            if head.commit not in known:
                known.clear()
                known[head.commit] = look(head)
            return known[head.commit]

        return now

    def until(self, what: str, sensor: str, happened: Callable[[list[Run]], bool]) -> None:
        """Look every second until `happened` says so of the runs; `what` and `sensor` tell a person what is awaited.

        Raises StoryError when a run failed, or when nothing changed for too long.
        """
        self._changed_at = time.monotonic()
        while True:
            began = time.monotonic()
            runs = self.look()
            if happened(runs):
                return
            self._check_patience(what, sensor, runs)
            time.sleep(max(0.0, LOOK_EVERY_SECONDS - (time.monotonic() - began)))

    def look(self) -> list[Run]:
        """All runs. Raises StoryError with the words of the first that failed, ServerError when Dagster died."""
        self.server.check()
        runs = self.dagster.runs()
        for run in reversed(runs):
            if run.status in ("FAILURE", "CANCELED"):
                raise StoryError(
                    f"Run {run.id[:8]} of job {run.job}{f' for {run.partition}' if run.partition else ''} ended as "
                    f"{run.status}: {self.dagster.failure(run.id)}\n{self.dagster.run_url(run.id)}"
                )
        return runs

    def _check_patience(self, what: str, sensor: str, runs: list[Run]) -> None:
        seen = (self.head().commit, [(run.id, run.status, tuple(run.steps.items())) for run in runs])
        now = time.monotonic()
        if seen != self._seen:
            self._seen, self._changed_at = seen, now
        elif now - self._changed_at > self.patience_seconds:
            working = [
                f"{run.job} {run.partition} ({run.current_step or run.status})"
                for run in runs
                if not run.finished
            ]
            raise StoryError(
                f"Waited for {what}, and nothing changed for {self.patience_seconds:g} s. "
                f"Runs under way: {', '.join(working) or 'none'}. "
                f"Sensor {sensor} last said: {self.dagster.last_look(sensor)}"
            )


def show_steps(bar: Bar, run: Run) -> None:
    """The run's steps as progress: how many are done, and which one runs."""
    done = sum(status in ("SUCCESS", "SKIPPED") for status in run.steps.values())
    bar.update(bar.total if run.status == "SUCCESS" else done, run.current_step)
