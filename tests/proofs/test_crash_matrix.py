"""A few cases of the crash matrix; all of them: make prove."""

import itertools
import shutil

import pytest

from proofs.crash_matrix import Case, Outcome, prove, spread, violations

EMPTY = {"branches": {"main": []}, "tags": {}, "refused": [], "left": {"work branches": [], "files": []}}
PUBLISHED = {**EMPTY, "branches": {"main": [["total: 1 rows", {"tables/total.parquet": "ab"}]]}}
TWICE = {**EMPTY, "branches": {"main": 2 * PUBLISHED["branches"]["main"]}}
LEFT = {**PUBLISHED, "left": {"work branches": ["work-total-1"], "files": []}}
HALF = {**EMPTY, "branches": {"main": [["total: 1 rows", {}]]}}


def outcome(found=EMPTY, end=PUBLISHED, swept=None, struck=True, said="", boundary=3):
    seen = {"found": found, "end": end, "swept": swept or end, "said": said, "tries": 1, "other": []}
    seen["publications"] = 1
    return Outcome(Case("embedded", "table", boundary), struck, seen=seen)


UNDISTURBED = outcome(found=PUBLISHED, struck=False, boundary=0)


@pytest.mark.parametrize("found", [EMPTY, PUBLISHED], ids=["before", "after"])
def test_the_state_before_or_after_and_one_publication_in_the_end_are_as_they_should_be(found):
    assert violations(outcome(found), UNDISTURBED) == []


@pytest.mark.parametrize(
    ("broken", "words"),
    [
        (outcome(found=HALF), "neither the one before nor the one after"),
        (outcome(end=TWICE), "2 publications are visible"),
        (outcome(end=EMPTY), "not done exactly once"),
        (outcome(said="it fell over"), "it fell over"),
        (outcome(struck=False), "did not strike"),
        (outcome(swept=LEFT), "work-total-1"),
        (outcome(swept=EMPTY), "the sweep changed"),
    ],
    ids=["half", "twice", "never", "failed", "no kill", "not swept", "swept too much"],
)
def test_what_breaks_the_claim_is_told(broken, words):
    assert words in " ".join(violations(broken, UNDISTURBED))


def test_a_publication_in_two_moves_is_told_though_nobody_kills_it():
    twice = outcome(found=TWICE, end=TWICE, struck=False, boundary=0)
    assert violations(twice, twice) == ["2 publications are visible, expected 1"]


@pytest.mark.parametrize("seed", range(5))
def test_cases_are_spread_over_all_boundaries(seed):
    chosen = spread([Case("embedded", "table", boundary) for boundary in range(100)], 10, seed)
    boundaries = [case.boundary for case in chosen]
    assert len(boundaries) == 10
    assert {after - before for before, after in itertools.pairwise(boundaries)} == {10}


def test_a_release_killed_anywhere_is_there_once_after_it_ran_again():
    proof = prove(embedded=2, lakefs=0, servers=0, steps=["release"], seed=1)
    assert proof.holds, proof.why
    assert proof.figures["embedded"]["done exactly once"] == 2


@pytest.mark.lakefs
@pytest.mark.skipif(shutil.which("lakefs") is None, reason="no `lakefs` program on PATH to kill")
def test_a_publication_on_lakefs_survives_the_death_of_its_server():
    proof = prove(embedded=0, lakefs=0, servers=1, steps=["table"], seed=1)
    assert proof.holds, proof.why


def test_without_the_program_to_kill_the_claim_is_not_tried_whatever_server_is_named(monkeypatch):
    monkeypatch.setenv("PATH", "")
    monkeypatch.setenv("LAKEFS_ENDPOINT", "http://127.0.0.1:1")
    proof = prove(embedded=0)
    assert proof.holds is None
    assert "Skipped: there is no `lakefs` program on PATH." in proof.why
