"""What becomes of an open candidate."""

import polars as pl

from cv_assets.release.candidates import propose
from cv_assets.spec.evaluation import Release

PERSON, POLICY = Release(approval="person", approvers=("ada", "bo")), Release(approval="automatic")
PASSED, FAILED = (
    pl.DataFrame(
        {"passed": [True, last], "measured": [0.1, 0.2]},
        schema={"passed": pl.Boolean, "measured": pl.Float64},
    )
    for last in (True, False)
)


def test_a_candidate_without_a_decision_waits():
    assert propose("c1", None, POLICY).why == "c1 has no release decision yet"
    assert not propose("c1", None, POLICY).conclude


def test_a_candidate_that_misses_a_criterion_needs_no_person_to_be_refused():
    proposal = propose("c1", FAILED, PERSON)
    assert proposal.conclude
    assert proposal.why == "c1 misses 1 of 2 criteria and is refused"


def test_a_passing_candidate_waits_for_a_named_person_when_the_spec_says_so():
    proposal = propose("c1", PASSED, PERSON)
    assert not proposal.conclude
    assert proposal.why == "c1 waits for the approval of ada or bo (job `release`): all 2 criteria are met"


def test_a_passing_candidate_is_released_by_policy_when_the_spec_says_so():
    proposal = propose("c1", PASSED, POLICY)
    assert proposal.conclude
    assert proposal.why == "c1 is released by policy: all 2 criteria are met"
