"""What an alarm waits for, and what closed it: from what was requested, concluded and labelled since.

Nothing here looks at a clock: the newest time that the tables know stands for it, so the same tables say the same.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Final

import polars as pl

from cv_assets.alarms.opening import Opening
from cv_assets.reference.words import it_takes
from cv_assets.requests.policy import Requested, cooldown, opened
from cv_assets.spec.drift import Retraining
from cv_assets.words import counted, moment

Row = Mapping[str, Any]

SENSORS: Final = {"drift": "retrain_on_drift", "kpi": "retrain_on_kpi"}


@dataclass(frozen=True)
class History:
    """What was requested, oldest first, and concluded, and the newest time in all tables."""

    requests: Sequence[Requested]
    releases: pl.DataFrame
    known_time: datetime | None = None

    def asked_by(self, alarm_id: str) -> list[Requested]:
        """The requests that name the alarm as their evidence, oldest first."""
        return [one for one in self.requests if one.evidence == alarm_id]

    def pending(self, alarm_id: str) -> Requested | None:
        """The request of the alarm whose candidate may still be released."""
        return next((one for one in self.asked_by(alarm_id) if one.open), None)

    def conclusion(self, candidate: str) -> Row | None:
        """The row of releases that concluded the candidate; None while it is not concluded."""
        rows = self.releases.filter(pl.col("candidate") == candidate, pl.col("outcome") != "rolled_back")
        return None if rows.is_empty() else rows.row(0, named=True)

    def successor(self, release_number: int) -> Row | None:
        """The row of releases that put another version in force after that row."""
        after = (pl.col("number") > release_number) & (pl.col("outcome") != "refused")
        rows = self.releases.filter(after).sort("number")
        return None if rows.is_empty() else rows.row(0, named=True)

    def cooldown_until(self, rules: Retraining) -> datetime | None:
        """Before this no training starts by itself; None when none ever did."""
        last = cooldown(self.requests, rules)
        return last and last[1]


@dataclass(frozen=True)
class Closing:
    """What closed an alarm: a candidate, or words; and when."""

    by: str
    at: datetime | None


@dataclass(frozen=True)
class Waiting:
    """What an alarm waits for, one of WAITS, and the same in words."""

    waits_for: str
    words: str


def closing(opening: Opening, history: History) -> Closing | None:
    """What closed the alarm; None while it is open, or a warning.

    Another version in force closes it, whoever asked for that. Else it may end by itself, unless a candidate that was
    requested for it is not concluded.
    """
    if opening.opened_at is None:
        return None
    number = opening.release_number
    successor = history.successor(number) if opening.kind != "station" and number is not None else None
    asked = {one.candidate for one in history.asked_by(opening.alarm_id)}
    own = successor is not None and successor["outcome"] == "released" and successor["candidate"] in asked
    if opening.ended and not own and (successor or history.pending(opening.alarm_id) is None):
        return Closing(opening.ended, opening.ended_at)
    if successor is None:
        return None
    # A delivery that the release judged may be measured after it was replaced.
    return Closing(_replaced_by(successor), max(opening.opened_at, successor["concluded_at"]))


def waiting(
    opening: Opening, history: History, *, fresh: int, lacking: Mapping[str, int], needed_golden: int,
    policy: Retraining, patience: int,
) -> Waiting:  # fmt: skip
    """What an alarm that is not closed waits for.

    `fresh` counts its fresh labels, `lacking` the golden frames of each condition that has too few.
    """
    if opening.kind == "station":
        return Waiting("station", _at_the_station(opening))
    if not opening.confirmed:
        return Waiting("patience", _for_patience(patience))
    asked = history.asked_by(opening.alarm_id)
    if pending := history.pending(opening.alarm_id):
        return Waiting("training", _for_training(opening, pending))
    if other := opened(history.requests):
        return Waiting(
            "training", f"Candidate {other.candidate}, which is not concluded: one training at a time."
        )
    people = _for_labels(fresh, policy.min_new_labels), _for_golden_frames(lacking, needed_golden)
    before = f" {_last_attempt(asked, history)}" if asked else ""
    if any(people):
        which = "fresh_labels" if people[0] else "benchmark"
        return Waiting(which, f"People: {'; '.join(filter(None, people))}.{before}")
    enough = f"{counted(fresh, 'fresh label')} of {policy.min_new_labels} are there"
    asks = f"the sensor {SENSORS[opening.kind]} requests a candidate at its next tick"
    until = history.cooldown_until(policy)
    if until is not None and (history.known_time is None or history.known_time < until):
        hours = f"{policy.cooldown_hours:g} hours lie between two retrainings that nobody asked for"
        return Waiting("cooldown", f"Time: {enough}, and {hours}. After {moment(until)} {asks}.{before}")
    return Waiting("ready", f"Nothing more: {enough}; {asks}.{before}")


def _replaced_by(row: Row) -> str:
    if row["outcome"] == "released":
        return str(row["candidate"])
    return f"{row['approver']} rolled back to {row['version']}: {row['why']}"


def _at_the_station(opening: Opening) -> str:
    place = opening.station or "that delivers there"
    return (
        f"A person at station {place}: look at camera, light and file transfer. No retraining mends it; the next "
        "ordinary delivery closes it."
    )


def _for_patience(patience: int) -> str:
    return (
        f"Another such delivery: an alarm takes {it_takes(patience)} at one station. Nobody has to act yet; whoever "
        "wants to know early looks at its frames."
    )


def _for_training(opening: Opening, pending: Requested) -> str:
    over = f" {opening.ended[0].upper()}{opening.ended[1:]}." if opening.ended else ""
    return (
        f"Candidate {pending.candidate}, requested {moment(pending.requested_at)} by {pending.requested_by}, "
        f"is not concluded.{over} See its run of `retrain`; once it has a decision, run the job `release`."
    )


def _last_attempt(asked: Sequence[Requested], history: History) -> str:
    """What became of the newest candidate that was requested for the alarm."""
    last = asked[-1]
    concluded = history.conclusion(last.candidate)
    became = (
        f"was refused ({concluded['why'].rstrip('.')})"
        if concluded
        else "can only be refused: it was requested under another release or spec"
    )
    follows = (
        "the next one needs labels that it has not seen"
        if last.spends_labels
        else "nobody judged it, so the labels that only it has seen are fresh still"
    )
    return f"Candidate {last.candidate} {became}; {follows}."


def _for_labels(fresh: int, needed: int) -> str:
    if fresh >= needed:
        return ""
    return (
        f"{fresh} of {counted(needed, 'fresh label')} are there, {needed - fresh} are missing: label the items of its "
        "deliveries (docs/review.md)"
    )


def _for_golden_frames(lacking: Mapping[str, int], needed: int) -> str:
    if not lacking:
        return ""
    there = ", ".join(f"{frames} of {needed} for {name}" for name, frames in lacking.items())
    return f"golden frames are missing ({there}): have a named person verify some (docs/label_exports.md)"
