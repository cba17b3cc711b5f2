"""What the door of approvals shows: the candidates that wait, beside what is in force, and how others ended."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import polars as pl

from cv_assets.evaluation.band import OperatingBand
from cv_assets.evaluation.rulings import figure, number
from cv_assets.release.approval import place_of
from cv_assets.release.candidates import propose
from cv_assets.release.history import by_whom, reason_to_refuse
from cv_assets.requests.base import release_in_force
from cv_assets.spec.evaluation import Release
from cv_assets.spec.schema import Spec
from cv_assets.spec.training import RELEASED
from cv_assets.words import counted, listed, moment

Row = Mapping[str, Any]


@dataclass(frozen=True)
class Opened:
    """A candidate that nobody concluded: its request, and, once it is judged, decision and report as of `judged_at`."""

    request: Row
    decision: pl.DataFrame
    report: pl.DataFrame
    judged_at: str = ""


@dataclass(frozen=True)
class Criterion:
    """One criterion as people read it; `released` is the figure of the release in force then, on the same frames."""

    says: str
    required: str
    measured: str
    released: str
    stands: str


@dataclass(frozen=True)
class Waiting:
    """An open candidate as people read it; `obstacle` says why approving would refuse it, and may be empty.

    `against` is the version that was in force when it was requested.
    """

    candidate: str
    against: str
    asked: str
    why: str
    obstacle: str
    proposed: str
    criteria: tuple[Criterion, ...]
    seen: str
    can_be_approved: bool


@dataclass(frozen=True)
class Ended:
    """A row of the history as people read it."""

    number: int
    what: str
    by: str
    when: str
    why: str


@dataclass(frozen=True)
class Board:
    """All that the door shows, as of one commit of the lake; candidates that a person can approve come first."""

    project: str
    place: str
    policy: Release
    in_force: str
    waiting: tuple[Waiting, ...]
    earlier: tuple[str, ...]
    history: tuple[Ended, ...]
    rows: pl.DataFrame

    @property
    def seen(self) -> str:
        """What somebody who rolls back has in view."""
        return str(self.rows.height)

    @property
    def who_may(self) -> str:
        """Whose decision counts, in words."""
        return listed(self.policy.approvers, most=50) or "anyone"

    def may_decide(self, name: str) -> bool:
        """Whether the spec lets that person decide."""
        return not self.policy.approvers or name in self.policy.approvers


def board(
    spec: Spec, spec_digest: str, branch: str, history: pl.DataFrame, opened: Sequence[Opened]
) -> Board:
    """The door's board for the project of `spec`, which is in force with `spec_digest`, on a data branch."""
    now = release_in_force(history)
    shown = [_waiting(one, history, spec_digest, spec.release) for one in opened]
    return Board(
        project=spec.name,
        place=place_of(spec.name, branch),
        policy=spec.release,
        in_force="Nothing is in force yet: every part goes to people." if now is None else _in_force(now),
        waiting=tuple(sorted(shown, key=lambda one: not one.can_be_approved)),
        earlier=_earlier(history, now),
        history=tuple(_ended(row) for row in history.reverse().iter_rows(named=True)),
        rows=history,
    )


def in_words(row: Row) -> str:
    """How a candidate ended, or what was put back in force."""
    match row["outcome"]:
        case "released":
            return f"{row['candidate']} is released as {row['version']}"
        case "refused":
            return f"{row['candidate']} is refused"
        case _:
            return f"{row['version']} ({row['candidate']}) is put back in force"


def _in_force(now: Row) -> str:
    band = OperatingBand(now["lower"], now["upper"]).words
    since = f"by {by_whom(now)}, {moment(now['concluded_at'])}"
    return f"{now['version']}: {now['model']} of {now['candidate']}, {since}. Its band: {band}."


def _earlier(history: pl.DataFrame, now: Row | None) -> tuple[str, ...]:
    """The versions that were in force and are not, newest first."""
    released = history.filter(pl.col("outcome") == "released")["version"]
    return tuple(version for version in reversed(released.to_list()) if now and version != now["version"])


def _waiting(one: Opened, history: pl.DataFrame, spec_digest: str, policy: Release) -> Waiting:
    candidate, judged = one.request["candidate"], one.decision.height > 0
    proposal = propose(candidate, one.decision if judged else None, policy)
    obstacle = reason_to_refuse(history, dict(one.request), one.decision, spec_digest)
    return Waiting(
        candidate=candidate,
        against=one.request["released_version"] or "",
        asked=f"{one.request['requested_by'] or 'unknown'}, {moment(one.request['requested_at'])}, because of "
        f"{one.request['reason']}: {one.request['evidence'] or 'no evidence given'}",
        why=proposal.why,
        obstacle=obstacle or "",
        proposed=_proposed(one.decision) if judged else "",
        criteria=tuple(_criterion(row, one.report) for row in one.decision.iter_rows(named=True)),
        seen=one.judged_at,
        can_be_approved=judged and obstacle is None,
    )


def _proposed(decision: pl.DataFrame) -> str:
    row = decision.row(0, named=True)
    return f"{row['model']}; {OperatingBand(row['lower'], row['upper']).words}"


def _criterion(row: Row, report: pl.DataFrame) -> Criterion:
    then = figure(report, RELEASED, row["set"], row["slice"], row["metric"])
    bound = "at least" if row["comparison"] == "at_least" else "at most"
    does_not_apply = row["passed"] and row["measured"] is None
    return Criterion(
        says=row["criterion"],
        required="-" if row["required"] is None else f"{bound} {number(row['required'])}",
        measured="-" if row["measured"] is None else _measured(row),
        released="-" if then is None or then["value"] is None else number(then["value"]),
        stands="does not apply" if does_not_apply else "met" if row["passed"] else "not met",
    )


def _measured(row: Row) -> str:
    interval = f" [{number(row['low'])}, {number(row['high'])}]" if row["low"] is not None else ""
    return f"{number(row['measured'])}{interval} on {counted(row['samples'], 'frame')}"


def _ended(row: Row) -> Ended:
    return Ended(row["number"], in_words(row), by_whom(row), moment(row["concluded_at"]), row["why"])
