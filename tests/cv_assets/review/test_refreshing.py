"""When the queue is made again: what changed since it was made, and what came due."""

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
    assert Changes(tables={"label_table": "c2"})
    assert Changes(due_at=NOON)
    assert Changes(worklist_is_stale=True)


def test_the_same_changes_have_the_same_key_and_any_other_has_another():
    known = Changes("c1", ("d1", "d2"), {"label_table": "c2"}, minutes(1))
    assert known.run_key == Changes("c1", ("d2", "d1"), {"label_table": "c2"}, minutes(2)).run_key
    others = [
        Changes("c9", ("d1", "d2"), {"label_table": "c2"}, minutes(1)),
        Changes("c1", ("d1",), {"label_table": "c2"}, minutes(1)),
        Changes("c1", ("d1", "d2"), {"label_table": "c3"}, minutes(1)),
        Changes("c1", ("d1", "d2"), {"benchmark_frames": "c2"}, minutes(1)),
        Changes("c1", ("d1", "d2"), {"label_table": "c2"}, minutes(60)),
        Changes("c1", ("d1", "d2"), {"label_table": "c2"}),
        Changes("c1", ("d1", "d2"), {"label_table": "c2"}, minutes(1), worklist_is_stale=True),
    ]
    assert len({known.run_key, *(other.run_key for other in others)}) == 1 + len(others)


def test_the_reason_is_told_in_words():
    assert Changes(inspected=("d1",)).why == "1 delivery was inspected (d1)"
    assert Changes(worklist_is_stale=True).why == "the worklist does not ask what the queue does"
    changes = Changes(
        "c1",
        ("d1", "d2", "d3", "d4"),
        {"label_table": "c", "benchmark_frames": "c", "project_spec": "c"},
        NOON,
    )
    assert changes.why == (
        "4 deliveries were inspected (d1, d2, d3, …); the labels changed; the benchmark changed; the spec's section "
        "review changed; an item came due at 2026-03-02 12:00 UTC without an answer"
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
