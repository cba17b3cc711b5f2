"""Whom drift sends to people, and how probable it was that a capture is seen."""

import pytest
from hypothesis import given
from hypothesis import strategies as st
from make_drift import NOON, metric_row, metrics
from make_review import capture, inspections, verdict

from cv_assets.drift.episodes import drifted_deliveries
from cv_assets.review.asked import asked, whole_deliveries

PASS, FAIL, DOUBT = "below_lower", "above_upper", "low_confidence"


def of(*rows, drifted=()):
    found = asked(inspections(*rows), drifted)
    return found.select("capture_id", "asked", "probability").rows()


def test_a_review_is_asked_about_for_sure_and_an_automatic_verdict_when_it_was_drawn():
    assert of(
        verdict(capture("a"), DOUBT), verdict(capture("b"), PASS), verdict(capture("c"), FAIL, audit=True)
    ) == [("a", True, 1), ("b", False, 0.1), ("c", True, 0.1)]


def test_all_of_a_drifted_delivery_is_asked_about_for_sure_drawn_or_not():
    rows = [
        verdict(capture("a", delivery="d1"), PASS),
        verdict(capture("b", delivery="d1"), FAIL, audit=True),
        verdict(capture("c", delivery="d2"), PASS),
    ]
    assert of(*rows, drifted={"d1"}) == [("a", True, 1), ("b", True, 1), ("c", False, 0.1)]


def test_where_nothing_was_inspected_nobody_is_asked():
    assert asked(inspections(), {"d1"}).is_empty()


def whole(*rows, patience=2, in_force=1):
    return whole_deliveries(metrics(*rows), patience, in_force).rows()


def test_each_delivery_of_a_drift_says_what_is_unusual_beside_which_other_and_since_when_it_is_known():
    rows = [metric_row(f"m{hour}", "drifted", hour=hour) for hour in (11, 12, 13)]
    known = NOON.replace(day=3, hour=1)  # m12 was measured
    looks = "its delivery looks unlike what v1.0.0 was trained on"
    assert whole(*rows) == [
        ("m11", known, f"{looks}, and so does m12 after it", True),
        ("m12", known, f"{looks}, as m11 before it", True),
        ("m13", known, f"{looks}, as m12 before it", True),
    ]


@pytest.mark.parametrize(("in_force", "asked_about"), [(1, True), (2, False), (None, False)])
def test_a_drift_is_still_asked_about_while_the_release_that_judged_it_is_in_force(in_force, asked_about):
    rows = [metric_row(f"m{hour}", "drifted", hour=hour) for hour in (11, 12)]
    assert [row[3] for row in whole(*rows, in_force=in_force)] == [asked_about, asked_about]


def test_what_comes_later_changes_no_words_of_earlier_deliveries():
    rows = [metric_row(f"m{hour}", "drifted", hour=hour) for hour in range(5)]
    assert whole(*rows)[:2] == whole(*rows[:2])


def test_where_one_delivery_is_enough_no_other_is_named():
    (row,) = whole(metric_row("m1", "drifted"), patience=1)
    assert row[2] == "its delivery looks unlike what v1.0.0 was trained on"


def test_a_slow_drift_says_since_when_deliveries_move():
    rows = [metric_row(f"m{hour}", "ok", hour=hour, rank=1.0) for hour in range(6)]
    found = whole(*rows)
    assert [row[0] for row in found] == [f"m{hour}" for hour in range(6)]
    assert {row[2] for row in found} == {
        "its delivery is part of a slow drift: since m0, deliveries move away from what v1.0.0 was trained on by small "
        "steps"
    }


@pytest.mark.parametrize("role", ["warns", "station"])
def test_what_only_warns_or_alarms_the_station_sends_nothing_to_people(role):
    assert whole(*(metric_row(f"m{hour}", "drifted", hour=hour, role=role) for hour in range(3))) == []


@given(
    st.lists(st.tuples(st.sampled_from(["ok", "drifted", "not_enough"]), st.sampled_from("ab")), max_size=12)
)
def test_they_are_the_drifted_deliveries_each_once(said):
    rows = metrics(
        *(metric_row(f"m{n}", one, hour=n, station=place, rank=0.9) for n, (one, place) in enumerate(said))
    )
    found = whole_deliveries(rows, 2, in_force=1)
    assert set(found["delivery"]) == drifted_deliveries(rows, 2)
    assert found["delivery"].n_unique() == found.height
    assert found["drifted_since"].null_count() == 0
