"""Votes become a label by the spec's rule; what is unsure or disagreed is not guessed."""

import polars as pl
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from make_labels import START, accepted, frame, raw_frames, statement

from cv_assets.labels.consensus import cast_votes, label_frames
from cv_assets.labels.schema import LabelTable
from cv_assets.spec.labels import Consensus

FRAMES = raw_frames("a", "b", "c")
# Each example resolves tables; a busy machine is no reason to fail.
some = settings(max_examples=25, deadline=None, suppress_health_check=[HealthCheck.too_slow])
THREE = Consensus(min_votes=3, min_agreement=0.66, unsure="review")


WHO = ("ann", "bob", "cy", "dee", "eve")


def labels(*statements, rule=THREE):
    table = label_frames(cast_votes(accepted(*statements, frames=FRAMES), "sound"), rule)
    return LabelTable.validate(table.select(LabelTable.column_names()))


def votes(*classes, image="a.png", **values):
    """One statement each of ann, bob, cy, … about one image."""
    return [statement(image, who, one, **values) for who, one in zip(WHO, classes, strict=False)]


def resolved(*statements, rule=THREE):
    return labels(*statements, rule=rule).select("label", "status", "resolution", "disputed").rows()


def test_three_equal_votes_are_unanimous():
    assert resolved(*votes("sound", "sound", "sound")) == [("sound", "agreed", "unanimous", False)]


def test_two_thirds_are_a_majority_and_disputed():
    table = labels(*votes("sound", "defective", "sound"))
    assert table.select("label", "resolution", "disputed").row(0) == ("sound", "majority", True)
    assert table["agreement"][0] == pytest.approx(2 / 3)


def test_a_majority_below_the_spec_s_share_waits():
    rule = Consensus(min_votes=3, min_agreement=0.7)
    assert resolved(*votes("sound", "defective", "sound"), rule=rule) == [(None, "review", "disagreed", True)]


def test_a_tie_is_never_guessed():
    rule = Consensus(min_votes=2, min_agreement=0.0)
    assert resolved(*votes("sound", "defective"), rule=rule) == [(None, "review", "disagreed", True)]


def test_too_few_votes_wait_even_when_they_agree():
    assert resolved(*votes("sound", "sound")) == [(None, "review", "too_few_votes", False)]


def test_an_unsure_vote_sends_the_frame_to_review_or_counts_as_the_spec_says():
    said = [*votes("sound", "sound"), statement("a.png", "cy", "sound", uncertain=True)]
    assert resolved(*said) == [(None, "review", "unsure", False)]
    counted = THREE.model_copy(update={"unsure": "count"})
    assert resolved(*said, rule=counted) == [("sound", "agreed", "unanimous", False)]


def test_nothing_seen_is_a_vote_for_the_class_that_passes():
    assert resolved(*(statement("a.png", who) for who in ("ann", "bob", "cy"))) == [
        ("sound", "agreed", "unanimous", False)
    ]


def test_objects_of_several_classes_name_no_class():
    torn = statement("a.png", "dee", "sound", "defective")
    assert resolved(*votes("sound", "sound", "sound"), torn) == [(None, "review", "unsure", True)]
    counted = THREE.model_copy(update={"unsure": "count"})
    assert labels(*votes("sound", "sound", "sound"), torn, rule=counted)["agreement"][0] == 0.75


def test_several_objects_of_one_class_are_one_vote():
    many = statement("a.png", "ann", "defective", "defective", boxes=[(0, 0, 9, 9), (20, 20, 30, 30)])
    table = labels(many, statement("a.png", "bob", "defective"), statement("a.png", "cy", "defective"))
    assert table["votes"][0] == 3


def test_a_label_has_the_objects_of_its_newest_vote_and_a_frame_in_review_has_none():
    box, later = (0, 0, 9, 9), (1, 1, 8, 8)
    said = [
        statement("a.png", "ann", "defective", boxes=[box]),
        statement("a.png", "bob", "defective", boxes=[later], minute=5),
        statement("a.png", "cy", "sound", minute=9),
    ]
    assert labels(*said)["objects"][0].to_list() == [
        {"class": "defective", "x_min": 1, "y_min": 1, "x_max": 8, "y_max": 8}
    ]
    assert labels(*said[:2])["objects"][0].to_list() == []


def test_an_annotator_has_one_vote_per_frame_and_the_newest_counts():
    older = statement("a.png", "ann", "defective", annotation="1")
    newer = statement("a.png", "ann", "sound", annotation="2", minute=1)
    assert cast_votes(accepted(older, newer, frames=FRAMES), "sound")["label"].to_list() == ["sound"]


def test_two_statements_of_one_annotator_at_one_time_that_differ_name_no_class():
    one = statement("a.png", "ann", "defective", annotation="1")
    other = statement("a.png", "ann", "sound", annotation="2")
    assert cast_votes(accepted(one, other, frames=FRAMES), "sound")["label"].to_list() == [None]


def test_a_later_revision_supersedes_and_a_retraction_removes():
    first = statement("a.png", "ann", "defective", annotation="1", revision=1)
    second = statement("a.png", "ann", "sound", annotation="1", revision=2)
    gone = statement("a.png", "ann", annotation="1", revision=3, retracted=True)
    assert cast_votes(accepted(second, first, frames=FRAMES), "sound")["label"].to_list() == ["sound"]
    assert cast_votes(accepted(gone, second, first, frames=FRAMES), "sound").is_empty()


def test_a_retraction_of_the_same_revision_removes_too():
    said = statement("a.png", "ann", "defective")
    assert cast_votes(accepted(said | {"retracted": True}, said, frames=FRAMES), "sound").is_empty()


def test_a_revision_that_moves_to_another_frame_leaves_the_first_without_a_label():
    first = statement("a.png", "ann", "sound", annotation="1", revision=1)
    moved = statement("b.png", "ann", "sound", annotation="1", revision=2)
    assert labels(first, moved)["frame_id"].to_list() == [frame("b")]


def test_statements_for_the_benchmark_and_about_unknown_frames_have_no_vote():
    golden = statement("a.png", "ann", "sound", benchmark="golden", verified_by="eve")
    assert labels(golden, statement("zz.png", "ann", "sound")).is_empty()


def test_a_frame_whose_votes_all_name_no_class_waits_without_objects():
    torn = [statement("a.png", who, "sound", "defective") for who in ("ann", "bob", "cy")]
    assert resolved(*torn) == [(None, "review", "unsure", True)]
    counted = THREE.model_copy(update={"unsure": "count"})
    assert resolved(*torn, rule=counted) == [(None, "review", "disagreed", True)]


def test_a_diverted_row_has_no_vote():
    checked = accepted(statement("a.png", "ann", "sound"), frames=FRAMES).with_columns(
        broken_rule=pl.lit("x")
    )
    assert cast_votes(checked, "sound").is_empty()


def test_the_label_s_time_and_makers_are_those_of_its_votes():
    table = labels(*votes("sound", "sound"), statement("a.png", "cy", "sound", minute=7))
    row = table.row(0, named=True)
    assert row["annotators"] == ["ann", "bob", "cy"]
    assert row["annotations"][0] == "label_studio/cells/ann@a.png/0"
    assert row["annotations"][2] == "label_studio/cells/cy@a.png/7"
    assert (row["labelled_at"] - START).total_seconds() == 7 * 60


said_things = st.lists(
    st.builds(
        lambda image, who, classes, annotation, revision, minute, uncertain, retracted: statement(
            image, who, *classes, annotation=f"{who}-{image}-{annotation}", revision=revision,
            minute=minute, uncertain=uncertain, retracted=retracted,
        ),
        st.sampled_from(["a.png", "b.png"]),
        st.sampled_from(["ann", "bob", "cy"]),
        st.lists(st.sampled_from(["sound", "defective"]), max_size=2),
        st.integers(1, 2),
        st.integers(0, 2),
        st.integers(0, 2),
        st.booleans(),
        st.booleans(),
    ),
    max_size=12,
).map(lambda rows: list({row["annotation_id"]: row for row in rows}.values()))  # fmt: skip
rules = st.builds(
    Consensus,
    min_votes=st.integers(1, 3),
    min_agreement=st.sampled_from([0.0, 0.5, 0.66, 1.0]),
    unsure=st.sampled_from(["review", "count"]),
)


@some
@given(said_things, rules, st.randoms(use_true_random=False))
def test_the_order_of_rows_and_exports_changes_nothing(said, rule, random):
    shuffled = [{**row, "export": f"e{random.randint(1, 3)}"} for row in said]
    random.shuffle(shuffled)
    assert labels(*shuffled, rule=rule).equals(labels(*said, rule=rule))


@some
@given(said_things, rules)
def test_repeating_an_export_changes_nothing(said, rule):
    again = [{**row, "export": "e2"} for row in said]
    assert labels(*said, *again, rule=rule).equals(labels(*said, rule=rule))


@some
@given(said_things, rules, st.permutations(["ann", "bob", "cy"]))
def test_annotators_names_change_nothing(said, rule, names):
    new = dict(zip(["ann", "bob", "cy"], names, strict=True))
    renamed = [
        row | {"annotator": new[row["annotator"]], "annotation": new[row["annotator"]] + row["annotation"]}
        for row in said
    ]
    without = ["annotators", "annotations"]
    assert labels(*renamed, rule=rule).drop(without).equals(labels(*said, rule=rule).drop(without))


@some
@given(st.lists(st.sampled_from(["sound", "defective"]), min_size=1, max_size=5), rules)
def test_a_vote_for_the_winner_never_lowers_the_agreement(classes, rule):
    table = labels(*votes(*classes), rule=rule)
    if table["status"][0] == "agreed":
        more = labels(*votes(*classes), statement("a.png", "zoe", table["label"][0]), rule=rule)
        assert more["agreement"][0] >= table["agreement"][0]
        assert more["label"][0] == table["label"][0]


@some
@given(said_things, rules)
def test_a_label_is_given_only_where_the_rule_is_met(said, rule):
    for row in labels(*said, rule=rule).iter_rows(named=True):
        if row["status"] == "agreed":
            assert row["votes"] >= rule.min_votes
            assert row["agreement"] >= rule.min_agreement
            assert {one["class"] for one in row["objects"]} <= {row["label"]}
        assert (row["label"] is None) == (row["status"] == "review")
        assert row["votes"] == len(set(row["annotators"]))
