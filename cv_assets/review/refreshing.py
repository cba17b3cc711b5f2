"""Whether the queue must be made again: how its inputs differ from those it was made from, and what came due since."""

import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from typing import Final

import polars as pl

_NAMED: Final = 3
"""So many deliveries are named one by one."""

_WORDS: Final = {
    "label_table": "the labels changed",
    "benchmark_frames": "the benchmark changed",
    "project_spec": "the spec's section review changed",
}


@dataclass(frozen=True)
class Changes:
    """What the published queue does not know yet.

    `made_by` is the commit that published it, empty while there is none. `inspected` are the deliveries inspected
    since, `tables` the newest publication of each other input that changed, `due_at` the newest due time that passed
    without an answer. `worklist_is_stale` when the worklist does not ask what the queue does.
    """

    made_by: str = ""
    inspected: tuple[str, ...] = ()
    tables: Mapping[str, str] = field(default_factory=dict)
    due_at: datetime | None = None
    worklist_is_stale: bool = False

    def __bool__(self) -> bool:
        return bool(self.inspected or self.tables or self.due_at or self.worklist_is_stale)

    @property
    def run_key(self) -> str:
        """The same for the same changes, however often they are looked at; what comes due counts by the hour."""
        hour = f"{self.due_at:%Y-%m-%dT%H}" if self.due_at else ""
        state = [
            self.made_by,
            sorted(self.inspected),
            sorted(self.tables.items()),
            hour,
            self.worklist_is_stale,
        ]
        return f"refresh-{hashlib.sha256(json.dumps(state).encode()).hexdigest()[:16]}"

    @property
    def why(self) -> str:
        """The changes in words."""
        said = [_inspected(self.inspected)] if self.inspected else []
        said += [_WORDS[name] for name in _WORDS if name in self.tables]
        if self.due_at:
            said.append(f"an item came due at {self.due_at:%Y-%m-%d %H:%M} UTC without an answer")
        if self.worklist_is_stale:
            said.append("the worklist does not ask what the queue does")
        return "; ".join(said)


def came_due(queue: pl.DataFrame, published_at: datetime, now: datetime) -> datetime | None:
    """The newest due time of an item without answer that passed since the queue was published; None when none did."""
    passed = queue.filter(
        pl.col("due_at") > published_at, pl.col("due_at") <= now, pl.col("state") != "answered"
    )
    return passed["due_at"].max()  # type: ignore[return-value]


def standing(queue: pl.DataFrame, now: datetime) -> str:
    """What waits for people, in words; days are of UTC. It reads `state` and `due_at`."""
    states = queue["state"].to_list()
    opened, unresolved = states.count("open"), states.count("unresolved")
    if not opened + unresolved:
        return f"no item waits, {queue.height} answered"
    due = queue.filter(pl.col("state") != "answered")["due_at"]
    today = due.filter((due > now) & (due.dt.date() == now.date()))
    return (
        f"{opened} open, {unresolved} unresolved, {(due <= now).sum()} overdue, {len(today)} more due today"
    )


def _inspected(deliveries: tuple[str, ...]) -> str:
    names = ", ".join(deliveries[:_NAMED]) + (", …" if len(deliveries) > _NAMED else "")
    counted = "1 delivery was" if len(deliveries) == 1 else f"{len(deliveries)} deliveries were"
    return f"{counted} inspected ({names})"
