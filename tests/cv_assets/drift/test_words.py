from datetime import UTC, datetime

import polars as pl
import pytest

from cv_assets.drift.episodes import Episode
from cv_assets.drift.schema import DriftMetrics
from cv_assets.drift.words import around, drift_said, station_said
from cv_assets.words import Said

NOON = datetime(2026, 3, 2, 12, tzinfo=UTC)


def _row(statistic: str, verdict: str, why: str = "as usual.", **changed: object) -> dict[str, object]:
    roles = {"novelty": "alarms", "rejected": "station", "repeated": "station"}
    return {
        "delivery": "d2",
        "statistic": statistic,
        "role": roles.get(statistic.partition(".")[0], "warns"),
        "station": "el1",
        "release": "v1.0.0",
        "psi": 3.0 if verdict == "drifted" else 0.5,
        "psi_level": 1.0,
        "verdict": verdict,
        "why": why,
        **changed,
    }


def _rows(*rows: dict[str, object]) -> pl.DataFrame:
    schema = DriftMetrics.create_empty().schema
    return pl.DataFrame([{name: row.get(name) for name in schema} for row in rows], schema=schema)


def _episode(*deliveries: str, **changed: object) -> Episode:
    plain = {
        "statistic": "novelty",
        "role": "alarms",
        "station": "el1",
        "release": "v1.0.0",
        "release_number": 1,
        "confirmed": len(deliveries) > 1,
        "confirmed_at": NOON if len(deliveries) > 1 else None,
        "standing": True,
    }
    return Episode(**{**plain, **changed}, deliveries=deliveries)


def test_an_ordinary_delivery_passes_with_the_figures_of_its_novelty():
    rows = _rows(_row("decoded.focus", "ok"), _row("novelty", "ok", "PSI 0.5 is within its level 1."))
    assert drift_said(rows, [], 2) == Said(
        True,
        "None of 2 statistics drifted from what v1.0.0 was trained on. novelty: PSI 0.5 is within its level 1.",
    )


def test_a_first_drifted_delivery_warns_and_says_what_opens_an_alarm():
    rows = _rows(_row("decoded.focus", "ok"), _row("novelty", "drifted", "PSI 3 is beyond its level 1."))
    assert drift_said(rows, [_episode("d2")], 2) == Said(
        False,
        "1 of 2 statistics drifted from what v1.0.0 was trained on. novelty: PSI 3 is beyond its level 1. This is a "
        "warning (1 so far; an alarm takes 2 in a row or 3 of 5); nobody is asked yet.",
    )


def test_drifted_deliveries_with_an_ordinary_one_between_them_are_no_two_in_a_row():
    said = drift_said(_rows(_row("novelty", "drifted")), [_episode("d0", "d2", confirmed=False)], 2)
    assert "This is a warning (2 so far; an alarm takes 2 in a row or 3 of 5)" in said.why


def test_a_confirmed_drift_says_that_people_are_asked_and_what_a_training_waits_for():
    said = drift_said(_rows(_row("novelty", "drifted")), [_episode("d1", "d2")], 2)
    assert not said.passed
    assert said.why.endswith(
        "A drift alarm covers 2 deliveries, this one among them. All their captures are on the worklist; a retraining "
        "waits for those labels."
    )


def test_what_only_warns_is_told_and_fails_nothing():
    rows = _rows(_row("novelty", "ok"), _row("decoded.focus", "drifted", "PSI 3 is beyond its level 1."))
    said = drift_said(rows, [_episode("d2", statistic="decoded.focus", role="warns")], 2)
    assert said == Said(
        True,
        "1 of 2 statistics drifted from what v1.0.0 was trained on. decoded.focus: PSI 3 is beyond its level 1. None "
        "of these opens an alarm: see whether light, focus or product changed.",
    )


def test_the_novelty_is_told_first_and_then_what_changed_most():
    rows = _rows(
        _row("decoded.contrast", "drifted", psi=2.0),
        _row("decoded.entropy", "drifted", psi=9.0),
        _row("decoded.focus", "drifted", psi=3.0),
        _row("novelty", "drifted", psi=1.5),
    )
    said = drift_said(rows, [], 2).why
    assert "novelty: as usual; decoded.entropy: as usual; decoded.focus: as usual; and 1 more." in said


def test_slow_drift_fails_though_every_statistic_is_within_its_level():
    slow = _episode("d0", "d1", "d2", slow=True)
    said = drift_said(_rows(_row("novelty", "ok")), [slow], 2)
    assert not said.passed
    assert "novelty drifts slowly: 3 deliveries since d0 each differ a little, together too much." in said.why
    assert "A drift alarm covers 3 deliveries" in said.why


def test_a_slow_and_a_short_drift_at_once_are_told_together():
    both = [_episode("d2"), _episode("d0", "d1", "d2", slow=True)]
    said = drift_said(_rows(_row("novelty", "drifted")), both, 2)
    assert "A drift alarm covers 3 deliveries" in said.why


@pytest.mark.parametrize(
    ("verdict", "told"),
    [
        ("not_enough", "Nothing is said of it, and no alarm can come of it."),
        ("not_calibrated", "Train a candidate on more deliveries; until then people judge by the figures."),
        (
            "no_reference",
            "Release a candidate that has a drift_reference; it measures the deliveries that come after it.",
        ),
    ],
)
def test_what_is_not_known_says_so_and_fails_nothing(verdict, told):
    """Of one delivery it is no news; what the release lacks is told once, by the alarms."""
    rows = _rows(_row("decoded.focus", verdict), _row("novelty", verdict, "29 frames have a value."))
    assert drift_said(rows, [], 2) == Said(
        True,
        f"Not known: 29 frames have a value. {told}",
        known=False,
    )


def test_plain_statistics_alone_do_not_say_whether_it_drifted():
    rows = _rows(
        _row("decoded.focus", "ok"),
        _row("novelty", "not_enough", "2 frames have a value."),
        _row("prepared.focus", "not_enough"),
    )
    assert drift_said(rows, [], 2) == Said(
        True,
        "Not known: 2 frames have a value. Nothing is said of it, and no alarm can come of it. None of 1 statistics "
        "drifted from what v1.0.0 was trained on. Without a verdict: novelty and prepared.focus; the table says why.",
        known=False,
    )


def test_an_empty_delivery_has_nothing_to_measure():
    assert drift_said(_rows(), [], 2) == Said(True, "No capture came: there is nothing to measure.")
    assert station_said(_rows()) == Said(True, "No capture came: there is nothing to measure.")


def test_a_sound_station_passes_with_its_shares():
    rows = _rows(
        _row("rejected", "ok", "1 of 40 captures (2.5 %), within the 5 % of the spec."),
        _row("rejected.low_focus", "ok"),
        _row("repeated", "ok", "0 of 40 captures (0 %), within the 5 % of the spec."),
    )
    assert station_said(rows) == Said(
        True,
        "rejected: 1 of 40 captures (2.5 %), within the 5 % of the spec; repeated: 0 of 40 captures (0 %), within the "
        "5 % of the spec.",
    )


def test_a_station_that_loses_frames_says_where_to_look_and_what_never_starts():
    rows = _rows(_row("rejected", "drifted", "9 of 40 captures."), _row("repeated", "ok"))
    said = station_said(rows)
    assert said == Said(
        False,
        "rejected: 9 of 40 captures. An alarm about the station (el1) follows, which never starts a training: look at "
        "it, at light, focus and aim.",
    )


def test_a_frozen_camera_is_told_as_one():
    rows = _rows(_row("rejected", "ok"), _row("repeated", "drifted", "39 of 40 captures.", station=None))
    assert "(unknown or mixed)" in station_said(rows).why
    assert station_said(rows).why.endswith("look at it, at whether its camera stands still.")


def test_a_station_of_too_few_captures_is_not_known_to_be_sound():
    rows = _rows(_row("rejected", "not_enough", "2 captures came; a verdict needs 30."))
    assert station_said(rows) == Said(
        True,
        "Not known: 2 captures came; a verdict needs 30.",
        known=False,
    )


def test_a_delivery_belongs_to_the_episodes_of_its_frames_that_hold_it():
    mine, other = _episode("d1", "d2"), _episode("d1")
    station = _episode("d2", statistic="rejected", role="station")
    assert around([mine, other, station], "d2") == [mine]
