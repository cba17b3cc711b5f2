"""Which labels are fresh to an alarm."""

import pytest
from make_alarms import FIRST, by_id, label, measured, release, request, short, verdict, verified

DRIFT = [measured(f"d{n}", "drifted", hour=n) for n in (2, 3)]


@pytest.fixture
def fresh(spec):
    """How many labels are fresh to an alarm whose first delivery is d2, given captures that are all labelled."""

    def count(*captures, agreed="sound", **more):
        first = verdict("first", "d2", hour=2)
        names = sorted({one["part"] for one in captures})
        rows = by_id(
            short(spec),
            metrics=more.pop("metrics", DRIFT),
            captures=[first, *captures],
            label_table=[label(name, hour=-9, agreed=agreed) for name in names],
            releases=[FIRST],
            **more,
        )
        return rows["drift-r1"]["fresh_labels"]

    return count


def test_labels_count_from_the_first_delivery_on_as_captured_whenever_they_were_given(fresh):
    before, first, after = (verdict(f"p{n}", f"d{n}", hour=n) for n in (1, 2, 4))
    assert fresh(before, first, after) == 2


def test_deliveries_that_begin_at_once_are_told_apart_by_name(fresh):
    assert fresh(verdict("p", "d1", hour=2)) == 0
    assert fresh(verdict("p", "d22", hour=2)) == 1


def test_a_frame_with_two_captures_counts_once(fresh):
    again = {**verdict("p", "d3", hour=3), "capture_id": "again"}
    assert fresh(verdict("p", "d2", hour=2), again) == 1


def test_labels_on_which_people_do_not_agree_do_not_count(fresh):
    assert fresh(verdict("p", "d2", hour=2), agreed=None) == 0


def test_what_another_release_judged_does_not_count(fresh):
    assert fresh(verdict("p", "d4", hour=4, release_number=2)) == 0


def test_benchmark_frames_and_their_whole_group_do_not_count(fresh):
    golden = verdict("g", "d3", hour=3, group="golden module")
    same_group = verdict("p", "d4", hour=4, group="golden module")
    assert fresh(golden, same_group, verdict("q", "d4", hour=4), benchmark_frames=[verified("g")]) == 1


def test_rejected_frames_do_not_count(fresh):
    assert fresh(verdict("p", "d2", hour=2, prepared_path=None)) == 0


def test_labels_of_another_station_than_the_alarms_do_not_count(fresh):
    assert fresh(verdict("p", "e4", hour=4, station="line2")) == 0
    mixed = [verdict("p", "e4", hour=4), verdict("q", "e4", hour=4, station="line2")]
    assert fresh(*mixed) == 0
    unknown = [{**row, "station": None} for row in DRIFT]
    assert fresh(*mixed, metrics=unknown) == 2


def test_labels_that_a_training_of_the_alarm_saw_do_not_count(fresh):
    cells = verdict("p", "d2", hour=2), verdict("q", "d2", hour=2)
    assert fresh(*cells, seen=[("p", "sound")]) == 2
    asked = [request("drift-r1-1", "drift-r1", hour=5)]
    assert fresh(*cells, seen=[("p", "sound")], requests=asked) == 1


SECOND = {"release": "v1.1.0", "release_number": 2}
BOTH = [*DRIFT, *(measured(f"d{n}", "drifted", hour=n, **SECOND) for n in (30, 31))]


@pytest.fixture
def left_over(spec):
    """How many labels are fresh to the drift alarm of v1.1.0, trained for a person; all of `before` are labelled."""

    def count(*before, seen=(), metrics=BOTH):
        new = verdict("new", "d30", hour=30, **SECOND)
        rows = by_id(
            short(spec),
            metrics=metrics,
            captures=[new, *before],
            label_table=[label(one["part"], hour=19) for one in before],
            releases=[FIRST, release(2, "v1.1.0", "by-hand", hour=20)],
            requests=[request("by-hand", "a better head", hour=-2, reason="person")],
            seen=seen,
        )
        return rows["drift-r2"]["fresh_labels"]

    return count


def test_labels_of_an_earlier_drift_that_no_training_has_seen_count_for_the_next_release_too(left_over):
    before = [verdict("p", "d2", hour=2), verdict("q", "d3", hour=3)]
    assert left_over(*before) == 2
    assert left_over(*before, seen=[("p", "sound")]) == 1


@pytest.mark.parametrize(
    "other", [{"attributes": '{"product": "mono"}'}, {"station": "line2"}, {"release_number": None}]
)
def test_labels_of_another_drift_than_the_earlier_one_do_not(left_over, other):
    assert left_over(verdict("p", "d2", hour=2, **other)) == 0


def test_labels_of_deliveries_that_were_ordinary_do_not_either(left_over):
    assert left_over(verdict("p", "d1", hour=1)) == 0
