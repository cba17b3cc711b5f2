"""The history of releases: how a candidate is concluded, how one goes back, what is in force.

Versions are `vMAJOR.MINOR.PATCH`; the first release is v1.0.0 and each later one raises MINOR.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Final, Literal

import polars as pl

from cv_assets.evaluation.rulings import met_in_words
from cv_assets.release.candidates import propose
from cv_assets.release.schema import Releases
from cv_assets.requests.base import base_is_in_force, release_in_force
from cv_assets.spec.evaluation import POLICY, Release
from cv_assets.words import moment

FIRST_VERSION = "v1.0.0"

Known = Literal["authenticated", "asserted", "policy"]
"""How it is known who concluded: a login vouches for the name, somebody typed it, or the criteria alone decided."""


class NotAllowedError(PermissionError):
    """That person may not do this, or it cannot be done in this state; nothing was concluded."""


@dataclass(frozen=True)
class Conclusion:
    """Who concludes a candidate, and how."""

    approver: str
    approve: bool
    why: str
    at: datetime
    known: Known = "asserted"


def by_whom(row: Mapping[str, Any]) -> str:
    """Who concluded a row of the history, and how that is known, in words."""
    known = row.get("approver_known")
    return str(row["approver"]) if row["approver"] == POLICY else f"{row['approver']} ({_KNOWN[known]})"


def with_today_s_columns(history: pl.DataFrame) -> pl.DataFrame:
    """A history that an earlier version wrote: what it did not record is null."""
    return pl.concat([Releases.create_empty(), history], how="diagonal")


def another_passes(release: Mapping[str, Any], pass_class: str) -> str:
    """That `release` was judged with another class than the spec's `pass_class` as the one that passes, in words.

    Empty when it was not. Its defect scores and thresholds mean the opposite under another class.
    """
    if release["pass_class"] == pass_class:
        return ""
    return (
        f"{release['version']} was released with `{release['pass_class']}` as the class that passes; by the spec now "
        f"it is `{pass_class}`"
    )


def conclude(
    history: pl.DataFrame,
    *,
    request: dict[str, Any],
    decision: pl.DataFrame,
    candidate_commit: str,
    pass_class: str,
    spec_digest: str,
    policy: Release,
    conclusion: Conclusion,
) -> pl.DataFrame:
    """`history` and the row that concludes the candidate of `request`: released or refused, with the reason.

    `request` is its training_request row, `decision` its release_decision, empty while there is none; `pass_class` and
    `spec_digest` are those of the spec in force, and a candidate of another one is refused. A candidate already
    concluded leaves the history as it is. Raises NotAllowedError when someone concludes it who may not, or approves of
    one that nobody judged, or is not known as the spec asks; and when `policy` concludes what waits for a person.
    """
    if request["candidate"] in history.filter(pl.col("outcome") != "rolled_back")["candidate"]:
        return history
    if decision.is_empty() and conclusion.approve:
        raise NotAllowedError(
            f"candidate {request['candidate']} has no release decision yet: evaluate it first, or decline it "
            "(`approve: false`)"
        )
    _refuse_unknown(conclusion, policy)
    if conclusion.known == "policy" and not conclusion.approve:
        raise NotAllowedError(f"only a person declines a candidate, and {POLICY!r} is none: give your name")
    proposal = propose(request["candidate"], decision, policy)
    if conclusion.known == "policy" and not proposal.conclude:
        raise NotAllowedError(proposal.why)
    refusal = reason_to_refuse(history, request, decision, spec_digest)
    if refusal is None and policy.approval == "person" and conclusion.approver not in policy.approvers:
        raise NotAllowedError(
            f"{conclusion.approver!r} may not decide on releases; the spec names {', '.join(policy.approvers)}"
        )
    if refusal is None and not conclusion.approve:
        refusal = f"declined by {conclusion.approver}: {conclusion.why or 'no reason given'}"
    judged = (
        {"model": None, "lower": None, "upper": None} if decision.is_empty() else decision.row(0, named=True)
    )
    return _append(
        history,
        outcome="refused" if refusal else "released",
        version=None if refusal else next_version(history),
        candidate=request["candidate"],
        trigger=request["reason"],
        why=refusal or conclusion.why or met_in_words(decision),
        approver=conclusion.approver,
        approver_known=conclusion.known,
        concluded_at=conclusion.at,
        model=judged["model"],
        candidate_commit=candidate_commit,
        lower=judged["lower"],
        upper=judged["upper"],
        pass_class=pass_class,
        spec_digest=spec_digest,
    )


def reason_to_refuse(
    history: pl.DataFrame, request: dict[str, Any], decision: pl.DataFrame, spec_digest: str
) -> str | None:
    """Why the candidate may not be released whoever asks; None when it may."""
    now, then = release_in_force(history), request["released_version"]
    version = now and now["version"]
    if version != then:
        return (
            f"evaluated against {then or 'no release'}, {version} is in force: request a new candidate and "
            "evaluate again"
        )
    if now and not base_is_in_force(request, now):
        return (
            f"requested before {version} was put back in force ({moment(now['concluded_at'])}): request a "
            "new candidate and evaluate again"
        )
    if request["spec_digest"] != spec_digest:
        return "the spec changed since it was requested: request a new candidate and evaluate again"
    failed = decision if decision.is_empty() else decision.filter(~pl.col("passed"))
    if not failed.is_empty():
        return f"{failed.height} of {decision.height} criteria are not met: " + "; ".join(failed["why"])
    return None


def roll_back(
    history: pl.DataFrame, *, version: str, conclusion: Conclusion, policy: Release
) -> pl.DataFrame:
    """`history` and a row that puts `version` back in force; the same rollback again leaves the history as it is.

    Raises NotAllowedError for a version that never was in force, the one that is, or a person who may not or is not
    known as the spec asks.
    """
    _refuse_unknown(conclusion, policy)
    if conclusion.known == "policy":
        raise NotAllowedError(f"only a person rolls back, and {POLICY!r} is none: give your name")
    if policy.approvers and conclusion.approver not in policy.approvers:
        raise NotAllowedError(
            f"{conclusion.approver!r} may not roll back; the spec names {', '.join(policy.approvers)}"
        )
    released = history.filter((pl.col("outcome") == "released") & (pl.col("version") == version))
    if released.is_empty():
        known = ", ".join(history.filter(pl.col("outcome") == "released")["version"]) or "none"
        raise NotAllowedError(f"{version} was never in force; released versions: {known}")
    why = conclusion.why or f"back to {version}"
    now = release_in_force(history)
    if now and now["version"] == version:
        if (now["outcome"], now["approver"], now["why"]) == ("rolled_back", conclusion.approver, why):
            return history
        raise NotAllowedError(f"{version} is in force already")
    row = released.row(-1, named=True)
    return _append(
        history,
        **{
            **row,
            "outcome": "rolled_back",
            "trigger": "rollback",
            "why": why,
            "approver": conclusion.approver,
            "approver_known": conclusion.known,
            "concluded_at": conclusion.at,
        },
    )


def next_version(history: pl.DataFrame) -> str:
    """The version after the newest released one."""
    released = history.filter(pl.col("outcome") == "released")
    if released.is_empty():
        return FIRST_VERSION
    major, minor, _ = str(released["version"][-1]).removeprefix("v").split(".")
    return f"v{major}.{int(minor) + 1}.0"


_KNOWN: Final = {
    "authenticated": "authenticated by the proxy",
    "asserted": "as typed, not authenticated",
    None: "as typed, not authenticated",  # so it always was before it was recorded
}


def _refuse_unknown(conclusion: Conclusion, policy: Release) -> None:
    if policy.identity == "authenticated" and conclusion.known == "asserted":
        raise NotAllowedError(
            f"{conclusion.approver!r} is only what somebody typed, and the spec asks for authenticated approvers "
            "(`release.identity`): decide at the door of approvals"
        )


def _append(history: pl.DataFrame, **row: Any) -> pl.DataFrame:
    row["number"] = history.height + 1
    return pl.concat([history, pl.DataFrame([row], schema=Releases.create_empty().schema)])
