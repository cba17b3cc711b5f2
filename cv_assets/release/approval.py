"""A signed approval: what a person decided at the door of approvals, so that the run which acts on it knows who did.

A signature says that the door wrote it, not that it is used once. A second use is harmless because of what the approval
says was seen: a candidate ends once, and a rollback makes the history longer than the one it was decided on.
"""

import dataclasses
import hashlib
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any, Final, Literal

import polars as pl
from itsdangerous import BadData, URLSafeSerializer
from pydantic import TypeAdapter, ValidationError

from cv_assets.release.history import NotAllowedError
from cv_assets.words import moment

GOOD_FOR: Final = timedelta(hours=1)
"""A run may wait so long in a queue before it acts on an approval; as long can a canceled one be executed again."""

SIGNED_BY: Final[dict[str, Any]] = {"digest_method": hashlib.sha256, "key_derivation": "hmac"}
"""How tokens are signed: HMAC with SHA-256."""

_CLOCKS_DIFFER: Final = timedelta(minutes=5)

ANEW: Final = "look at it anew at the door of approvals and decide there"


@dataclass(frozen=True)
class Decided:
    """One candidate concluded, or one version put back in force: the other of `candidate` and `back_to` is empty."""

    candidate: str
    back_to: str
    approver: str
    approve: bool
    why: str


@dataclass(frozen=True)
class Approval:
    """What was decided, how the door knew by whom, and what that person had in view.

    `place` is the project and its data branch. `seen` is the commit of the candidate's decision, empty while it had
    none; for a rollback it is how many rows the history had.
    """

    place: str
    decided: Decided
    known: Literal["authenticated", "asserted"]
    seen: str
    at: datetime


_APPROVAL: Final = TypeAdapter(Approval)


def place_of(project: str, data_branch: str) -> str:
    """Where an approval holds: what is approved on an experiment's branch is not approved on another."""
    return f"{project} on {data_branch}"


def sign(approval: Approval, key: str) -> str:
    """The approval as a token that nobody without `key` can make or change. What it says, anyone can read."""
    return _serializer(key).dumps(_APPROVAL.dump_python(approval, mode="json"))


def verify(token: str, key: str, *, decided: Decided, place: str, now: datetime) -> Approval:
    """The approval in `token`, which is for exactly this decision at this place.

    Raises NotAllowedError for any other one, for one that `key` did not sign, and for one older than `GOOD_FOR`.
    """
    approval = _read(token, key)
    if mistake := _mistake(approval, decided, place, now):
        raise NotAllowedError(f"{mistake}: {ANEW}")
    return approval


def good_until(token: str, key: str) -> datetime:
    """Until when a run may act on the approval in `token`. Raises NotAllowedError as `verify` does."""
    return _read(token, key).at + GOOD_FOR


def refuse_outdated(approval: Approval, history: pl.DataFrame, judged_at: str) -> None:
    """Raise NotAllowedError when what the person saw is not what is there now; `judged_at` as in `Approval.seen`.

    What already took effect is no longer as it was seen, and may be repeated: it changes nothing.
    """
    decided = approval.decided
    if decided.back_to:
        _refuse_other_history(approval, history)
    elif decided.candidate not in _concluded(history) and approval.seen != judged_at:
        raise NotAllowedError(f"{decided.candidate} was judged after {decided.approver} looked at it: {ANEW}")


def _refuse_other_history(approval: Approval, history: pl.DataFrame) -> None:
    seen = int(approval.seen)
    if history.height == seen or (history.height == seen + 1 and _is_done(approval.decided, history)):
        return
    raise NotAllowedError(
        f"the history of releases had {seen} rows when {approval.decided.approver} decided to go back to "
        f"{approval.decided.back_to}, and has {history.height} now: {ANEW}"
    )


def _is_done(decided: Decided, history: pl.DataFrame) -> bool:
    last = history.row(-1, named=True)
    done = (last["outcome"], last["version"], last["approver"], last["why"])
    return done == ("rolled_back", decided.back_to, decided.approver, decided.why)


def _concluded(history: pl.DataFrame) -> pl.Series:
    return history.filter(pl.col("outcome") != "rolled_back")["candidate"]


def _read(token: str, key: str) -> Approval:
    if not key:
        raise NotAllowedError(
            "an approval cannot be verified without CV_APPROVAL_KEY: set it for the code location as for the door"
        )
    try:
        return _APPROVAL.validate_python(_serializer(key).loads(token))
    except BadData:
        raise NotAllowedError(
            "the approval was not signed with CV_APPROVAL_KEY of this deployment, or was changed since: decide at the "
            "door of approvals, whose key must be the same"
        ) from None
    except ValidationError:
        raise NotAllowedError(f"the approval was signed by another version of the door: {ANEW}") from None


def _mistake(approval: Approval, decided: Decided, place: str, now: datetime) -> str:
    """Why the approval, which is genuine, is none for this decision; empty when it is one."""
    if approval.place != place:
        return f"the approval is for {approval.place}, this is {place}"
    for name, said in dataclasses.asdict(approval.decided).items():
        if said != (asked := getattr(decided, name)):
            return f"the approval says `{name}` {said!r}, the run says {asked!r}"
    if approval.at > now + _CLOCKS_DIFFER:
        return f"the approval is of {moment(approval.at)}, which is to come: set the clocks of door and code location"
    if approval.at < now - GOOD_FOR:
        return f"the approval is of {moment(approval.at)}, older than {GOOD_FOR.total_seconds() / 60:.0f} minutes"
    return ""


def _serializer(key: str) -> URLSafeSerializer:
    # Signatures of one purpose never pass for those of another that the same key makes.
    return URLSafeSerializer(key, salt="cv_assets.release.approval", signer_kwargs=SIGNED_BY)
