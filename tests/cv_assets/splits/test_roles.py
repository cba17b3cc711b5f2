"""Which frames train and which judge."""

from datetime import UTC, datetime, timedelta

import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from cv_assets.frames.schema import PreparedFrames, RawFrames
from cv_assets.labels.schema import BenchmarkFrames, LabelTable
from cv_assets.spec.training import Shares, Splits
from cv_assets.splits.leaks import leaks
from cv_assets.splits.roles import DEALT, assemble_splits, captures_with_groups, position, role_of
from cv_assets.splits.schema import SplitTable

NOON = datetime(2026, 3, 2, 12, tzinfo=UTC)
HALVES = Splits(group_by=("group",), salt="s", shares=Shares(train=0.5, val=0.2, test=0.3))
DIGEST = "pass-1"


def frame_id(number: int) -> str:
    return f"{number:064x}"


def raw(*captures: tuple[int, str | None], attributes: str = "{}") -> pl.DataFrame:
    """Captures as (content, group), a minute apart; capture c3 is the fourth."""
    rows = [
        {
            "capture_id": f"c{n}",
            "frame_id": frame_id(content),
            "group": group,
            "part": f"p{n}",
            "station": "line1",
            "captured_at": NOON + timedelta(minutes=n),
            "attributes": attributes,
        }
        for n, (content, group) in enumerate(captures)
    ]
    empty = RawFrames.create_empty()
    return pl.concat([empty, pl.DataFrame(rows, schema_overrides=empty.schema)], how="diagonal")


def prepared(raw_frames: pl.DataFrame, *, rejected=(), digest=DIGEST, pictures=None) -> pl.DataFrame:
    """Each capture after the pass; `pictures` names other prepared bytes than the frame's own."""
    rows = [
        {
            "capture_id": capture,
            "frame_id": frame,
            "delivery": "d1",
            "accepted": capture not in rejected,
            "path": None
            if capture in rejected
            else f"prepared_frames/d1/{(pictures or {}).get(capture, frame)}.png",
            "preparation": digest,
        }
        for capture, frame in raw_frames.select("capture_id", "frame_id").iter_rows()
    ]
    empty = PreparedFrames.create_empty()
    return pl.concat([empty, pl.DataFrame(rows, schema_overrides=empty.schema)], how="diagonal")


def labelled(*contents: int, status: str = "agreed") -> pl.DataFrame:
    label = "sound" if status == "agreed" else None
    rows = [{"frame_id": frame_id(one), "label": label, "status": status} for one in contents]
    empty = LabelTable.create_empty()
    return pl.concat([empty, pl.DataFrame(rows, schema_overrides=empty.schema)], how="diagonal")


def benchmark(**sets: tuple[int, ...]) -> pl.DataFrame:
    rows = [
        {"frame_id": frame_id(one), "set": name, "label": "defective"}
        for name, ids in sets.items()
        for one in ids
    ]
    empty = BenchmarkFrames.create_empty()
    return pl.concat([empty, pl.DataFrame(rows, schema_overrides=empty.schema)], how="diagonal")


def assemble(labels, judged, raw_frames, prepared_frames=None, splits=HALVES):
    prepared_frames = prepared(raw_frames) if prepared_frames is None else prepared_frames
    return assemble_splits(labels, judged, raw_frames, prepared_frames, splits, DIGEST)


def roles(rows: pl.DataFrame) -> dict[str, str]:
    return dict(rows.select("frame_id", "role").iter_rows())


NO_BENCHMARK = benchmark()
FEWER = settings(max_examples=40, deadline=None)


def test_the_position_of_a_group_is_the_hash_of_salt_and_name():
    # printf s/m1 | b2sum -l 64
    assert position("m1", "s") == pytest.approx(0xF5F63223AA51DD67 / 2**64)


@given(st.text(), st.text())
def test_every_group_lies_within_the_unit_interval(group, salt):
    assert 0 <= position(group, salt) < 1


def test_roles_get_about_their_shares_of_many_groups():
    dealt = [role_of(f"g{n}", "s", HALVES.shares) for n in range(5000)]
    assert dealt.count("train") / 5000 == pytest.approx(0.5, abs=0.025)
    assert dealt.count("val") / 5000 == pytest.approx(0.2, abs=0.02)
    assert dealt.count("test") / 5000 == pytest.approx(0.3, abs=0.02)


@given(st.text(), st.floats(0.01, 1), st.floats(0.01, 1))
def test_a_larger_share_of_training_only_moves_groups_into_it(group, one, other):
    small, large = sorted([one, other])
    if role_of(group, "s", Shares(train=small, test=1 - small)) == "train":
        assert role_of(group, "s", Shares(train=large, test=1 - large)) == "train"


@given(st.text())
def test_a_role_without_a_share_gets_no_group(group):
    assert role_of(group, "s", Shares(train=0.7, val=0.2, test=0.1)) in DEALT
    assert role_of(group, "s", Shares(train=1.0)) == "train"


NAMES = st.sampled_from([f"m{n}" for n in range(12)])
CAPTURES = st.lists(st.tuples(st.integers(0, 30), st.none() | NAMES), min_size=1, max_size=40)
CONTENTS = st.sets(st.integers(0, 30))


@FEWER
@given(st.lists(st.tuples(st.integers(0, 10**6), NAMES), min_size=2, unique_by=lambda one: one[0]), st.data())
def test_adding_data_moves_nothing(captures, data):
    before = captures[: data.draw(st.integers(1, len(captures) - 1))]
    contents = [content for content, _ in captures]
    first = assemble(labelled(*contents[: len(before)]), NO_BENCHMARK, raw(*before)).rows
    later = assemble(labelled(*contents), NO_BENCHMARK, raw(*captures)).rows
    assert roles(first).items() <= roles(later).items()


@FEWER
@given(CAPTURES, CONTENTS, CONTENTS, st.sets(st.integers(0, 39)))
def test_whatever_arrives_nothing_leaks_and_the_contract_holds(captures, labels, golden, twins):
    raw_frames = raw(*captures)
    # Captures of the same prepared bytes although their raw bytes may differ.
    pictures = {f"c{n}": "f" * 64 for n in twins}
    judged = benchmark(golden=tuple(golden))
    rows = assemble(labelled(*labels), judged, raw_frames, prepared(raw_frames, pictures=pictures)).rows
    assert leaks(rows, raw_frames, judged, HALVES.group_by).is_empty()
    SplitTable.validate(rows)
    delivered = {content for content, _ in captures}
    assert set(rows.filter(pl.col("role") == "golden")["frame_id"]) == {
        frame_id(n) for n in golden & delivered
    }


@FEWER
@given(CAPTURES, CONTENTS, CONTENTS)
def test_every_labelled_frame_is_used_or_counted_as_left_out(captures, labels, golden):
    done = assemble(labelled(*labels), benchmark(golden=tuple(golden)), raw(*captures))
    assert done.rows.height + int(done.left_out["frames"].sum()) == len(labels | golden)


@FEWER
@given(CAPTURES, CONTENTS, st.randoms())
def test_the_order_of_rows_does_not_matter(captures, labels, random):
    raw_frames, order = raw(*captures), list(range(len(captures)))
    random.shuffle(order)
    one = assemble(labelled(*labels), NO_BENCHMARK, raw_frames)
    other = assemble(labelled(*sorted(labels, reverse=True)), NO_BENCHMARK, raw_frames[order])
    assert one.rows.equals(other.rows)


def test_a_group_has_one_role():
    raw_frames = raw(*[(n, f"m{n % 7}") for n in range(70)])
    rows = assemble(labelled(*range(70)), NO_BENCHMARK, raw_frames).rows
    assert rows.height == 70
    assert rows.group_by("group").agg(pl.col("role").n_unique())["role"].to_list() == [1] * 7


def test_groups_are_made_of_columns_and_attributes():
    captures = captures_with_groups(
        raw((1, "m1"), attributes='{"family": "A"}'), ("station", "group", "family")
    )
    assert captures["group"].to_list() == ["line1/m1/A"]


def test_captures_that_leave_their_group_open_stay_with_their_part_and_are_not_lumped():
    captures = captures_with_groups(raw((1, None), (2, None), (3, "m1")), ("group",))
    assert captures["group"].to_list() == ["part:p0", "part:p1", "m1"]


def test_groups_that_share_a_picture_become_one():
    # Frame 1 was taken in m1 and again in m2; frames 4 and 5 of m2 and m3 have the same prepared bytes.
    raw_frames = raw((1, "m1"), (1, "m2"), (4, "m2"), (5, "m3"), (6, "m4"))
    pictures = {"c2": "a" * 64, "c3": "a" * 64}
    rows = assemble(
        labelled(1, 4, 5, 6), NO_BENCHMARK, raw_frames, prepared(raw_frames, pictures=pictures)
    ).rows
    assert rows["group"].to_list() == ["m1", "m1", "m1", "m4"]


def test_a_frame_is_its_first_accepted_capture():
    raw_frames = raw((1, "m1"), (1, "m1"), (1, "m1"))
    rows = assemble(labelled(1), NO_BENCHMARK, raw_frames, prepared(raw_frames, rejected=("c0",))).rows
    assert rows["capture_id"].to_list() == ["c1"]


def test_benchmark_frames_have_their_sets_role_and_their_verified_label():
    rows = assemble(
        labelled(1, 2), benchmark(golden=(1,), challenge=(3,)), raw((1, "m1"), (2, "m2"), (3, "m3"))
    ).rows
    assert rows.filter(pl.col("frame_id") != frame_id(2)).select("role", "label").rows() == [
        ("golden", "defective"),
        ("challenge", "defective"),
    ]


def test_a_label_of_a_frame_that_was_let_go_is_left_out_in_words():
    frames = raw((1, "a"), (2, "b"), (2, "c"))
    pictures = prepared(frames)
    gone = [pictures["path"][0], pictures["path"][1]]
    pictures = pictures.with_columns(
        path=pl.when(pl.col("capture_id") == "c2").then(pl.lit("prepared_frames/d2/2.png")).otherwise("path")
    )
    done = assemble_splits(labelled(1, 2), benchmark(), frames, pictures, HALVES, DIGEST, gone)
    assert done.rows["capture_id"].to_list() == ["c2"]
    assert done.left_out.rows() == [("its picture was let go, as the spec's retention says", 1)]


def test_other_frames_of_a_benchmark_group_are_left_out_and_counted():
    done = assemble(labelled(2, 3), benchmark(golden=(1,)), raw((1, "m1"), (2, "m1"), (3, "m2")))
    assert set(roles(done.rows)) == {frame_id(1), frame_id(3)}
    assert done.left_out.rows() == [("its group is kept for the benchmark", 1)]


def test_a_rejected_benchmark_frame_still_keeps_its_group_from_training():
    raw_frames = raw((1, "m1"), (2, "m1"))
    done = assemble(labelled(2), benchmark(golden=(1,)), raw_frames, prepared(raw_frames, rejected=("c0",)))
    assert done.rows.is_empty()
    assert dict(done.left_out.rows()) == {
        "the frame was rejected, or is not prepared yet": 1,
        "its group is kept for the benchmark": 1,
    }


def test_a_label_that_waits_for_review_is_not_used():
    done = assemble(labelled(1, status="review"), NO_BENCHMARK, raw((1, "m1")))
    assert done.left_out.rows() == [("its label waits for review", 1)]


def test_a_label_without_a_frame_is_counted():
    assert assemble(labelled(9), NO_BENCHMARK, raw((1, "m1"))).left_out.rows() == [
        ("no such frame was delivered", 1)
    ]


def test_nothing_labelled_is_an_empty_table():
    assert assemble(labelled(), NO_BENCHMARK, raw()).rows.is_empty()


def test_frames_of_another_preparation_are_refused_with_the_way_out():
    raw_frames = raw((1, "m1"), (2, "m2"))
    with pytest.raises(ValueError, match=r"2 of 2 frames.*materialize prepared_frames again for d1"):
        assemble(labelled(1, 2), NO_BENCHMARK, raw_frames, prepared(raw_frames, digest="older"))


def test_frames_of_another_preparation_that_nobody_labelled_do_not_matter():
    raw_frames = raw((1, "m1"), (2, "m2"))
    older = prepared(raw_frames[1:], digest="older")
    rows = assemble(labelled(1), NO_BENCHMARK, raw_frames, pl.concat([prepared(raw_frames[:1]), older])).rows
    assert rows.height == 1
