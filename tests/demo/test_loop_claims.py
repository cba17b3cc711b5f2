"""Each claim about seasons 3 and 4 holds on a small sound loop and breaks when its one fact is taken away."""

import dataclasses
from pathlib import Path
from typing import Any

import polars as pl
import pytest
from make_story import alarm, figures_of, of_the_first, the_loop

from cv_assets.spec.schema import Spec
from demo.loop_claims import Loop, banded, limits, loop_claims

CALM = "season 2 opens no drift alarm"
WARNS = "the first poly delivery gives a drift warning, and no alarm yet"
ALARMS = "the second poly delivery makes it an alarm"
RETRAINS = "one alarm starts one retraining, and a sensor asks for it"
UNSEEN = "no frame of a golden or a later module trains the second release, and poly frames do"
MET = "the second release met every criterion, on mono and on poly, and lost no more against the first than it may"
CLOSED = "the retrained candidate is released as v1.1.0 and closes the alarm"
JUMPS = "season 3: overkill jumps by 0.15 or more"
FALLS = "season 4, later poly: overkill is 0.15 or more below season 3"
BACK = "season 4, later poly: overkill is back under its bound of 0.25"
HELD = "season 4, later poly: escapes are within the bound of 0.3"
MONO_HELD = "season 4, mono again: escapes are at most 0.1 above season 2"
MONO_BACK = "season 4, mono again: overkill is at most 0.1 above season 2"

STILL_CALM = "season 4 opens no drift alarm"


@pytest.fixture
def sound(spec: Spec, tmp_path: Path) -> Loop:
    return the_loop(spec, tmp_path)


def broken(outcome: Loop) -> list[str]:
    return [claim.words for claim in loop_claims(outcome) if not claim.holds]


def broken_with(sound: Loop, **changed: Any) -> list[str]:
    return broken(dataclasses.replace(sound, **changed))


def with_alarms(sound: Loop, **changed: pl.DataFrame) -> list[str]:
    return broken_with(sound, alarms=dataclasses.replace(sound.alarms, **changed))


def test_a_sound_loop_keeps_every_claim(sound: Loop):
    assert broken(sound) == []
    assert [claim.words for claim in loop_claims(sound)] == [
        CALM, WARNS, ALARMS, RETRAINS, UNSEEN, MET, CLOSED, JUMPS, FALLS, BACK, HELD, MONO_HELD, MONO_BACK, STILL_CALM,
    ]  # fmt: skip


def test_a_drift_alarm_in_season_2_breaks_the_claim_and_a_warning_does_not(sound: Loop):
    assert with_alarms(sound, season2=alarm("open", "d3")) == [CALM]
    assert with_alarms(sound, season2=alarm("closed", "d3", closed_by="it ended")) == [CALM]
    assert with_alarms(sound, season2=alarm("warning", "d3")) == []
    other = alarm("open", "d3").with_columns(kind=pl.lit("station"))
    assert with_alarms(sound, season2=other) == []


def test_the_first_delivery_must_warn_and_only_warn(sound: Loop):
    assert with_alarms(sound, warned=sound.alarms.warned.clear()) == [WARNS]
    assert with_alarms(sound, warned=alarm("open", "d4")) == [WARNS]
    assert with_alarms(sound, warned=alarm("warning", "d3")) == [WARNS]


def test_the_alarm_must_come_with_the_second_delivery(sound: Loop):
    assert with_alarms(sound, alarmed=alarm("open", "d4", "d6")) == []
    assert with_alarms(sound, end=alarm("closed", "d5", "d6", closed_by="drift-r1-1")) == [ALARMS]
    assert ALARMS in with_alarms(sound, alarmed=alarm("warning", "d4"))


def test_another_drift_alarm_in_season_4_breaks_the_claim_and_a_warning_does_not(sound: Loop):
    another = alarm("open", "d6", "d7").with_columns(alarm_id=pl.lit("drift-r2"))
    assert with_alarms(sound, end=pl.concat([sound.alarms.end, another])) == [STILL_CALM]
    warning = another.with_columns(state=pl.lit("warning"))
    assert with_alarms(sound, end=pl.concat([sound.alarms.end, warning])) == []


@pytest.mark.parametrize(
    "asked",
    [
        [],
        [("drift", "drift-r1", "retrain_on_drift"), ("drift", "drift-r1", "retrain_on_drift")],
        [("drift", "drift-r2", "retrain_on_drift")],
        [("drift", "drift-r1", "ml.engineer")],
        [("kpi", "drift-r1", "retrain_on_drift")],
    ],
    ids=["none", "two", "for another alarm", "by a person", "for another reason"],
)
def test_another_number_or_cause_of_retrainings_breaks_the_claim(
    sound: Loop, asked: list[tuple[str, str, str]]
):
    first = ("first_release", "enough labels", "ml.engineer")
    requests = pl.DataFrame([first, *asked], schema=["reason", "evidence", "requested_by"], orient="row")
    assert broken_with(sound, requests=requests) == [RETRAINS]


def test_an_unseen_module_that_trains_breaks_the_claim(sound: Loop):
    train = pl.DataFrame({"frame_id": list(sound.truth), "role": ["train"] * 3})
    assert broken_with(sound, split=train) == [UNSEEN]


def test_a_retraining_without_the_new_product_breaks_the_claim(sound: Loop):
    assert broken_with(sound, split=sound.split.clear()) == [UNSEEN]


def test_a_missed_or_missing_criterion_breaks_the_claim(sound: Loop):
    assert broken_with(sound, decision=of_the_first("passed", False)(sound.decision)) == [MET]
    assert broken_with(sound, decision=of_the_first("measured", None)(sound.decision)) == [MET]
    alone = sound.decision.filter(pl.col("kind") != "regression")
    assert broken_with(sound, decision=alone) == [MET]


def test_an_alarm_that_its_release_does_not_close_breaks_the_claim(sound: Loop):
    assert with_alarms(sound, end=alarm("open", "d4", "d5")) == [CLOSED]
    assert with_alarms(sound, end=alarm("closed", "d4", "d5", closed_by="another")) == [CLOSED]
    assert broken_with(sound, releases=sound.releases.head(1)) == [CLOSED]


@pytest.mark.parametrize(
    ("season", "escape", "overkill", "words"),
    [
        ("season3", 1, 18, [JUMPS]),
        ("poly", 8, 26, [BACK]),
        ("poly", 8, 60, [FALLS, BACK]),
        ("poly", 31, 3, [HELD]),
        ("mono", 20, 4, [MONO_HELD]),
        ("mono", 9, 16, [MONO_BACK]),
    ],
)
def test_a_figure_outside_its_band_breaks_the_claim(
    sound: Loop, spec: Spec, season: str, escape: int, overkill: int, words: list[str]
):
    figures = {**sound.figures, season: figures_of(spec, escape, overkill)}
    assert [claim.words for claim in banded(figures, spec) if not claim.holds] == words


def test_the_bounds_are_those_of_the_spec(spec: Spec):
    assert limits(spec) == {"overkill": 0.25, "escape": 0.3}
