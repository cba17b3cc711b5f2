"""The label table's expectations, as the library evaluates them: each is seen to fail, and to hold."""

import polars as pl
import pytest
from make_labels import accepted, demo_spec, frame, imports_great_expectations, raw_frames, statement

from cv_assets.labels.consensus import cast_votes, label_frames
from cv_assets.labels.expectations import EXPECTATIONS
from cv_assets.labels.schema import LabelTable

pytestmark = imports_great_expectations

SPEC = demo_spec()
FRAMES = raw_frames("a", "b", "c")
NO_FRAMES = pl.Series([], dtype=pl.String)


@pytest.fixture(scope="module")
def labels():
    said = [
        statement(image, who, label)
        for image, given in {"a.png": "ssd", "b.png": "ddd", "c.png": "s"}.items()
        for who, label in zip(
            ("ann", "bob", "cy"), [{"s": "sound", "d": "defective"}[one] for one in given], strict=False
        )
    ]
    table = label_frames(cast_votes(accepted(*said, frames=FRAMES), SPEC.pass_class), SPEC.labels.consensus)
    return table.select(LabelTable.column_names())


def validate(labels, benchmark=NO_FRAMES):
    from cv_assets.labels.validation import validate

    return validate(labels, frames=FRAMES["frame_id"], benchmark=benchmark, spec=SPEC)


def test_a_proper_table_meets_every_expectation_and_has_a_page(labels):
    validation = validate(labels)
    assert set(validation.outcomes) == {one.name for one in EXPECTATIONS}
    assert [one.name for one in validation.outcomes.values() if not one.passed] == []
    assert b"Does every frame have one label only?" in validation.page
    assert validate(labels).page == validation.page


on_a = pl.col("frame_id") == frame("a")


def put(column, value):
    """The first frame's value replaced."""
    return lambda labels: labels.with_columns(pl.when(on_a).then(value).otherwise(column).alias(column))


@pytest.mark.parametrize(
    ("name", "spoil", "examples"),
    [
        ("frame_ids_are_given", put("frame_id", pl.lit(None)), ["None"]),
        ("frame_ids_are_unique", lambda labels: pl.concat([labels, labels.head(1)]), [frame("a")] * 2),
        ("frames_are_known", put("frame_id", pl.lit("zz")), ["zz"]),
        ("labels_are_classes_of_the_spec", put("label", pl.lit("stain")), [frame("a")]),
        ("agreed_frames_have_a_label", put("label", pl.lit(None)), [frame("a")]),
        ("frames_in_review_have_no_label", put("status", pl.lit("review")), [frame("a")]),
        ("agreed_frames_have_enough_votes", put("votes", pl.lit(2)), [frame("a")]),
        ("agreed_frames_agree_enough", put("agreement", pl.lit(0.5)), [frame("a")]),
        ("every_vote_has_its_annotator", put("votes", pl.lit(4)), [frame("a")]),
    ],
)
def test_each_expectation_names_the_frames_that_break_it(labels, name, spoil, examples):
    outcome = validate(spoil(labels)).outcomes[name]
    assert not outcome.passed
    assert outcome.unexpected == len(examples)
    assert list(outcome.examples) == examples


def test_a_benchmark_frame_among_the_labels_is_named(labels):
    outcome = validate(labels, benchmark=pl.Series([frame("b")])).outcomes["frames_are_not_in_the_benchmark"]
    assert (outcome.passed, outcome.examples) == (False, (frame("b"),))


def test_a_class_without_an_agreed_frame_is_named(labels):
    outcome = validate(labels.filter(on_a)).outcomes["every_class_has_a_label"]
    assert (outcome.passed, outcome.missing) == (False, ("defective",))


def test_an_empty_table_breaks_nothing_that_blocks(labels):
    outcomes = validate(labels.clear()).outcomes
    assert [one.name for one in EXPECTATIONS if one.blocking and not outcomes[one.name].passed] == []
