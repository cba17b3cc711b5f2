import json
import math
from datetime import datetime

import polars as pl
import pytest
from hypothesis import given
from hypothesis import strategies as st
from polars.testing import assert_frame_equal

from cv_assets.upkeep.changes import ROW, changes, difference

BEFORE = pl.DataFrame({"frame_id": ["a", "b", "c"], "label": ["good", "crack", None], "votes": [3, 2, 1]})


def told(before, after, key):
    """Each changed row as (key, change, columns, before, after)."""
    return [
        (
            *row[: len(key)],
            change,
            columns,
            old and json.loads(old),
            new and json.loads(new),
        )
        for *row, change, columns, old, new in changes(before, after, key).iter_rows()
    ]


def test_rows_are_added_changed_and_removed_by_key():
    after = pl.DataFrame({"frame_id": ["d", "b", "a"], "label": ["good", "good", "good"], "votes": [1, 2, 3]})
    assert told(BEFORE, after, ["frame_id"]) == [
        ("b", "changed", ["label"], {"label": "crack"}, {"label": "good"}),
        ("c", "removed", [], {"label": None, "votes": 1}, None),
        ("d", "added", [], None, {"label": "good", "votes": 1}),
    ]


def test_the_same_rows_in_another_order_are_no_change():
    assert changes(BEFORE, BEFORE.reverse(), ["frame_id"]).is_empty()


def test_a_table_that_was_not_there_is_all_added():
    assert [row[1] for row in told(pl.DataFrame(), BEFORE, ["frame_id"])] == ["added"] * 3
    assert [row[1] for row in told(BEFORE, pl.DataFrame(), ["frame_id"])] == ["removed"] * 3


def test_a_new_column_changes_the_rows_that_have_a_value_there():
    after = BEFORE.with_columns(pl.Series("station", ["s1", None, None], dtype=pl.String))
    assert told(BEFORE, after, ["frame_id"]) == [
        ("a", "changed", ["station"], {"station": None}, {"station": "s1"})
    ]
    found = difference("label_table", "", BEFORE, after, ["frame_id"])
    assert found.reshaped == ("station is new",)
    assert found.columns == {"station": 1}


def test_a_column_of_another_type_is_compared_as_text_and_named():
    after = BEFORE.with_columns(votes=pl.Series(["3", "2", "one"]))
    assert [row[:3] for row in told(BEFORE, after, ["frame_id"])] == [("c", "changed", ["votes"])]
    assert difference("label_table", "", BEFORE, after, ["frame_id"]).reshaped == (
        "votes: Int64 is now String",
    )


def test_two_nan_are_equal_and_a_nan_is_no_null():
    before = pl.DataFrame({"id": [1, 2], "score": [math.nan, math.nan]})
    after = pl.DataFrame({"id": [1, 2], "score": [math.nan, None]})
    assert [row[:3] for row in told(before, after, ["id"])] == [(2, "changed", ["score"])]


def test_nested_columns_are_compared_by_value():
    before = pl.DataFrame({"id": [1, 2], "boxes": [[[0, 1]], [[2, 3]]], "at": [{"x": 1}, {"x": 2}]})
    after = pl.DataFrame({"id": [1, 2], "boxes": [[[0, 1]], [[2, 4]]], "at": [{"x": 1}, {"x": 2}]})
    assert told(before, after, ["id"]) == [
        (2, "changed", ["boxes"], {"boxes": [[2, 3]]}, {"boxes": [[2, 4]]})
    ]


def test_volatile_columns_are_left_out():
    later = BEFORE.with_columns(made_at=pl.lit(datetime(2026, 3, 2)))  # noqa: DTZ001  as the tables hold it
    earlier = BEFORE.with_columns(made_at=pl.lit(datetime(2026, 3, 1)))  # noqa: DTZ001
    assert difference("label_table", "", earlier, later, ["frame_id"], ["made_at"]).is_empty


def test_without_a_key_whole_rows_come_and_go():
    after = pl.DataFrame({"frame_id": ["a", "b"], "label": ["good", "good"], "votes": [3, 2]})
    found = changes(BEFORE, after, [])
    assert found.columns[0] == ROW
    assert found["change"].sort().to_list() == ["added", "removed", "removed"]
    assert_frame_equal(changes(BEFORE, after, ["not_there"]), found)


def test_a_key_that_hides_what_is_said_is_refused():
    with pytest.raises(ValueError, match="a key has no column change"):
        changes(BEFORE, BEFORE, ["change"])


CELLS = {
    "word": (pl.String, st.none() | st.sampled_from(["", "x", "y"])),
    "score": (pl.Float64, st.none() | st.sampled_from([0.0, 1.5, math.nan, math.inf])),
    "boxes": (pl.List(pl.Int64), st.none() | st.lists(st.none() | st.integers(0, 2), max_size=2)),
    "at": (
        pl.Struct({"x": pl.Int64}),
        st.none() | st.fixed_dictionaries({"x": st.none() | st.integers(0, 1)}),
    ),
}


@st.composite
def tables(draw):
    """A table with unique keys (which may hold null), some of the columns, and its rows as a dictionary."""
    names = draw(st.lists(st.sampled_from(sorted(CELLS)), unique=True))
    keys = draw(
        st.lists(st.tuples(st.integers(0, 4), st.none() | st.sampled_from("ab")), unique=True, max_size=4)
    )
    rows = {key: {name: draw(CELLS[name][1]) for name in names} for key in keys}
    schema = {"number": pl.Int64, "letter": pl.String, **{name: CELLS[name][0] for name in names}}
    columns = {
        "number": [key[0] for key in rows],
        "letter": [key[1] for key in rows],
        **{name: [row[name] for row in rows.values()] for name in names},
    }
    return pl.DataFrame(columns, schema=schema), rows


def same(one, other):
    return one == other or (
        isinstance(one, float) and isinstance(other, float) and one != one and other != other
    )


@given(tables(), tables())
def test_it_says_what_a_naive_comparison_of_dictionaries_says(before, after):
    (old, old_rows), (new, new_rows) = before, after
    expected = {}
    for key in {*old_rows, *new_rows}:
        if key not in old_rows:
            expected[key] = ("added", set())
        elif key not in new_rows:
            expected[key] = ("removed", set())
        else:
            one, other = old_rows[key], new_rows[key]
            # A struct without a value is one whose fields have none.
            differs = {n for n in {*one, *other} if not same(one.get(n), other.get(n))}
            if differs:
                expected[key] = ("changed", differs)
    found = {
        (row["number"], row["letter"]): (row["change"], set(row["columns"]))
        for row in changes(old, new, ["number", "letter"]).iter_rows(named=True)
    }
    assert found == expected


def sorted_json(column):
    return [text and json.dumps(json.loads(text), sort_keys=True) for text in column]


@given(tables(), tables())
def test_what_came_one_way_goes_the_other(before, after):
    there, back = (
        changes(one, other, ["number", "letter"])
        for one, other in ((before[0], after[0]), (after[0], before[0]))
    )
    other_way = {"added": "removed", "removed": "added", "changed": "changed"}
    assert (
        there["change"].replace_strict(other_way, return_dtype=pl.String).to_list()
        == back["change"].to_list()
    )
    assert sorted_json(there["before"]) == sorted_json(back["after"])


@given(tables())
def test_a_table_does_not_differ_from_itself(table):
    frame, _ = table
    # Not `reverse`: it forgets the type of a list column without values.
    turned = frame.sort("number", "letter", descending=True)
    assert difference("any", "", frame, turned, ["number", "letter"]).is_empty
    assert difference("any", "", frame, turned, []).is_empty
