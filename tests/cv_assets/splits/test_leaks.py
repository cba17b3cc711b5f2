"""Leaks are found in tables that were made wrongly on purpose."""

import polars as pl
import pytest

from cv_assets.splits.leaks import BENCHMARK, FRAME, GROUP, PICTURE, leaks


def rows(*frames: tuple[str, str, str]) -> pl.DataFrame:
    """Frames as (frame, group, role), each with prepared bytes of its own."""
    table = pl.DataFrame(frames, schema=["frame_id", "group", "role"], orient="row")
    return table.with_columns(path=pl.format("prepared_frames/d1/{}.png", "frame_id"))


def raw(*captures: tuple[str, str]) -> pl.DataFrame:
    table = pl.DataFrame(captures, schema=["frame_id", "group"], orient="row")
    return table.with_columns(
        capture_id="frame_id",
        captured_at=pl.lit(0),
        attributes=pl.lit("{}"),
        part="frame_id",
    )


def found(table: pl.DataFrame, raw_frames: pl.DataFrame, *judged: str) -> list[tuple[str, str, str]]:
    benchmark = pl.DataFrame({"frame_id": list(judged)}, schema={"frame_id": pl.String})
    return leaks(table, raw_frames, benchmark, ["group"]).select("leak", "what", "roles").rows()


def test_groups_apart_are_no_leak():
    assert found(rows(("a", "m1", "train"), ("b", "m2", "test")), raw(("a", "m1"), ("b", "m2"))) == []


@pytest.mark.parametrize("role", ["val", "test", "golden"])
def test_a_torn_group_is_found(role):
    torn = found(rows(("a", "m1", "train"), ("b", "m1", role)), raw(("a", "m1"), ("b", "m1")))
    assert torn == [(GROUP, "m1", ", ".join(sorted(["train", role])))]


def test_a_torn_group_is_found_by_the_captures_whatever_the_table_calls_it():
    captures = raw(("a", "m1"), ("b", "m1"))
    assert found(rows(("a", "x", "train"), ("b", "y", "test")), captures) == [(GROUP, "m1", "test, train")]


def test_a_frame_that_was_taken_in_another_groups_part_of_the_line_is_found():
    captures = raw(("a", "m1"), ("a", "m2"), ("b", "m2"))
    assert found(rows(("a", "m1", "train"), ("b", "m2", "test")), captures) == [(GROUP, "m2", "test, train")]


def test_the_same_bytes_in_two_roles_are_found():
    twice = rows(("a", "m1", "train"), ("a", "m2", "test"))
    assert (FRAME, "a", "test, train") in found(twice, raw(("a", "m1"), ("a", "m2")))


def test_the_same_prepared_bytes_in_two_roles_are_found():
    table = rows(("a", "m1", "train"), ("b", "m2", "test"))
    table = table.with_columns(path=pl.format("prepared_frames/{}/same.png", "group"))
    assert found(table, raw(("a", "m1"), ("b", "m2"))) == [(PICTURE, "prepared:same", "test, train")]


def test_a_benchmark_group_that_trains_is_found_even_if_its_benchmark_frame_is_not_in_the_table():
    captures = raw(("a", "m1"), ("judge", "m1"))
    assert found(rows(("a", "m1", "train")), captures, "judge") == [(BENCHMARK, "m1", "train")]


def test_golden_and_challenge_frames_may_share_a_group():
    captures = raw(("a", "m1"), ("b", "m1"))
    assert found(rows(("a", "m1", "golden"), ("b", "m1", "challenge")), captures, "a", "b") == []
