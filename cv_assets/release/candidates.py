"""What becomes of open candidates: who concludes them, and what each still waits for."""

from dataclasses import dataclass

import polars as pl

from cv_assets.evaluation.rulings import met_in_words
from cv_assets.spec.evaluation import Release


@dataclass(frozen=True)
class Proposal:
    """Whether a candidate can be concluded without a person, and why (or why not) in words."""

    conclude: bool
    why: str


def propose(candidate: str, decision: pl.DataFrame | None, policy: Release) -> Proposal:
    """What to do with an open candidate; `decision` is its release_decision, None while there is none."""
    if decision is None:
        return Proposal(False, f"{candidate} has no release decision yet")
    failed = decision.filter(~pl.col("passed")).height
    if failed:
        return Proposal(True, f"{candidate} misses {failed} of {decision.height} criteria and is refused")
    if policy.approval == "automatic":
        return Proposal(True, f"{candidate} is released by policy: {met_in_words(decision)}")
    return Proposal(
        False,
        f"{candidate} waits for the approval of {' or '.join(policy.approvers)} (job `release`): "
        f"{met_in_words(decision)}",
    )
