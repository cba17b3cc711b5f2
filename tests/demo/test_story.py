"""What the story tells at its end, and what a person would ask for in season 2."""

import dataclasses
from pathlib import Path

import polars as pl
from make_story import first_season, second_season

from cv_assets.spec.schema import Spec
from demo.season2 import narrower_band, part_to_explain
from demo.story import story


def test_the_story_in_numbers_has_the_agreed_shape(spec: Spec, tmp_path: Path):
    told = story(first_season(spec, tmp_path), second_season(spec, tmp_path), seed=0, seconds=123.45)
    intervals = told.pop("intervals")
    assert told == {
        "seed": 0,
        "seconds": 123.5,
        "frames": 4,
        "rejected": 0,
        "releases": [{"version": "v1.0.0", "candidate": "first", "trigger": "first_release"}],
        "retrainings": 0,
        "alarms": [],
        "kpi": {
            "season1": {"escape": 0.1, "overkill": 0.0, "precision": 1.0, "review": 0.4},
            "season2": {"escape": 0.0, "overkill": 0.0, "precision": 1.0, "review": 0.4},
        },
        "verdicts": {"season2": {"FAIL": 1, "PASS": 2, "REVIEW": 2}},
        "file_to_verdict_seconds": {"season2": {"p50": 6.0, "p95": 7.8}},
        "review": {
            "asked": {"season2": {"frame_rejected": 1, "low_confidence": 1, "random_audit": 1}},
            "queue": {"answered": 7},
        },
    }
    assert intervals["season1"]["escape"] == [0.0, 1.0]
    low, high = intervals["season2"]["review"]
    assert low < 0.4 < high


def test_without_a_release_there_is_no_season_2_and_there_are_no_figures(spec: Spec, tmp_path: Path):
    sound = first_season(spec, tmp_path)
    refused = sound.releases.with_columns(outcome=pl.lit("refused"), version=pl.lit(None, dtype=pl.String))
    told = story(dataclasses.replace(sound, releases=refused, tags={}), None, seed=0, seconds=1.0)
    assert told["releases"] == []
    assert told["kpi"] == told["intervals"] == {}
    assert "verdicts" not in told


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
