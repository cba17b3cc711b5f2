"""A decision at the door: what a form says, whether it can be taken now, and what became of it.

The run that carries it out asks the same again; asking here spares people a failed run.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final

import polars as pl

from cv_assets.release.approval import Decided
from cv_assets.release.board import Board, in_words
from cv_assets.release.forms import Shown, reason_in
from cv_assets.release.launching import DECIDES, Run
from cv_assets.words import visible

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


def _refuse_rollback(board: Board, version: str, seen: str) -> None:
    if version not in board.earlier:
        raise DecisionError(f"{version} is no version to go back to: load the page again.")
    if seen != board.seen:
        raise DecisionError("The history of releases grew since the page was loaded: look at it again.")


def told(run: Run, history: pl.DataFrame, failed: str) -> Told:
    """How the run stands and what became of the decision; `failed` is what a failed run said."""
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
            return Told("Nothing was concluded", "Somebody canceled the run.", good=False)
        case status:
            text = "This page looks again by itself; what you decided is kept when you close it."
            return Told(_AT_WORK.get(status, f"The run is {status.lower()}"), text, good=None)


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
