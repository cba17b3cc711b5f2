"""What the story tells at its end, as numbers and on the screen."""

import dataclasses
import io
from pathlib import Path

import polars as pl
import pytest
from make_story import alarm, figures_of, first_season, second_season, what_is_told
from rich.console import Console

from cv_assets.spec.schema import Spec
from demo.claims import Claim
from demo.screen import Screen
from demo.telling import Told, numbers, tell


@pytest.fixture
def told(spec: Spec, tmp_path: Path) -> Told:
    return what_is_told(spec, first_season(spec, tmp_path), second_season(spec, tmp_path))


CLAIM = Claim("water is wet", holds=False, seen="dry water")


def test_the_story_in_numbers_has_the_agreed_shape(told: Told):
    shown = numbers(told, [CLAIM], seed=0, seconds=123.45)
    intervals = shown.pop("intervals")
    assert shown == {
        "seed": 0,
        "seconds": 123.5,
        "frames": 4,
        "rejected": 0,
        "releases": [{"version": "v1.0.0", "candidate": "first", "trigger": "first_release"}],
        "retrainings": 0,
        "alarms": [],
        "kpi": {"season2": {"escape": 0.0, "overkill": 0.0, "precision": 1.0, "review": 0.4}},
        "estimates": {
            "season2": {
                "overkill": {
                    "value": 0.1, "low": 0.0, "high": 0.4, "verdict": "met", "deliveries": 1, "truth": 0.0,
                }
            }
        },
        "verdicts": {"season2": {"FAIL": 1, "PASS": 2, "REVIEW": 2}},
        "file_to_verdict_seconds": {"season2": {"p50": 6.0, "p95": 7.8}},
        "review": {
            "asked": {"season2": {"frame_rejected": 1, "low_confidence": 1, "random_audit": 1}},
            "queue": {"answered": 7},
        },
        "claims": [{"claim": "water is wet", "holds": False, "seen": "dry water"}],
    }  # fmt: skip
    low, high = intervals["season2"]["review"]
    assert low < 0.4 < high


def test_season_4_is_told_as_a_whole_and_by_product(told: Told, spec: Spec):
    seasons = {"season4": 5, "poly": 3, "mono": 7}
    figures = {name: figures_of(spec, 10, overkill) for name, overkill in seasons.items()}
    shown = numbers(dataclasses.replace(told, figures=figures), [], seed=0, seconds=1.0)
    kpi, intervals = shown["kpi"]["season4"], shown["intervals"]["season4"]
    assert (kpi["overkill"], kpi["poly"]["overkill"], kpi["mono"]["overkill"]) == (0.05, 0.03, 0.07)
    assert intervals["poly"]["overkill"][0] < 0.03 < intervals["poly"]["overkill"][1]


def test_an_alarm_is_told_with_what_closed_it(told: Told):
    closed = alarm("closed", "d4", "d5", closed_by="drift-r1-1")
    requests = pl.DataFrame({"reason": ["first_release", "drift"]})
    shown = numbers(dataclasses.replace(told, alarms=closed, requests=requests), [], seed=0, seconds=1.0)
    assert shown["retrainings"] == 1
    (one,) = shown["alarms"]
    assert (one["alarm_id"], one["state"], one["closed_by"], one["deliveries"]) == (
        "drift-r1", "closed", "drift-r1-1", 2,
    )  # fmt: skip


def test_without_a_release_there_are_no_figures(told: Told):
    refused = told.releases.with_columns(outcome=pl.lit("refused"), version=pl.lit(None, dtype=pl.String))
    nothing = told.inspections.clear()
    early = dataclasses.replace(
        told, releases=refused, figures={}, estimates={}, asked=(), inspections=nothing
    )
    shown = numbers(early, [], seed=0, seconds=1.0)
    assert shown["releases"] == []
    assert shown["kpi"] == shown["intervals"] == shown["verdicts"] == {}


def test_a_claim_that_does_not_hold_is_shown(told: Told):
    screen = Screen(Console(file=io.StringIO(), width=240))
    tell(screen, told, [CLAIM], numbers(told, [CLAIM], seed=0, seconds=1.0))
    output = screen.console.file.getvalue()
    assert "DOES NOT HOLD" in output
    assert "What first had to meet" in output
    assert "What the product itself makes of people's answers" in output
