"""A decision at the door: what a form says, whether it can be taken now, and what became of it.

The run that carries it out asks the same again; asking here spares people a failed run.
"""

from collections.abc import Mapping
from dataclasses import dataclass, fields
from datetime import datetime
from typing import Final

import polars as pl

from cv_assets.release.approval import Decided, good_until, verify
from cv_assets.release.board import Board, in_words
from cv_assets.release.forms import Shown, reason_in
from cv_assets.release.history import NotAllowedError
from cv_assets.release.launching import DECIDES, Run
from cv_assets.words import moment, visible

_AT_WORK: Final = {
    "QUEUED": "The run waits in Dagster's queue",
    "NOT_STARTED": "The run is about to start",
    "STARTING": "The run starts",
    "STARTED": "The run is at work",
    "MANAGED": "The run is at work",
    "CANCELING": "The run is being canceled",
}


class DecisionError(ValueError):
    """Who decides, or what, cannot be taken; the message says what to do."""


@dataclass(frozen=True)
class Told:
    """How a run stands, in words; `good` is None as long as it has not ended."""

    headline: str
    text: str
    good: bool | None


def decided_in(shown: Shown, fields: Mapping[str, str], approver: str) -> Decided:
    """What the form says. Raises DecisionError when it says nothing that can be done, or no reason where one is due."""
    why, choice = reason_in(dict(fields)), fields.get("choice", "")
    if shown.candidate and choice not in ("approve", "decline"):
        raise DecisionError(f"Say whether you approve or decline {shown.candidate}.")
    if not shown.candidate and (choice != "roll_back" or not fields.get("back_to")):
        raise DecisionError("Say which version to roll back to.")
    if not why and choice != "approve":
        raise DecisionError("Give a reason: it is kept with the decision, for those who ask later.")
    back_to = "" if shown.candidate else visible(fields["back_to"])
    return Decided(shown.candidate, back_to, approver, choice != "decline", why)


def tags_of(decided: Decided, place: str, seen: str) -> dict[str, str]:
    """The tags of the run that carries it out; `DECIDES` is the same whoever decides on what was seen."""
    if decided.back_to:
        return {DECIDES: f"{place}: roll back, at row {seen}", "back_to": decided.back_to}
    as_of = f"as judged at {seen[:12]}" if seen else "before it was judged"
    return {DECIDES: f"{place}: {decided.candidate} {as_of}", "candidate": decided.candidate}


def is_genuine(run: Run, place: str, key: str, now: datetime) -> bool:
    """Whether the run can do what its tag says: anyone may write a tag. Without a key nobody can tell."""
    if not key:
        return True
    try:
        verify(str(run.config.get("approval")), key, decided=decided_by(run), place=place, now=now)
    except NotAllowedError:
        return False
    return True


def decided_by(run: Run) -> Decided:
    """What the run was launched to do, by its config."""
    by_default = {"candidate": "", "back_to": "", "approver": "", "approve": True, "why": ""}
    return Decided(**{one.name: run.config.get(one.name, by_default[one.name]) for one in fields(Decided)})


def decision_in_words(decided: Decided) -> str:
    """Who decided what."""
    if decided.back_to:
        return f"{decided.approver} goes back to {decided.back_to}"
    return f"{decided.approver} {'approves of' if decided.approve else 'declines'} {decided.candidate}"


def refuse_who_may_not(board: Board, approver: str, known: str) -> None:
    """Raise DecisionError unless the spec lets that person decide, known as well as it asks for."""
    if not board.may_decide(approver):
        raise DecisionError(f"{approver!r} may not decide on releases: the spec names {board.who_may}.")
    if board.policy.identity == "authenticated" and known != "authenticated":
        raise DecisionError(
            "The spec asks for approvers who logged in (release.identity): put a login in front."
        )


def refuse_what_changed(board: Board, decided: Decided, seen: str) -> None:
    """Raise DecisionError for what is no longer as it was shown, and for what would be refused."""
    if decided.back_to:
        _refuse_rollback(board, decided.back_to, seen)
        return
    open_ = {one.candidate: one for one in board.waiting}
    if decided.candidate not in open_:
        raise DecisionError(f"{decided.candidate} is concluded already: the history says how.")
    now = open_[decided.candidate]
    if now.seen != seen:
        raise DecisionError(f"{decided.candidate} was judged since the page was loaded: look at it again.")
    if decided.approve and not now.can_be_approved:
        raise DecisionError(f"{decided.candidate} cannot be approved: {now.obstacle or now.why}.")


def is_as_seen(board: Board, decided: Decided, seen: str) -> bool:
    """Whether what was decided on is as it was shown: nothing took effect on it."""
    if decided.back_to:
        return board.seen == seen
    return any((one.candidate, one.seen) == (decided.candidate, seen) for one in board.waiting)


def _refuse_rollback(board: Board, version: str, seen: str) -> None:
    if version not in board.earlier:
        raise DecisionError(f"{version} is no version to go back to: load the page again.")
    if seen != board.seen:
        raise DecisionError("The history of releases grew since the page was loaded: look at it again.")


def told(run: Run, history: pl.DataFrame, failed: str, key: str, now: datetime) -> Told:
    """How the run stands and what became of the decision.

    `failed` is what a failed run said, `key` what approvals are signed with.
    """
    match run.status:
        case "SUCCESS":
            return _concluded(run, history)
        case "FAILURE":
            return Told(
                "Nothing was concluded",
                failed or "The run failed: read why in Dagster.",
                good=False,
            )
        case "CANCELED":
            return Told("Nothing was concluded so far", _canceled(run, history, key, now), good=False)
        case status:
            text = "This page looks again by itself; what you decided is kept when you close it."
            return Told(_AT_WORK.get(status, f"The run is {status.lower()}"), text, good=None)


def _canceled(run: Run, history: pl.DataFrame, key: str, now: datetime) -> str:
    """Whoever executes it again in Dagster still carries the decision out, as long as its approval holds."""
    canceled, candidate = "Somebody canceled the run.", run.config.get("candidate", "")
    try:
        last = good_until(str(run.config.get("approval")), key) if key else None
    except NotAllowedError:
        return canceled
    if (last and last < now) or candidate in history["candidate"]:
        return canceled
    until = f" until {moment(last)}" if last else ""
    sure = f": decline {candidate} to be sure that it is not" if candidate else ""
    return f"{canceled} In Dagster it can still be executed again{until}{sure}."


def _concluded(run: Run, history: pl.DataFrame) -> Told:
    """The newest row that the run can have written."""
    if candidate := run.tags.get("candidate"):
        mine = history.filter(pl.col("candidate") == candidate, pl.col("outcome") != "rolled_back")
    else:
        mine = history.filter(
            pl.col("version") == run.tags.get("back_to"), pl.col("outcome") == "rolled_back"
        )
    if mine.is_empty():
        return Told("The run ended well", "What it published is not to be seen yet.", good=None)
    row = mine.row(-1, named=True)
    return Told(in_words(row), row["why"], good=row["outcome"] != "refused")
