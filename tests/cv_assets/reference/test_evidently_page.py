"""Evidently's page about two sets of frames."""

import re

import numpy as np
import polars as pl
import pytest

from cv_assets.reference.evidently_page import EvidentlyPage, compared, page

RANDOM = np.random.default_rng(0)
THEN = pl.DataFrame(
    {
        "capture_id": [f"c{number}" for number in range(200)],
        "novelty": RANDOM.normal(size=200),
        "decoded.focus": RANDOM.normal(size=200),
        "decoded.contrast": [1.0] * 200,
        "decoded.entropy": [1.0] * 9 + [None] * 191,
        "score.cnn": RANDOM.uniform(size=200),
    }
)
NOW = THEN.head(80).with_columns(pl.col("novelty") + 3, **{"decoded.entropy": 1.0}).drop("score.cnn")


@pytest.fixture(scope="module")
def made() -> EvidentlyPage:
    return page(THEN, NOW)


def test_the_page_says_of_each_column_whether_it_drifted(made):
    assert made.drifted == {"novelty": True, "decoded.focus": False}
    assert b"plotly" in made.html


def test_columns_that_cannot_be_compared_are_left_out_with_a_word(made):
    assert made.left_out == {
        "decoded.contrast": "has one value only",
        "decoded.entropy": "has 9 values in one of the two sets",
    }
    assert made.in_words == (
        "Evidently compares 80 frames with 200 of the reference, column by column, and calls a PSI of 0.2 and more "
        "drift: 1 of 2 columns (novelty). Left out: decoded.contrast has one value only and decoded.entropy has 9 "
        "values in one of the two sets."
    )


def test_the_same_frames_give_the_same_bytes(made):
    assert page(THEN, NOW).html == made.html


def test_where_the_verdicts_differ_it_says_which_and_why(made):
    told = made.beside({"novelty": False, "decoded.focus": True, "decoded.contrast": True})
    assert "differ: drift only by its page (novelty); drift only by the levels here (decoded.focus)." in told
    assert "takes frames as independent" in told
    agreed = made.beside({"novelty": True, "decoded.focus": False})
    assert agreed.endswith("Of the 2 columns that have a level here it says the same.")


def test_a_page_loads_nothing_from_elsewhere(made):
    assert not re.findall(rb'<(?:script|link|img)[^>]+(?:src|href)="https?://', made.html)


def test_the_library_reports_no_usage_over_the_network():
    from evidently.telemetry import event_logger

    assert not event_logger.is_enabled()


def test_infinite_values_and_nan_are_no_values():
    odd = pl.Series([np.inf, -np.inf, np.nan] * 20 + [None] * 20)
    made = page(THEN, NOW.with_columns(novelty=odd))
    assert made.left_out["novelty"] == "has 0 values in one of the two sets"


@pytest.mark.parametrize(
    ("odd", "why"),
    [
        (127.5 + np.arange(80) % 8 * 1.4e-14, "varies by less than 1e-09 of its size"),
        (np.where(np.arange(80) % 2, 1.7e308, -1.7e308), "has too wide a range"),
    ],
)
def test_a_range_that_bins_cannot_part_is_left_out(odd, why):
    assert page(THEN, NOW.with_columns(novelty=pl.Series(odd))).left_out["novelty"] == why
    assert page(NOW.with_columns(novelty=pl.Series(odd)), THEN).left_out["novelty"] == why


def test_two_sets_whose_ranges_lie_too_far_apart_are_left_out():
    low, high = (THEN.select(pl.col("decoded.focus") * 1e300 + far) for far in (-1.5e308, 1.5e308))
    assert page(low, high).left_out == {"decoded.focus": "has too wide a range"}


def test_a_narrow_range_far_from_the_other_one_is_compared():
    assert page(THEN, NOW.with_columns(pl.col("novelty") + 1e7)).drifted["novelty"]


def test_where_the_library_fails_all_the_same_there_is_no_page_and_it_says_why():
    # What `page` leaves out, handed to the library past it.
    narrow = pl.DataFrame({"a": 1 + np.arange(60) % 3 * 2.2e-16})
    made = compared(narrow, narrow, {})
    assert (made.html, made.drifted) == (b"", {})
    assert made.beside({"a": True}).startswith(
        "No page: Evidently could not compare the frames (ValueError: Too many bins"
    )


@pytest.mark.parametrize("now", [NOW.select("capture_id"), NOW.select("decoded.contrast"), NOW.clear()])
def test_with_nothing_to_compare_the_page_says_so(now):
    made = page(THEN, now)
    assert not made.drifted
    assert b"Nothing to compare" in made.html
    assert "0 of 0 columns" in made.in_words
