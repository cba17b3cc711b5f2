"""The benchmark grows by verified statements only, and nothing in it ever changes."""

from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from make_labels import accepted, frame, raw_frames, statement

from cv_assets.labels.benchmark import (
    CONTRADICTED,
    DIFFERS,
    NO_CLASS,
    TAKEN_BACK,
    extend_benchmark,
    version_of,
)
from cv_assets.labels.schema import BenchmarkFrames

FRAMES = raw_frames("a", "b", "c")
NOTHING_YET = BenchmarkFrames.create_empty()


def golden(image, *classes, who="ann", **values):
    return statement(image, who, *classes, **{"benchmark": "golden", "verified_by": "quality.lead", **values})


def extend(current, *statements):
    frames, set_aside = extend_benchmark(current, accepted(*statements, frames=FRAMES), "sound")
    return BenchmarkFrames.validate(frames), set_aside


def test_a_verified_statement_adds_its_frame_with_who_and_when():
    frames, set_aside = extend(NOTHING_YET, golden("a.png", "defective", minute=3))
    row = frames.row(0, named=True)
    assert (row["frame_id"], row["set"], row["label"], row["version"]) == (
        frame("a"),
        "golden",
        "defective",
        1,
    )
    assert row["verified_by"] == "quality.lead"
    assert row["annotation_id"] == "label_studio/cells/ann@a.png/3"
    assert set_aside.is_empty()


def test_each_extension_is_one_version_and_one_that_adds_nothing_is_none():
    first, _ = extend(NOTHING_YET, golden("a.png", "sound"), golden("b.png", "sound"))
    again, _ = extend(first, golden("a.png", "sound"), golden("b.png", "sound"))
    second, _ = extend(first, golden("a.png", "sound"), golden("c.png", "sound", benchmark="challenge"))
    assert first["version"].to_list() == [1, 1]
    assert again.equals(first)
    assert second["version"].to_list() == [1, 1, 2]
    assert [version_of(frames) for frames in (NOTHING_YET, first, second)] == [0, 1, 2]


def test_votes_never_touch_it():
    assert extend(NOTHING_YET, statement("a.png", "ann", "sound"))[0].is_empty()


def test_a_contradicting_later_statement_is_reported_and_not_applied():
    first, _ = extend(NOTHING_YET, golden("a.png", "sound"))
    for later in (
        golden("a.png", "defective", minute=1),
        golden("a.png", "sound", minute=1, benchmark="challenge"),
    ):
        frames, set_aside = extend(first, later)
        assert frames.equals(first)
        assert set_aside["why"].to_list() == [DIFFERS]


def test_a_statement_taken_back_later_is_reported_and_its_frame_stays():
    first, _ = extend(NOTHING_YET, golden("a.png", "sound"))
    frames, set_aside = extend(first, golden("a.png", "sound"), golden("a.png", minute=1, retracted=True))
    assert frames.equals(first)
    assert set_aside["why"].to_list() == [TAKEN_BACK]


def test_a_statement_taken_back_before_it_joined_adds_nothing():
    frames, set_aside = extend(
        NOTHING_YET, golden("a.png", "sound"), golden("a.png", minute=1, retracted=True)
    )
    assert (frames.height, set_aside.height) == (0, 0)


def test_a_doubtful_or_contradicted_new_frame_does_not_join():
    said = [
        golden("a.png", "sound", uncertain=True),
        golden("b.png", "sound", "defective"),
        golden("c.png", "sound"),
        golden("c.png", "defective", who="bob"),
    ]
    frames, set_aside = extend(NOTHING_YET, *said)
    assert frames.is_empty()
    assert sorted(set_aside["why"]) == sorted([NO_CLASS, NO_CLASS, CONTRADICTED, CONTRADICTED])


exports = st.lists(
    st.builds(
        lambda image, who, label, minute, uncertain, retracted, kind: golden(
            image, label, who=who, minute=minute, uncertain=uncertain, retracted=retracted, benchmark=kind
        ),
        st.sampled_from(["a.png", "b.png", "c.png"]),
        st.sampled_from(["ann", "bob"]),
        st.sampled_from(["sound", "defective"]),
        st.integers(0, 3),
        st.booleans(),
        st.booleans(),
        st.sampled_from(["golden", "challenge"]),
    ),
    max_size=5,
)


@settings(max_examples=25, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(st.lists(exports, max_size=4))
def test_whatever_arrives_earlier_frames_stay_as_they_were(arrivals):
    current, said = NOTHING_YET, []
    for export in arrivals:
        said += export
        frames, _ = extend(current, *said)
        assert frames.head(current.height).equals(current)
        assert set(frames["version"][current.height :]) <= {version_of(current) + 1}
        current = frames
