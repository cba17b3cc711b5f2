"""What the figures of two Dagsters at once say; tests/sensors/test_two_homes.py has their sensors in any order."""

import time

import pytest

from proofs import two_daemons

CLEAN = {
    "over": True,
    "files": 6,
    "captures": 6,
    "doubled": 0,
    "unaccounted": 0,
    "stated": 12,
    "annotations": 12,
    "deliveries": 3,
    "outbox": 3,
    "unexplained": [],
}


def test_what_was_taken_in_exactly_once_is_no_mistake():
    assert two_daemons.mistakes(CLEAN) == []


@pytest.mark.parametrize(
    ("figures", "sentence"),
    [
        ({"over": False}, "it was not over after 150 s."),
        ({"captures": 5}, "5 captures of 6 files."),
        ({"doubled": 2}, "2 captures are there twice."),
        ({"unaccounted": 1}, "1 files are nowhere."),
        ({"annotations": 24}, "24 statements of 12."),
        ({"outbox": 4}, "4 files in the outbox for 3 deliveries."),
        ({"unexplained": ["receive: KeyError"]}, "runs failed without a sentence: ['receive: KeyError']."),
    ],
    ids=str,
)
def test_each_way_to_break_the_claim_is_told(figures, sentence):
    assert two_daemons.mistakes({**CLEAN, **figures}) == [sentence]


@pytest.mark.parametrize(
    ("words", "is_explained"), [("Failure: The disk is full", True), ("KeyError: 'a'", False)]
)
def test_a_run_that_failed_with_a_traceback_is_unexplained(words, is_explained):
    told = two_daemons._told([("receive", "FAILURE", words), ("receive", "SUCCESS", "")])
    assert told["runs"] == {"receive failure": 1, "receive success": 1}
    assert (told["unexplained"] == []) is is_explained


def test_what_is_so_only_at_the_last_moment_was_in_time():
    assert two_daemons._wait_for(lambda: True, time.monotonic() - 1)
    assert not two_daemons._wait_for(lambda: False, time.monotonic() - 1)
