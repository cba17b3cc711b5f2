"""How a candidate ends, how one goes back, and what is in force."""

from dataclasses import replace
from datetime import UTC, datetime

import polars as pl
import pytest
from hypothesis import given
from hypothesis import strategies as st

from cv_assets.release.history import (
    Conclusion,
    NotAllowedError,
    another_passes,
    by_whom,
    conclude,
    next_version,
    roll_back,
    with_today_s_columns,
)
from cv_assets.release.schema import Releases
from cv_assets.requests.base import release_in_force
from cv_assets.spec.evaluation import Release

EMPTY = Releases.create_empty()
BY_A_PERSON = Release(approval="person", approvers=("ada",))
BY_POLICY = Release(approval="automatic")
BY_LOGIN = Release(approval="person", approvers=("ada",), identity="authenticated")
ADA = Conclusion(approver="ada", approve=True, why="", at=datetime(2026, 3, 2, tzinfo=UTC))
BOB = Conclusion(approver="bob", approve=True, why="", at=datetime(2026, 3, 2, tzinfo=UTC))
ADA_LOGGED_IN = replace(ADA, known="authenticated")
NOBODY = replace(ADA, approver="policy", known="policy")
ADA_DECLINES = Conclusion(approver="ada", approve=False, why="odd crops", at=datetime(2026, 3, 2, tzinfo=UTC))


def decision(*passed: bool) -> pl.DataFrame:
    return pl.DataFrame(
        {
            "passed": passed,
            "measured": [0.1] * len(passed),
            "why": [f"criterion {i}" for i in range(len(passed))],
            "model": ["cnn"] * len(passed),
            "lower": [0.2] * len(passed),
            "upper": [0.8] * len(passed),
        }
    )


def request(candidate: str = "c1", released_version: str | None = None) -> dict[str, object]:
    return {
        "candidate": candidate,
        "reason": "person",
        "released_version": released_version,
        "requested_at": ADA.at,
        "spec_digest": "s",
    }


def end(
    history: pl.DataFrame, asked=None, judged=None, policy=BY_A_PERSON, by=ADA, spec="s", passes="sound"
) -> pl.DataFrame:
    asked = request() if asked is None else asked
    return conclude(
        history,
        request=asked,
        decision=decision(True, True) if judged is None else judged,
        candidate_commit=f"commit-of-{asked['candidate']}",
        pass_class=passes,
        spec_digest=spec,
        policy=policy,
        conclusion=by,
    )


def last(history: pl.DataFrame) -> dict[str, object]:
    return history.row(-1, named=True)


def test_the_first_release_is_v1_0_0():
    row = last(end(EMPTY))
    assert (row["outcome"], row["version"], row["approver"]) == ("released", "v1.0.0", "ada")
    assert row["candidate_commit"] == "commit-of-c1"
    assert (row["lower"], row["upper"]) == (0.2, 0.8)


def test_a_release_says_how_many_criteria_were_met_and_how_many_did_not_apply():
    assert last(end(EMPTY))["why"] == "all 2 criteria are met"
    idle = decision(True, True, True).with_columns(measured=pl.Series([0.1, 0.2, None]))
    assert last(end(EMPTY, judged=idle))["why"] == "all 2 criteria are met, 1 more does not apply"
    said = Conclusion(approver="ada", approve=True, why="it is sound", at=ADA.at)
    assert last(end(EMPTY, by=said))["why"] == "it is sound"


def test_each_later_release_raises_the_minor_version():
    first = end(EMPTY)
    assert last(end(first, request("c2", "v1.0.0")))["version"] == "v1.1.0"


def test_a_candidate_that_misses_a_criterion_is_refused_with_that_criterion_named():
    row = last(end(EMPTY, judged=decision(True, False)))
    assert (row["outcome"], row["version"]) == ("refused", None)
    assert row["why"] == "1 of 2 criteria are not met: criterion 1"


def test_a_refusal_needs_no_approver():
    assert last(end(EMPTY, judged=decision(False), by=BOB))["outcome"] == "refused"


def test_policy_ends_no_candidate_that_waits_for_a_person():
    """It would be refused, for the spec changed since it was requested."""
    with pytest.raises(NotAllowedError, match="c1 waits for the approval of ada"):
        end(EMPTY, by=NOBODY, policy=BY_LOGIN, spec="s2")
    assert last(end(EMPTY, by=NOBODY, policy=BY_POLICY, spec="s2"))["outcome"] == "refused"


def test_only_a_named_approver_releases():
    with pytest.raises(NotAllowedError, match="'bob' may not decide on releases; the spec names ada"):
        end(EMPTY, by=BOB)


def test_a_release_records_how_its_approver_is_known():
    for by, known, words in [
        (ADA, "asserted", "ada (as typed, not authenticated)"),
        (ADA_LOGGED_IN, "authenticated", "ada (authenticated by the proxy)"),
    ]:
        row = last(end(EMPTY, by=by))
        assert (row["approver_known"], by_whom(row)) == (known, words)
    row = last(end(EMPTY, by=NOBODY, policy=BY_POLICY))
    assert (row["approver_known"], by_whom(row)) == ("policy", "policy")


def test_where_the_spec_asks_for_a_login_a_typed_name_decides_nothing():
    words = r"'ada' is only what somebody typed, and the spec asks for authenticated approvers"
    for judged in (decision(True), decision(False)):
        with pytest.raises(NotAllowedError, match=words):
            end(EMPTY, judged=judged, policy=BY_LOGIN)
    with pytest.raises(NotAllowedError, match=words):
        roll_back(two_releases(), version="v1.0.0", conclusion=ADA, policy=BY_LOGIN)
    assert last(end(EMPTY, by=ADA_LOGGED_IN, policy=BY_LOGIN))["outcome"] == "released"
    assert last(end(EMPTY, judged=decision(False), by=NOBODY, policy=BY_LOGIN))["outcome"] == "refused"
    back = roll_back(two_releases(), version="v1.0.0", conclusion=ADA_LOGGED_IN, policy=BY_LOGIN)
    assert last(back)["approver_known"] == "authenticated"


def test_only_a_person_declines_and_rolls_back():
    with pytest.raises(NotAllowedError, match="only a person declines a candidate, and 'policy' is none"):
        end(EMPTY, by=replace(NOBODY, approve=False), policy=BY_POLICY)
    with pytest.raises(NotAllowedError, match="only a person rolls back, and 'policy' is none"):
        roll_back(two_releases(), version="v1.0.0", conclusion=NOBODY, policy=BY_POLICY)


def test_a_history_of_an_earlier_version_goes_on_and_its_approvers_were_typed():
    earlier = end(EMPTY).drop("approver_known")
    history = end(with_today_s_columns(earlier), request("c2", "v1.0.0"), by=ADA_LOGGED_IN)
    assert history["approver_known"].to_list() == [None, "authenticated"]
    assert by_whom(history.row(0, named=True)) == "ada (as typed, not authenticated)"
    assert by_whom(earlier.row(0, named=True)) == "ada (as typed, not authenticated)"
    assert Releases.is_valid(history)


def test_an_automatic_release_needs_no_person():
    assert last(end(EMPTY, policy=BY_POLICY, by=BOB))["outcome"] == "released"


def test_an_approver_may_decline_and_says_why():
    row = last(end(EMPTY, by=ADA_DECLINES))
    assert (row["outcome"], row["why"]) == ("refused", "declined by ada: odd crops")


def test_a_candidate_that_nobody_judged_can_be_declined_and_not_released():
    nothing = decision().cast({"passed": pl.Boolean})
    row = last(end(EMPTY, judged=nothing, by=ADA_DECLINES))
    assert (row["outcome"], row["why"], row["model"]) == ("refused", "declined by ada: odd crops", None)
    with pytest.raises(
        NotAllowedError, match="c1 has no release decision yet: evaluate it first, or decline"
    ):
        end(EMPTY, judged=nothing, by=ADA)


def test_a_candidate_whose_base_moved_is_refused_and_told_to_evaluate_again():
    first = end(EMPTY)
    row = last(end(first, request("c2", released_version=None)))
    assert row["outcome"] == "refused"
    assert row["why"].startswith("evaluated against no release, v1.0.0 is in force: request a new candidate")


def test_a_candidate_of_before_a_roll_back_to_its_base_is_refused():
    later = Conclusion(approver="ada", approve=True, why="", at=datetime(2026, 3, 5, 8, 30, tzinfo=UTC))
    history = roll_back(two_releases(), version="v1.0.0", conclusion=later, policy=BY_A_PERSON)
    assert last(end(history, request("c3", "v1.0.0")))["why"] == (
        "requested before v1.0.0 was put back in force (2026-03-05 08:30 UTC): request a new candidate and evaluate "
        "again"
    )
    again = {**request("c4", "v1.0.0"), "requested_at": later.at}
    assert last(end(history, again))["outcome"] == "released"


def test_a_candidate_of_an_older_spec_is_refused():
    assert "the spec changed" in last(end(EMPTY, spec="another"))["why"]


def test_a_candidate_is_concluded_once():
    first = end(EMPTY)
    assert end(first).equals(first)
    refused = end(EMPTY, judged=decision(False))
    assert end(refused).equals(refused)


def test_a_refusal_changes_nothing_that_is_in_force():
    first = end(EMPTY)
    refused = end(first, request("c2", "v1.0.0"), decision(False))
    assert release_in_force(refused)["version"] == "v1.0.0"


def test_nothing_is_in_force_before_the_first_release():
    assert release_in_force(EMPTY) is None
    assert release_in_force(end(EMPTY, judged=decision(False))) is None


def two_releases() -> pl.DataFrame:
    return end(end(EMPTY), request("c2", "v1.0.0"))


def test_a_rollback_puts_the_earlier_model_and_band_back_in_force():
    history = roll_back(two_releases(), version="v1.0.0", conclusion=ADA, policy=BY_A_PERSON)
    now = release_in_force(history)
    assert (now["outcome"], now["version"], now["candidate"]) == ("rolled_back", "v1.0.0", "c1")
    assert now["candidate_commit"] == "commit-of-c1"


def test_a_release_keeps_the_class_that_passed_when_it_was_judged_also_when_it_is_rolled_back_to():
    history = end(end(EMPTY, passes="sound"), request("c2", "v1.0.0"), passes="defective")
    history = roll_back(history, version="v1.0.0", conclusion=ADA, policy=BY_A_PERSON)
    assert history["pass_class"].to_list() == ["sound", "defective", "sound"]
    assert another_passes(last(history), "sound") == ""
    assert another_passes(last(history), "defective") == (
        "v1.0.0 was released with `sound` as the class that passes; by the spec now it is `defective`"
    )


def test_after_a_rollback_the_next_version_is_still_a_new_one():
    history = roll_back(two_releases(), version="v1.0.0", conclusion=ADA, policy=BY_A_PERSON)
    assert next_version(history) == "v1.2.0"
    assert last(end(history, request("c3", "v1.0.0")))["version"] == "v1.2.0"


def test_a_rollback_whose_run_died_after_it_took_effect_is_repeated_without_effect():
    once = roll_back(two_releases(), version="v1.0.0", conclusion=ADA, policy=BY_A_PERSON)
    assert roll_back(once, version="v1.0.0", conclusion=ADA, policy=BY_A_PERSON).equals(once)


@pytest.mark.parametrize(
    ("version", "by", "words"),
    [
        ("v3.0.0", ADA, r"v3\.0\.0 was never in force; released versions: v1\.0\.0, v1\.1\.0"),
        ("v1.1.0", ADA, "is in force already"),
        ("v1.0.0", BOB, "'bob' may not roll back"),
    ],
)
def test_a_rollback_goes_only_to_a_version_that_was_in_force_by_someone_who_may(version, by, words):
    with pytest.raises(NotAllowedError, match=words):
        roll_back(two_releases(), version=version, conclusion=by, policy=BY_A_PERSON)


@given(st.lists(st.sampled_from(["pass", "fail", "back"]), max_size=12))
def test_history_only_grows_and_versions_never_repeat(acts):
    history = EMPTY
    for number, act in enumerate(acts):
        now = release_in_force(history)
        before = history
        if act == "back":
            versions = history.filter(pl.col("outcome") == "released")["version"].to_list()
            if not versions or now["version"] == versions[0]:
                continue
            history = roll_back(history, version=versions[0], conclusion=ADA, policy=BY_A_PERSON)
        else:
            asked = request(f"c{number}", now and now["version"])
            history = end(history, asked, decision(act == "pass"))
        assert history.head(before.height).equals(before)
        assert history.height == before.height + 1
    released = history.filter(pl.col("outcome") == "released")["version"].to_list()
    assert len(set(released)) == len(released)
    assert Releases.is_valid(history)
