"""Label exports become statements; what is no export is refused in one sentence; bad values stay, and are named."""

import contextlib
import io
import json
import re
from datetime import UTC, datetime

import polars as pl
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from make_labels import RECEIVED, START, coco

from cv_assets.labels.entries import BOX
from cv_assets.labels.exports import ExportError, read_export
from cv_assets.labels.schema import Annotations
from resources.deployments import ROOT

HEADER = "tool,project,image,annotator,class,annotated_at,guideline"


some = settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.too_slow])


def read(content, file="votes.json"):
    if isinstance(content, dict):
        content = json.dumps(content).encode()
    rows = read_export(
        content if isinstance(content, bytes) else content.encode(),
        file=file, export="e1", evidence="annotations/e1/00", received_at=RECEIVED,
    )  # fmt: skip
    return Annotations.validate(rows)


def one_annotation(**values):
    return {
        "info": {"tool": "cvat", "project": "cells", "guideline": "1"},
        "images": [{"id": 1, "file_name": "a.png"}],
        "categories": [{"id": 7, "name": "crack"}],
        "annotations": [
            {
                "image_id": 1,
                "category_id": 7,
                "annotator": "ann",
                "annotated_at": "2026-03-02T10:00:00Z",
                **values,
            }
        ],
    }


def documented(language):
    text = (ROOT / "docs" / "label_exports.md").read_text()
    return re.findall(f"```{language}\n(.*?)```", text, flags=re.DOTALL)


def test_the_documented_coco_example_is_three_statements():
    rows = read(documented("json")[0])
    assert rows["annotator"].to_list() == ["ann", "bob", "ann"]
    assert [len(objects) for objects in rows["objects"]] == [2, 1, 0]
    assert rows["uncertain"].to_list() == [False, True, False]
    assert rows["annotated_at"][1] == datetime(2026, 3, 2, 10, 30, tzinfo=UTC)
    assert rows["objects"][0][0] == {"class": "defective", "x_min": 10, "y_min": 20, "x_max": 40, "y_max": 60}


def test_the_documented_export_of_label_studio_is_two_statements():
    rows = read(documented("json")[1])
    assert rows["annotator"].to_list() == ["ann@plant.example", "bob@plant.example"]
    assert rows["objects"].to_list()[0] == [dict.fromkeys(BOX) | {"class": "sound"}]
    assert rows["objects"].to_list()[1] == [
        {"class": "defective", "x_min": 30.0, "y_min": 60.0, "x_max": 45.0, "y_max": 75.0}
    ]
    assert rows["guideline"].to_list() == ["1", "1"]


def test_the_documented_csv_and_parquet_say_the_same():
    text = documented("csv")[0]
    stream = io.BytesIO()
    pl.read_csv(io.StringIO(text), schema_overrides={"guideline": pl.String}).write_parquet(stream)
    rows = read(text, "votes.csv")
    assert rows.equals(read(stream.getvalue(), "votes.parquet"))
    assert rows["annotator"].to_list() == ["ann", "bob", "ann"]
    assert [len(objects) for objects in rows["objects"]] == [2, 1, 0]


def test_the_documented_benchmark_export_names_its_set_and_its_verifier():
    row = read(documented("json")[2]).row(0, named=True)
    assert (row["benchmark"], row["verified_by"]) == ("golden", "quality.lead")


def test_every_column_of_the_documentation_is_read():
    from cv_assets.labels.exports import OPTIONAL, REQUIRED

    table = (ROOT / "docs" / "label_exports.md").read_text()
    assert set(re.findall(r"`(\w+)`", "".join(re.findall(r"^\| `.*$", table, flags=re.M)))) == {
        *REQUIRED,
        *OPTIONAL,
    }


def test_fields_may_stand_under_attributes():
    row = read(one_annotation(attributes={"seconds": 4.5, "uncertain": True, "revision": 3})).row(
        0, named=True
    )
    assert (row["seconds"], row["uncertain"], row["revision"]) == (4.5, True, 3)
    assert row["annotation_id"] == "cvat/cells/ann@a.png/3"


def test_without_a_revision_the_time_orders_statements():
    first, second = (read(coco([("a.png", "ann", "sound")], minute=minute)) for minute in (0, 1))
    assert second["revision"][0] - first["revision"][0] == 60_000_000


def test_an_image_with_an_annotator_who_saw_nothing_is_a_statement_without_objects():
    row = read(coco([("a.png", "ann", None)])).row(0, named=True)
    assert (row["objects"], row["unread"]) == ([], None)


def test_nothing_beside_an_object_is_a_contradiction():
    assert read(coco([("a.png", "ann", None), ("a.png", "ann", "crack")]))["unread"][0] is not None


def test_a_retracted_object_is_left_out_and_a_statement_of_only_such_is_retracted():
    document = one_annotation()
    kept = document["annotations"][0]
    document["annotations"].append({**kept, "retracted": True, "bbox": [1, 1, 2, 2]})
    assert len(read(document)["objects"][0]) == 1
    document["annotations"][0] = {**kept, "retracted": True}
    assert read(document).select("retracted", pl.col("objects").list.len()).row(0) == (True, 0)


def test_the_order_of_objects_says_nothing():
    document = one_annotation(bbox=[5, 5, 2, 2])
    document["annotations"].append({**document["annotations"][0], "bbox": [1, 1, 2, 2]})
    turned = {**document, "annotations": document["annotations"][::-1]}
    assert read(document).equals(read(turned))


@pytest.mark.parametrize(
    ("values", "unread"),
    [
        ({"bbox": [1, 2, 3]}, "bbox=[1, 2, 3]"),
        ({"bbox": [1, 2, float("nan"), 4]}, "bbox=[1, 2, nan, 4]"),
        ({"bbox": [1e308, 2, 1e308, 4]}, "bbox=[1e+308, 2, 1e+308, 4]"),
        ({"annotated_at": "yesterday"}, "annotated_at='yesterday'"),
        ({"revision": "two"}, "revision='two'"),
        ({"revision": 2**63}, f"revision={2**63}"),
        ({"seconds": "inf"}, "seconds='inf'"),
        ({"uncertain": "perhaps"}, "uncertain='perhaps'"),
        ({"annotator": ["ann"]}, "annotator=['ann']"),
        ({"annotator": "\ud800"}, "annotator='\\ud800'"),
        ({"image_id": 2}, "image_id=2"),
    ],
)
def test_a_value_that_cannot_be_read_is_named_and_its_row_stays(values, unread):
    assert read(one_annotation(**values)).row(0, named=True)["unread"] == unread


def test_a_category_that_is_not_listed_or_not_given_is_no_nothing():
    assert read(one_annotation(category_id=8))["objects"][0][0]["class"] == "category 8"
    document = one_annotation()
    del document["annotations"][0]["category_id"]
    assert read(document)["objects"][0][0]["class"] is None


def test_annotations_that_share_an_id_are_named_and_the_others_are_not():
    document = one_annotation(id=3, bbox=[1, 1, 2, 2])
    said = document["annotations"][0]
    document["annotations"] += [said | {"annotator": "bob"}, said | {"annotator": "cy", "id": 4}]
    assert read(document)["unread"].to_list() == ["id=3 is there twice", "id=3 is there twice", None]


def test_annotations_without_an_id_share_none():
    document = one_annotation(id=None)
    document["annotations"].append(document["annotations"][0] | {"annotator": "bob"})
    assert read(document)["unread"].to_list() == [None, None]


def test_entries_that_name_no_annotator_are_not_one_person():
    document = one_annotation(annotator=None)
    document["annotations"].append(document["annotations"][0])
    assert read(document).height == 2


@pytest.mark.parametrize(
    ("file", "content", "message"),
    [
        ("votes.json", "", "votes.json: the file is empty: expected COCO JSON"),
        ("votes.json", "{", "votes.json: no JSON (Expecting property name enclosed in double quotes"),
        ("votes.json", "3", "votes.json: the document is of type int: expected an object {…}"),
        ("votes.json", "[]", "votes.json: no task has an annotation: expected at least one annotation"),
        ("votes.json", "[" * 100_000, "votes.json: no JSON"),
        ("votes.json", json.dumps(one_annotation())[:200], "votes.json: no JSON ("),
        ("votes.json", b'{"info": "caf\xe9"}', "votes.json: no JSON ('utf-8' codec can't decode byte 0xe9"),
        ("votes.json", '{"info": {"project": "a", "project": "b"}}', "votes.json: no JSON (the key 'project' is there "
         "twice, and one of its values would be lost)"),
        ("votes.json", {**one_annotation(), "images": [{"id": 1}] * 2}, "`images[1].id` 1 is there twice: expected"),
        ("votes.json", "{}", "votes.json: `info` is missing: expected an object {…}"),
        ("votes.json", '{"info": {"tool": "cvat"}}', "`info.project` is missing: expected the labelling project's"),
        ("votes.json", {**one_annotation(), "images": {}}, "`images` is of type dict: expected a list"),
        ("votes.json", {**one_annotation(), "images": [3]}, "`images[0]` is of type int: expected an object"),
        ("votes.json", {**one_annotation(), "images": [{"id": []}]}, "`images[0].id` is []: expected a number"),
        ("votes.json", {**one_annotation(), "categories": [{"id": 1}] * 2}, "`categories[1].id` 1 is there twice"),
        ("votes.json", {**one_annotation(), "annotations": []}, "`annotations` is empty: expected at least one"),
        ("votes.csv", "", "votes.csv: the file is empty: expected CSV with a header of tool, project, image"),
        ("votes.csv", b"\xff\xfe", "votes.csv: no UTF-8 text (invalid start byte at byte 0)"),
        ("votes.csv", "tool,project\n", "votes.csv: no column image, annotator, class, annotated_at, guideline"),
        ("votes.csv", f"{HEADER},sceonds\n", "votes.csv: unknown column sceonds: expected only tool, project"),
        ("votes.csv", f"{HEADER},class\n", "votes.csv: unknown column class"),
        ("votes.csv", f"{HEADER}\n", "votes.csv: no rows: expected at least one row below the header"),
        ("votes.csv", f"{HEADER}\n{'a,' * 20}\n", "votes.csv: no CSV ("),
        ("votes.parquet", b"PAR1", "votes.parquet: no Parquet ("),
        ("votes.xlsx", b"", "votes.xlsx: the ending '.xlsx': expected .json or .csv or .parquet"),
    ],
)  # fmt: skip
def test_what_is_no_export_is_refused_with_file_place_and_expectation(file, content, message):
    with pytest.raises(ExportError, match=re.escape(message)):
        read(content, file)


def test_a_damaged_parquet_file_is_read_or_refused_whichever_byte_is_wrong():
    stream = io.BytesIO()
    pl.DataFrame({"tool": ["cvat"] * 3}).write_parquet(stream)
    content = stream.getvalue()
    for place in range(len(content)):
        with pytest.raises(ExportError, match=r"no (Parquet|column|rows)|unknown column"):
            read(content[:place] + b"\xff" + content[place + 1 :], "votes.parquet")


json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=5), inner, max_size=4),
    max_leaves=8,
)
annotation_keys = st.sampled_from(
    [
        "image_id",
        "category_id",
        "bbox",
        "annotator",
        "annotated_at",
        "seconds",
        "uncertain",
        "revision",
        "attributes",
    ]
)


@some
@given(st.dictionaries(annotation_keys, json_values))
def test_any_annotation_becomes_a_row_of_the_contract(values):
    assert read(one_annotation(**values)).height == 1


@some
@given(json_values, st.sampled_from(["info", "images", "categories", "annotations"]))
def test_any_other_document_is_read_or_refused(value, key):
    with contextlib.suppress(ExportError):
        assert read({**one_annotation(), key: value}).height == 1


cells = st.text(st.characters(exclude_categories=("Cs",), exclude_characters='",\r\n'), max_size=8)


@some
@given(st.lists(st.tuples(*[cells] * 7), min_size=1, max_size=3))
def test_any_csv_cells_become_rows_of_the_contract(rows):
    text = "\n".join([HEADER, *(",".join(f'"{cell}"' for cell in row) for row in rows)])
    assert 1 <= read(text, "votes.csv").height <= len(rows)


def test_a_spreadsheet_s_byte_order_mark_and_decimal_numbers_are_read():
    row = read(
        f"\ufeff{HEADER},revision\ncvat,cells,a.png,ann,crack,{START.isoformat()},1,3.0\n", "votes.csv"
    )
    assert row.select("tool", "revision", "unread").row(0) == ("cvat", 3, None)


@pytest.mark.parametrize("written", ["1000", "1000.0", "1e3", "1E3", " 1000 ", "0" * 5000 + "1000"])
def test_a_whole_number_is_read_however_a_spreadsheet_writes_it(written):
    row = read(
        f"{HEADER},revision\ncvat,cells,a.png,ann,crack,{START.isoformat()},1,{written}\n", "votes.csv"
    )
    assert row.select("revision", "unread").row(0) == (1000, None)
