"""Label Studio's own export becomes the same statements as any other format; what it cannot say is named."""

import json
import re

import pytest
from hypothesis import given
from hypothesis import strategies as st
from make_labels import RECEIVED, demo_spec, frame, raw_frames

from cv_assets.labels.exports import ExportError, read_export
from cv_assets.labels.rules import check_annotations
from cv_assets.labels.schema import Annotations

TASK = {
    "id": 1,
    "project": 83,
    "data": {"frame_id": frame("a"), "image": "/data/upload/3/1a2b-a.png", "guideline": "1"},
}


def choice(*names, control="class"):
    return {"type": "choices", "from_name": control, "to_name": "image", "value": {"choices": list(names)}}


def rectangle(*names, **changed):
    value = {
        "x": 10,
        "y": 20,
        "width": 5,
        "height": 2.5,
        "rotation": 0,
        "rectanglelabels": list(names),
        **changed,
    }
    size = {"original_width": 300, "original_height": 200}
    return {"type": "rectanglelabels", "from_name": "box", "to_name": "image", "value": value, **size}


def annotation(*result, **changed):
    said = {
        "id": 1001,
        "completed_by": {"id": 10, "email": "ann@plant"},
        "result": list(result),
        "was_cancelled": False,
        "created_at": "2026-03-02T09:00:00Z",
        "updated_at": "2026-03-02T10:00:00.5Z",
        "lead_time": 4.288,
    }
    return {**said, **changed}


def read(*annotations, task=TASK, document=None):
    document = [{**task, "annotations": list(annotations)}] if document is None else document
    rows = read_export(
        json.dumps(document).encode(),
        file="ls.json",
        export="e1",
        evidence="annotations/e1/00",
        received_at=RECEIVED,
    )
    return Annotations.validate(rows)


def broken_rules(rows):
    return check_annotations(rows, raw_frames("a"), demo_spec())["broken_rule"].to_list()


def test_a_choice_is_the_class_of_the_whole_frame_and_the_statement_counts():
    rows = read(annotation(choice("defective")))
    (row,) = rows.iter_rows(named=True)
    assert [one["class"] for one in row["objects"]] == ["defective"]
    assert row["annotation_id"] == "label_studio/83/1001/1772445600500000"
    assert (row["image"], row["annotator"], row["seconds"]) == (frame("a"), "ann@plant", 4.288)
    assert (row["annotated_at"].isoformat(), row["guideline"]) == ("2026-03-02T10:00:00.500000+00:00", "1")
    assert broken_rules(rows) == [None]


def test_a_rectangle_in_percent_is_a_box_in_pixels():
    (row,) = read(annotation(rectangle("defective"), rectangle("defective", x=0, y=0))).iter_rows(named=True)
    assert [list(one.values()) for one in row["objects"]] == [
        ["defective", 0.0, 0.0, 15.0, 5.0],
        ["defective", 30.0, 40.0, 45.0, 45.0],
    ]


def test_every_annotation_of_a_task_is_its_own_statement_and_a_task_without_any_says_nothing():
    said = [annotation(choice("sound"), id=number, completed_by=number) for number in (1, 2)]
    rows = read(document=[{**TASK, "annotations": said}, {**TASK, "annotations": []}])
    assert rows["annotator"].to_list() == ["1", "2"]


def test_a_skipped_annotation_takes_back_what_was_said():
    (row,) = read(annotation(was_cancelled=True)).iter_rows(named=True)
    assert (row["retracted"], row["objects"]) == (True, [])


def test_a_skipped_annotation_is_taken_back_whatever_it_still_marks():
    polygon = {"type": "polygonlabels", "from_name": "area", "value": {"polygonlabels": ["sound"]}}
    skipped = read(annotation(polygon, choice("sound"), was_cancelled=True))
    assert (skipped["retracted"].to_list(), skipped["objects"].to_list()) == ([True], [[]])
    assert broken_rules(skipped) == [None]


def test_the_control_uncertain_marks_the_statement():
    (row,) = read(annotation(choice("sound"), choice("not sure", control="uncertain"))).iter_rows(named=True)
    assert (row["uncertain"], [one["class"] for one in row["objects"]]) == (True, ["sound"])


def test_an_annotation_that_names_no_class_is_no_vote_that_all_is_well():
    assert broken_rules(read(annotation())) == ["class_is_given"]
    assert broken_rules(read(annotation({"type": "textarea", "value": {"text": ["?"]}}))) == [
        "class_is_given"
    ]


@pytest.mark.parametrize(
    "region",
    [
        {"type": "polygonlabels", "value": {"polygonlabels": ["defective"]}},
        {"type": "brushlabels", "value": {"brushlabels": ["defective"]}},
        rectangle("defective", rotation=30),
        rectangle("defective", width="wide"),
        {**rectangle("defective"), "original_width": None},
        {"type": "choices", "value": {}},
        "no region",
    ],
)
def test_a_mark_that_no_column_holds_is_named_and_its_statement_does_not_count(region):
    assert broken_rules(read(annotation(choice("sound"), region))) == ["values_are_readable"]


def test_a_task_that_was_not_imported_from_the_worklist_names_no_guideline_and_is_diverted():
    rows = read(
        annotation(choice("sound")),
        task={**TASK, "data": {"image": f"/data/local-files/?d={frame('a')}.png"}},
    )
    assert broken_rules(rows) == ["guideline_is_known"]


@pytest.mark.parametrize(
    ("document", "message"),
    [
        ([], "ls.json: no task has an annotation: expected at least one annotation"),
        ([{**TASK, "annotations": []}], "ls.json: no task has an annotation"),
        ([3], "ls.json: `[0]` is of type int: expected an object"),
        (
            [{"image": "a.png", "choice": "sound"}],
            "`[0].annotations` is missing: expected a list, as in Label Studio's",
        ),
        ([{**TASK, "annotations": [3]}], "`annotations[0]` is of type int: expected an object"),
    ],
)
def test_a_list_that_is_no_export_of_label_studio_is_refused(document, message):
    with pytest.raises(ExportError, match=re.escape(message)):
        read(document=document)


json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=5), inner, max_size=4),
    max_leaves=8,
)
regions = st.fixed_dictionaries(
    {"type": st.sampled_from(["choices", "rectanglelabels", "labels", "textarea"])},
    optional={"value": json_values, "original_width": json_values, "original_height": json_values},
)


@given(
    st.dictionaries(st.sampled_from([*annotation()]), json_values),
    st.lists(regions, max_size=2) | json_values,
    json_values,
)
def test_any_annotation_becomes_rows_of_the_contract(values, result, data):
    assert read(annotation(**{**values, "result": result}), task={**TASK, "data": data}).height >= 1
