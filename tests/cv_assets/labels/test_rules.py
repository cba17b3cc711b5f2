"""Row rules: which annotations count, which are diverted and why, which wait."""

import json
import math
from datetime import timedelta
from urllib.parse import quote

import polars as pl
import pytest
from hypothesis import given
from hypothesis import strategies as st
from make_labels import RECEIVED, annotations, coco, demo_spec, frame, raw_frames, statement

from cv_assets.labels.exports import read_export
from cv_assets.labels.rules import check_annotations, rejected, resolve_frames
from cv_assets.labels.schema import RejectedAnnotations

SPEC = demo_spec()
FRAMES = raw_frames("a", "b")


def broken_rules(*statements, frames=FRAMES):
    return check_annotations(annotations(*statements), frames, SPEC)["broken_rule"].to_list()


def test_a_proper_statement_breaks_no_rule():
    assert broken_rules(statement("a.png", "ann", "sound"), statement("a.png", "bob")) == [None, None]


@pytest.mark.parametrize(
    ("rule", "values"),
    [
        ("values_are_readable", {"unread": "bbox=[1]"}),
        ("tool_is_named", {"tool": None}),
        ("image_is_named", {"image": None}),
        ("annotator_is_named", {"annotator": None}),
        ("time_is_given", {"annotated_at": None}),
        ("time_has_passed", {"annotated_at": RECEIVED + timedelta(hours=1)}),
        ("revision_is_positive", {"revision": -1}),
        ("duration_is_positive", {"seconds": -0.5}),
        ("guideline_is_known", {"guideline": "0"}),
        ("guideline_is_known", {"guideline": None}),
        ("benchmark_is_known", {"benchmark": "silver", "verified_by": "eve"}),
        ("benchmark_is_verified", {"benchmark": "golden"}),
    ],
)
def test_each_bad_value_names_the_rule_it_broke(rule, values):
    assert broken_rules(statement("a.png", "ann", "sound") | values) == [rule]


@pytest.mark.parametrize(
    ("rule", "label", "box"),
    [
        ("class_is_given", None, None),
        ("class_is_known", "scratch", None),
        ("box_has_area", "defective", (5, 5, 5, 9)),
        ("box_has_area", "defective", (9, 5, 5, 9)),
        ("box_is_in_frame", "defective", (-1, 5, 5, 9)),
        ("box_is_in_frame", "defective", (290, 5, 301, 9)),
        (None, "defective", (0, 0, 300, 300.00001)),
    ],
)
def test_each_bad_object_names_the_rule_it_broke(rule, label, box):
    assert broken_rules(statement("a.png", "ann", label, boxes=[box])) == [rule]


@pytest.mark.parametrize(
    ("rule", "values"),
    [
        ("class_is_known", {"category_id": 99}),
        ("class_is_known", {"category_id": "0"}),
        ("values_are_readable", {"image_id": 99}),
        ("values_are_readable", {"image_id": math.nan}),
        ("values_are_readable", {"bbox": [math.nan, 0, 5, 5]}),
        ("values_are_readable", {"bbox": [0, 0, math.inf, 5]}),
        ("values_are_readable", {"bbox": "0 0 5 5"}),
        ("box_has_area", {"bbox": [5, 5, -3, 2]}),
        ("box_is_in_frame", {"bbox": [290, 0, 11, 9]}),
        ("box_is_in_frame", {"bbox": [1e300, 1e300, 1e300, 1e300]}),
    ],
)
def test_a_bad_annotation_of_an_export_is_one_diverted_row_and_its_neighbour_counts(rule, values):
    document = json.loads(coco([("a.png", "ann", "sound"), ("b.png", "bob", "sound")]))
    document["annotations"][0] |= values
    content = json.dumps(document).encode()
    rows = read_export(content, file="votes.json", export="e1", evidence="e", received_at=RECEIVED)
    assert check_annotations(rows, FRAMES, SPEC)["broken_rule"].to_list() == [rule, None]


def test_one_bad_object_diverts_its_whole_statement():
    good, bad = (1, 1, 5, 5), (1, 1, 1, 5)
    assert broken_rules(statement("a.png", "ann", "sound", "sound", boxes=[good, bad])) == ["box_has_area"]


def test_the_first_broken_rule_is_named():
    assert broken_rules(statement("a.png", None, "scratch")) == ["annotator_is_named"]


def test_the_spec_says_how_far_clocks_and_boxes_may_be_off():
    late = statement("a.png", "ann", "sound") | {"annotated_at": RECEIVED + timedelta(minutes=6)}
    wide = statement("b.png", "ann", "defective", boxes=[(-2, 0, 302, 300)])
    assert broken_rules(late, wide) == ["time_has_passed", "box_is_in_frame"]
    tolerances = {"clock_tolerance_minutes": 7.0, "box_tolerance_pixels": 2.0}
    lenient = SPEC.model_copy(update={"labels": SPEC.labels.model_copy(update=tolerances)})
    rows = annotations(late, wide)
    assert check_annotations(rows, FRAMES, lenient)["broken_rule"].to_list() == [None, None]


def test_older_guidelines_count_when_the_spec_says_so():
    older = SPEC.model_copy(update={"labels": SPEC.labels.model_copy(update={"guidelines": ("0",)})})
    rows = annotations(statement("a.png", "ann", "sound", guideline="0"))
    assert check_annotations(rows, FRAMES, older)["broken_rule"].to_list() == [None]


def test_a_clock_may_be_ahead_as_far_as_the_spec_says():
    exact = SPEC.model_copy(update={"labels": SPEC.labels.model_copy(update={"clock_tolerance_minutes": 0})})
    rows = annotations(statement("a.png", "ann", "sound", annotated_at=RECEIVED + timedelta(minutes=5)))
    assert check_annotations(rows, FRAMES, SPEC)["broken_rule"].to_list() == [None]
    assert check_annotations(rows, FRAMES, exact)["broken_rule"].to_list() == ["time_has_passed"]


def test_a_repeated_statement_breaks_nothing():
    said = statement("a.png", "ann", "sound")
    assert broken_rules(said, said | {"export": "e2", "seconds": 9.0}) == [None, None]


def test_of_two_contradicting_statements_of_one_id_neither_counts():
    said, other = statement("a.png", "ann", "sound"), statement("a.png", "ann", "defective", export="e2")
    fine = statement("a.png", "bob", "sound")
    assert broken_rules(said, other, fine) == ["one_id_one_statement", "one_id_one_statement", None]


def test_a_row_that_broke_another_rule_contradicts_nobody():
    said, bad = statement("a.png", "ann", "sound"), statement("a.png", "ann", "scratch", export="e2")
    assert broken_rules(said, bad) == [None, "class_is_known"]


def test_a_retraction_or_a_promotion_to_the_benchmark_may_keep_its_id():
    said = statement("a.png", "ann", "sound")
    assert broken_rules(
        said,
        said | {"export": "e2", "retracted": True, "objects": []},
        said | {"export": "e3", "benchmark": "golden", "verified_by": "eve", "uncertain": True},
    ) == [None, None, None]


def test_one_statement_under_two_names_of_its_image_is_no_contradiction():
    said = statement("a.png", "ann", "sound", annotation="17")
    assert broken_rules(said, said | {"image": frame("a"), "export": "e2"}) == [None, None]


@pytest.mark.parametrize(
    "image",
    [
        frame("a"),
        f"{frame('a')}.png",
        frame("a").upper() + ".png",
        f"raw_frames/d1/{frame('a')}.png",
        "a.png",
        "cells/a.png",
        "C:\\cells\\a.png",
    ],
)
def test_a_frame_is_found_by_its_id_its_path_or_its_file_name(image):
    rows = resolve_frames(annotations(statement(image, "ann", "sound")), FRAMES)
    assert rows.select("frame_id", "waits_for").row(0) == (frame("a"), None)


IN_FOLDERS = st.sampled_from(
    ["", "pictures/", "C:\\\\pictures\\\\", "/data/local-files/?d=pictures/", "/data/local-files/?d="]
)
UPLOADED = st.sampled_from(["", "1a2b3c4d-", "frame_"])


@given(
    folder=IN_FOLDERS,
    prefix=UPLOADED,
    ending=st.sampled_from(["", ".png", ".PNG", ".png.json", "_1.png"]),
    query=st.sampled_from(["", "&x=1", "?x=1", "#top"]),
    encoded=st.booleans(),
    upper=st.booleans(),
)
def test_a_frame_id_is_found_whatever_tools_write_around_it(folder, prefix, ending, query, encoded, upper):
    named = f"{prefix}{frame('a').upper() if upper else frame('a')}{ending}"
    image = (quote(folder + named, safe="") if encoded else folder + named) + query
    rows = resolve_frames(annotations(statement(image, "ann", "sound")), FRAMES)
    assert rows["frame_id"].to_list() == [frame("a")]


@given(name=st.text(st.characters(exclude_characters="/\\\\", exclude_categories=["Cs"]), min_size=1))
def test_any_file_name_is_found_as_it_stands_and_percent_encoded(name):
    frames = raw_frames("a").with_columns(file_name=pl.lit(name))
    said = [
        name,
        f"cells/{name}",
        quote(name, safe=""),
        f"/data/local-files/?d=cells%2F{quote(name, safe='')}",
    ]
    rows = resolve_frames(annotations(*(statement(one, "ann", "sound") for one in said)), frames)
    assert rows["frame_id"].to_list() == [frame("a")] * len(said)


@pytest.mark.parametrize(
    "image",
    [
        "/data/local-files/?d=a.png&x=1",
        "https://tool/files/a.png?token=1/2",
        "a.png#xywh=1,2",
        "/data/?d=cells/a.png",
    ],
)
def test_what_an_address_adds_behind_a_file_name_does_not_hide_it(image):
    rows = resolve_frames(annotations(statement(image, "ann", "sound")), FRAMES)
    assert rows["frame_id"].to_list() == [frame("a")]


@pytest.mark.parametrize("image", [f"0{frame('a')}", frame("a")[1:], f"{frame('a')}/b.png/", ""])
def test_other_digits_than_the_64_of_a_frame_name_no_frame(image):
    rows = resolve_frames(annotations(statement(image, "ann", "sound")), FRAMES)
    assert rows["waits_for"].to_list() == ["a frame of that name"]


def test_an_unknown_frame_is_waited_for_and_found_when_it_arrives():
    rows = annotations(statement("c.png", "ann", "sound"), statement(frame("c"), "bob", "sound"))
    before = check_annotations(rows, FRAMES, SPEC)
    assert before["broken_rule"].to_list() == [None, None]
    assert before["frame_id"].to_list() == [None, None]
    assert before["waits_for"].to_list() == ["a frame of that name"] * 2
    after = check_annotations(rows, raw_frames("a", "b", "c"), SPEC)
    assert after["frame_id"].to_list() == [frame("c"), frame("c")]


def test_a_file_name_of_several_frames_waits_and_says_so():
    namesakes = raw_frames("a", "b").with_columns(file_name=pl.lit("same.png"))
    rows = resolve_frames(annotations(statement("same.png", "ann", "sound")), namesakes)
    assert rows.select("frame_id", "waits_for").row(0) == (None, "a name that only one frame has")


def test_one_frame_captured_twice_under_one_name_is_one_frame():
    twice = pl.concat([raw_frames("a"), raw_frames("a")])
    assert resolve_frames(annotations(statement("a.png", "ann")), twice)["frame_id"].to_list() == [frame("a")]


def test_a_box_of_an_unknown_frame_is_judged_when_its_size_is_known():
    rows = annotations(statement("c.png", "ann", "sound", boxes=[(290, 0, 310, 9)]))
    assert check_annotations(rows, FRAMES, SPEC)["broken_rule"][0] is None
    assert check_annotations(rows, raw_frames("c"), SPEC)["broken_rule"][0] == "box_is_in_frame"


def test_rejected_rows_say_why_and_follow_their_contract():
    rows = annotations(statement("a.png", "ann", "scratch"), statement("a.png", "bob", "sound"))
    diverted = rejected(check_annotations(rows, FRAMES, SPEC), SPEC)
    assert diverted["why"].to_list() == ["not so: each class is one of sound, defective"]
    RejectedAnnotations.validate(diverted.select(RejectedAnnotations.column_names()))
