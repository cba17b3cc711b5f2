"""A signed approval: whose word it is, for exactly one decision, as long as what was seen is what is there."""

from contextlib import suppress
from dataclasses import replace
from datetime import UTC, datetime, timedelta

import polars as pl
import pytest
from hypothesis import given
from hypothesis import strategies as st
from make_releases import release_row

from cv_assets.release.approval import Approval, Decided, place_of, refuse_outdated, sign, verify
from cv_assets.release.history import NotAllowedError
from cv_assets.release.schema import Releases

KEY, OTHER_KEY = "a key that nobody guesses, for tests", "another key that nobody guesses either"
NOW = datetime(2026, 3, 2, 12, tzinfo=UTC)
PLACE = place_of("solar_cells", "main")
APPROVED = Decided(
    candidate="c1", back_to="", approver="ada@plant.example", approve=True, why="it meets them all"
)
BACK = Decided(
    candidate="", back_to="v1.0.0", approver="ada@plant.example", approve=True, why="v1.1.0 overkills"
)


def approval(decided: Decided = APPROVED, **changed: object) -> Approval:
    return replace(Approval(PLACE, decided, "authenticated", "commit-1", NOW), **changed)


def check(token: str, key: str = KEY, **changed: object) -> Approval:
    return verify(token, key, **{"decided": APPROVED, "place": PLACE, "now": NOW, **changed})


def test_what_the_door_signed_is_what_the_run_reads():
    assert check(sign(approval(), KEY)) == approval()


def test_a_deployment_without_the_key_says_which_variable_to_set():
    with pytest.raises(NotAllowedError, match="cannot be verified without CV_APPROVAL_KEY: set it"):
        check(sign(approval(), KEY), key="")


def test_an_approval_of_another_key_is_refused():
    with pytest.raises(NotAllowedError, match="was not signed with CV_APPROVAL_KEY of this deployment"):
        check(sign(approval(), OTHER_KEY))


@given(st.data())
def test_a_changed_approval_is_refused_or_says_the_same(data):
    token = sign(approval(), KEY)
    where = data.draw(st.integers(0, len(token) - 1))
    other = data.draw(st.sampled_from("".join(sorted({*token, ".", "_", "-", "A", "%"}))))
    changed = token[:where] + other + token[where + data.draw(st.integers(0, 2)) :]
    with suppress(NotAllowedError):
        assert check(changed) == approval()


@given(st.text(max_size=80))
def test_what_is_no_approval_is_refused(words):
    with pytest.raises(NotAllowedError):
        check(words)


@pytest.mark.parametrize(
    ("name", "other"),
    [("candidate", "c2"), ("approver", "bob"), ("approve", False), ("why", "no"), ("back_to", "v1.0.0")],
)
def test_a_run_that_says_something_else_than_its_approval_is_refused(name, other):
    with pytest.raises(NotAllowedError, match=f"the approval says `{name}` .*, the run says {other!r}"):
        check(sign(approval(), KEY), decided=replace(APPROVED, **{name: other}))


def test_an_approval_on_an_experiment_is_none_on_main():
    elsewhere = approval(place=place_of("solar_cells", "my-idea"))
    with pytest.raises(NotAllowedError, match="is for solar_cells on my-idea, this is solar_cells on main"):
        check(sign(elsewhere, KEY))


@pytest.mark.parametrize(
    ("age", "words"),
    [
        (timedelta(hours=2), "of 2026-03-02 10:00 UTC, older than 60 minutes: look at it anew"),
        (-timedelta(hours=1), "which is to come: set the clocks"),
    ],
)
def test_an_old_approval_and_one_of_tomorrow_are_refused(age, words):
    with pytest.raises(NotAllowedError, match=words):
        check(sign(approval(at=NOW - age), KEY))


def test_clocks_may_differ_by_a_minute():
    assert check(sign(approval(at=NOW + timedelta(minutes=1)), KEY))


def history(*rows: dict[str, object]) -> pl.DataFrame:
    return pl.DataFrame(list(rows), schema=Releases.create_empty().schema)


TWO = (release_row(1, "v1.0.0", "c0"), release_row(2, "v1.1.0", "c2"))
DONE = release_row(3, "v1.0.0", "c0", outcome="rolled_back", approver=BACK.approver, why=BACK.why)


def test_a_candidate_that_was_judged_again_after_somebody_looked_is_looked_at_anew():
    refuse_outdated(approval(), history(), judged_at="commit-1")
    with pytest.raises(
        NotAllowedError, match=r"c1 was judged after ada@plant\.example looked at it: look at it anew"
    ):
        refuse_outdated(approval(), history(), judged_at="commit-2")


def test_an_approval_of_a_concluded_candidate_may_come_again_for_it_changes_nothing():
    refuse_outdated(approval(), history(release_row(1, "v1.0.0", "c1")), judged_at="commit-2")


def test_a_rollback_may_come_again_right_after_itself():
    back = approval(BACK, seen="2")
    refuse_outdated(back, history(*TWO), judged_at="")
    refuse_outdated(back, history(*TWO, DONE), judged_at="")


@pytest.mark.parametrize(
    "later",
    [
        [release_row(3, "v1.2.0", "c3")],
        [DONE, release_row(4, "v1.2.0", "c3")],
        [{**DONE, "approver": "bob"}],
    ],
)
def test_a_rollback_never_comes_again_later(later):
    """A copy of it would else undo whatever was released since."""
    with pytest.raises(
        NotAllowedError, match=r"the history of releases had 2 rows when .* decided to go back"
    ):
        refuse_outdated(approval(BACK, seen="2"), history(*TWO, *later), judged_at="")
