"""Whether a refresh is due: how its inputs differ from those the queue was made from, and what came due since."""

import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from typing import Final

import polars as pl

from cv_assets.words import moment

_NAMED: Final = 3
"""So many deliveries are named one by one."""

_WORDS: Final = {
    "label_table": "the labels changed",
    "benchmark_frames": "the benchmark changed",
    "releases": "the releases changed",
}


@dataclass(frozen=True)
class Changes:
    """What the published queue does not know yet.

    `made_by` is the commit that published it, empty while there is none. Since then deliveries were `inspected` and
    `measured` for drift, trainings `requested`, and `sections` of the spec changed; `tables` holds the newest
    publication of each input that changed, by name. `due_at` is the newest due time that passed without an answer.
    `worklist_is_stale` when the worklist does not ask what the queue does; `left_behind` are tables of a refresh that
    the run which made the queue did not make.
    """

    made_by: str = ""
    inspected: tuple[str, ...] = ()
    measured: tuple[str, ...] = ()
    requested: tuple[str, ...] = ()
    sections: tuple[str, ...] = ()
    tables: Mapping[str, str] = field(default_factory=dict)
    due_at: datetime | None = None
    worklist_is_stale: bool = False
    left_behind: tuple[str, ...] = ()

    def __bool__(self) -> bool:
        return self._inputs_changed or bool(self.worklist_is_stale or self.left_behind)

    @property
    def run_key(self) -> str:
        """The same for the same changes, however often they are looked at; what comes due counts by the hour.

        Whoever looks at changed inputs makes everything: what else is not made counts only where no input changed.
        """
        hour = f"{self.due_at:%Y-%m-%dT%H}" if self.due_at else ""
        state = [
            self.made_by,
            *(sorted(names) for names in (self.inspected, self.measured, self.requested, self.sections)),
            sorted(self.tables.items()),
            hour,
            *([] if self._inputs_changed else [self.worklist_is_stale, sorted(self.left_behind)]),
        ]
        return f"refresh-{hashlib.sha256(json.dumps(state).encode()).hexdigest()[:16]}"

    @property
    def not_made(self) -> "Changes":
        """Only what is not made although no input changed."""
        return Changes(self.made_by, worklist_is_stale=self.worklist_is_stale, left_behind=self.left_behind)

    @property
    def _inputs_changed(self) -> bool:
        changed = self.inspected or self.measured or self.requested or self.sections or self.tables
        return bool(changed or self.due_at)

    @property
    def why(self) -> str:
        """The changes in words."""
        said = [_told(self.inspected, "inspected")] if self.inspected else []
        said += [_told(self.measured, "measured for drift")] if self.measured else []
        said += [_WORDS[name] for name in _WORDS if name in self.tables]
        said += [f"a training was requested ({', '.join(self.requested)})"] if self.requested else []
        if self.sections:
            said.append(f"the spec changed ({', '.join(self.sections)})")
        if self.due_at:
            said.append(f"an item came due at {moment(self.due_at)} without an answer")
        if self.worklist_is_stale:
            said.append("the worklist does not ask what the queue does")
        if self.left_behind:
            said.append(f"not made with the queue: {' and '.join(self.left_behind)}")
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


def _told(deliveries: tuple[str, ...], what: str) -> str:
    """`1 delivery was inspected (d1)`."""
    names = ", ".join(deliveries[:_NAMED]) + (", …" if len(deliveries) > _NAMED else "")
    counted = "1 delivery was" if len(deliveries) == 1 else f"{len(deliveries)} deliveries were"
    return f"{counted} {what} ({names})"
