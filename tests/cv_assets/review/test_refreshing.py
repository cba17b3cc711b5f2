"""When the queue is made again: what changed since it was made, and what came due."""

from dataclasses import replace
from datetime import timedelta

import polars as pl
import pytest
from make_review import NOON, minutes

from cv_assets.review.refreshing import Changes, came_due, standing


def queue(*items):
    """State and minute of the due time of each item."""
    rows = [(state, minutes(at)) for state, at in items]
    return pl.DataFrame(rows, schema={"state": pl.String, "due_at": pl.Datetime("us", "UTC")}, orient="row")


def test_nothing_changed_is_no_reason():
    assert not Changes(made_by="c1")
    assert Changes(inspected=("d1",))
    assert Changes(measured=("d1",))
    assert Changes(requested=("drift-r1-1",))
    assert Changes(sections=("kpis",))
    assert Changes(tables={"label_table": "c2"})
    assert Changes(due_at=NOON)
    assert Changes(worklist_is_stale=True)
    assert Changes(left_behind=("alarms",))


def test_the_same_changes_have_the_same_key_and_any_other_has_another():
    known = Changes("c1", ("d1", "d2"), ("d1",), ("r1",), ("kpis",), {"label_table": "c2"}, minutes(1))
    again = replace(known, inspected=("d2", "d1"), due_at=minutes(2))
    assert known.run_key == again.run_key
    others = [
        replace(known, made_by="c9"),
        replace(known, inspected=("d1",)),
        replace(known, measured=("d1", "d2")),
        replace(known, measured=(), requested=("d1", "r1")),
        replace(known, requested=()),
        replace(known, sections=("kpis", "review")),
        replace(known, tables={"label_table": "c3"}),
        replace(known, tables={"benchmark_frames": "c2"}),
        replace(known, due_at=minutes(60)),
        replace(known, due_at=None),
        Changes("c1"),
        Changes("c1", worklist_is_stale=True),
        Changes("c1", left_behind=("alarms",)),
    ]
    assert len({known.run_key, *(other.run_key for other in others)}) == 1 + len(others)


def test_what_a_run_for_changed_inputs_makes_anyway_is_no_other_change():
    changed = Changes("c1", inspected=("d1",), worklist_is_stale=True, left_behind=("alarms",))
    assert changed.run_key == Changes("c1", inspected=("d1",)).run_key
    assert changed.not_made == Changes("c1", worklist_is_stale=True, left_behind=("alarms",))
    assert not Changes("c1", inspected=("d1",)).not_made


def test_the_reason_is_told_in_words():
    assert Changes(inspected=("d1",)).why == "1 delivery was inspected (d1)"
    assert Changes(worklist_is_stale=True).why == "the worklist does not ask what the queue does"
    assert Changes(left_behind=("kpis", "alarms")).why == "not made with the queue: kpis and alarms"
    changes = Changes(
        "c1",
        inspected=("d1", "d2", "d3", "d4"),
        measured=("d1",),
        requested=("drift-r1-1",),
        sections=("review", "kpis"),
        tables=dict.fromkeys(("label_table", "benchmark_frames", "releases", "drift_metrics"), "c"),
        due_at=NOON,
    )
    assert changes.why == (
        "4 deliveries were inspected (d1, d2, d3, …); 1 delivery was measured for drift (d1); the labels changed; the "
        "benchmark changed; the releases changed; a training was requested (drift-r1-1); the spec changed (review, "
        "kpis); an item came due at 2026-03-02 12:00 UTC without an answer"
    )


@pytest.mark.parametrize(
    ("items", "came"),
    [
        ([], None),
        ([("open", -1)], None),  # the queue as it was published shows it
        ([("open", 5), ("unresolved", 6), ("open", 20)], minutes(6)),
        ([("answered", 5)], None),
    ],
)
def test_only_what_came_due_without_an_answer_since_the_publication_counts(items, came):
    assert came_due(queue(*items), published_at=NOON, now=minutes(10)) == came


def test_how_the_queue_stands_is_told_in_words():
    assert standing(queue(), NOON) == "no item waits, 0 answered"
    assert standing(queue(("answered", 5)), NOON) == "no item waits, 1 answered"
    tomorrow = timedelta(days=1) // timedelta(minutes=1)
    items = queue(("open", -1), ("unresolved", 0), ("open", 5), ("open", tomorrow), ("answered", -1))
    assert standing(items, NOON) == "3 open, 1 unresolved, 2 overdue, 1 more due today"
