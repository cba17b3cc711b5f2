"""What a person would ask for in season 2."""

import polars as pl

from demo.season2 import narrower_band, part_to_explain


def inspected(*said: tuple[str, str, bool]) -> pl.DataFrame:
    return pl.DataFrame(said, schema=["part", "verdict", "audit"], orient="row")


def test_a_failed_part_is_explained_and_rather_one_that_people_saw_too():
    failed = ("a", "FAIL", False), ("c", "FAIL", True)
    assert part_to_explain(inspected(("z", "PASS", True), ("b", "REVIEW", True), *failed)) == "c"
    assert part_to_explain(inspected(("z", "PASS", True), ("b", "REVIEW", True), failed[0])) == "a"


def test_when_nothing_failed_a_reviewed_part_is_explained():
    assert part_to_explain(inspected(("a", "PASS", True), ("b", "REVIEW", False))) == "b"


def test_the_band_that_is_tried_lies_inside_the_one_in_force():
    assert narrower_band(0.2, 0.6) == (0.3, 0.5)


def test_a_threshold_that_no_score_reaches_counts_as_the_highest_score():
    assert narrower_band(0.2, 2.0) == (0.4, 0.8)
    assert narrower_band(2.0, 2.0) == (1.0, 1.0)
