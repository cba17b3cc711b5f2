"""Threshold replay: which stored verdicts another band would have given, and what stands behind each."""

import polars as pl
import pytest
from hypothesis import given
from hypothesis import strategies as st
from make_replay import (
    IN_EFFECT,
    WORKED,
    WORKED_BENCHMARK,
    WORKED_LABELS,
    inspections,
    labels,
    rejected,
    released,
    scored,
    verified,
)

from cv_assets.evaluation.band import UNREACHABLE, OperatingBand
from cv_assets.lookback.replay import (
    CannotReplayError,
    answers_by_verdict,
    bands_in_effect,
    changes,
    check_classes,
    contradictions,
    deliveries_to_replay,
    in_short,
    proposed_band,
    replay,
    scored_by,
    transitions,
    version_to_replay,
)
from cv_assets.lookback.schema import ThresholdReplay
from cv_assets.review.answers import known_truth

TRUTH = known_truth(WORKED_LABELS, WORKED_BENCHMARK)
NARROWER = OperatingBand(0.2, 0.55)
SCORES = st.lists(st.integers(0, 20).map(lambda n: n / 20), min_size=1, max_size=30)


def of_scores(scores) -> pl.DataFrame:
    return inspections(*(scored(f"c{number}", score) for number, score in enumerate(scores)))


def test_every_stored_verdict_stands_beside_the_one_of_the_other_band():
    rows = replay(WORKED, TRUTH, NARROWER)
    assert ThresholdReplay.is_valid(rows)
    assert "".join(word[0] for word in rows["verdict"]) == "PPPPRRRRFFF"
    assert "".join(word[0] for word in rows["replayed"]) == "PRRPRRFFFFF"
    assert rows.filter("changed")["capture_id"].to_list() == ["b", "c", "g", "h"]
    assert rows.select("lower", "upper").unique().row(0) == (0.2, 0.55)


def test_an_answered_capture_stands_for_as_many_as_its_probability_of_being_asked_says():
    weights = dict(replay(WORKED, TRUTH, NARROWER).select("capture_id", "weight").iter_rows())
    assert weights == {
        **dict.fromkeys("abij", 4),
        **dict.fromkeys("efg", 4 / 3),  # for h too, their fourth in REVIEW
        "c": None, "h": None,  # no answer
        "d": None, "k": None,  # nobody was asked: labelled for another reason
    }  # fmt: skip


def test_people_were_asked_about_all_of_a_drifted_delivery_so_each_answer_stands_for_itself():
    elsewhere = inspections(scored("x", 0.1, asked=True, delivery="d2"), scored("y", 0.1, delivery="d2"))
    stored = pl.concat([WORKED, elsewhere])
    truth = known_truth(pl.concat([WORKED_LABELS, labels(x="sound", y="defective")]), WORKED_BENCHMARK)
    weights = dict(replay(stored, truth, NARROWER, {"d2"}).select("capture_id", "weight").iter_rows())
    assert (weights["x"], weights["y"]) == (1, 1)
    assert (weights["a"], weights["c"]) == (4, None)
    counted = answers_by_verdict(stored, replay(stored, truth, NARROWER, {"d2"}), {"d2"})
    assert counted.rows()[0] == ("PASS", 6, 4, 4, 1)


def test_what_people_were_asked_and_answered_is_counted_by_verdict():
    answers = answers_by_verdict(WORKED, replay(WORKED, TRUTH, NARROWER))
    assert answers.columns == ["stored", "captures", "asked", "answered", "labelled otherwise"]
    assert answers.rows() == [("PASS", 4, 2, 2, 1), ("REVIEW", 4, 4, 3, 0), ("FAIL", 3, 2, 2, 1)]


def test_a_verdict_that_no_capture_has_is_counted_as_none():
    one = inspections(scored("a", 0.1))
    assert answers_by_verdict(one, replay(one, TRUTH, NARROWER)).rows()[1:] == [
        ("REVIEW", 0, 0, 0, 0),
        ("FAIL", 0, 0, 0, 0),
    ]


def test_the_table_of_transitions_counts_every_capture_once():
    rows = replay(WORKED, TRUTH, NARROWER)
    assert transitions(rows).rows() == [("PASS", 2, 2, 0), ("REVIEW", 0, 2, 2), ("FAIL", 0, 0, 3)]


def test_changes_tell_what_is_known_of_the_captures_that_change():
    rows = replay(WORKED, TRUTH, NARROWER)
    table = changes(rows, "sound")
    assert table.columns == ["change", "captures", "defective", "sound", "unknown"]
    assert table.rows() == [("PASS > REVIEW", 2, 1, 0, 1), ("REVIEW > FAIL", 2, 1, 0, 1)]


@given(SCORES)
def test_the_band_in_effect_changes_nothing(scores):
    one = of_scores(scores)
    rows = replay(one, TRUTH, OperatingBand(*IN_EFFECT))
    assert not rows["changed"].any()
    assert contradictions(one).is_empty()
    assert [(band.lower, band.upper) for band in bands_in_effect(one)] == [IN_EFFECT]


@given(SCORES, st.lists(st.integers(0, 20).map(lambda n: n / 20), min_size=2, max_size=2))
def test_a_replay_looks_at_every_capture_and_at_its_stored_score_only(scores, thresholds):
    one, band = of_scores(scores), OperatingBand(*sorted(thresholds))
    rows = replay(one, TRUTH, band)
    assert rows["capture_id"].equals(one["capture_id"])
    assert rows["defect_score"].equals(one["defect_score"])
    assert rows["verdict"].equals(one["verdict"])
    assert (rows["replayed"] == "PASS").equals(rows["defect_score"] < band.lower)
    assert (rows["replayed"] == "FAIL").equals(rows["defect_score"] >= band.upper)


def test_only_captures_that_the_version_scored_are_replayed():
    other = scored("b", 0.5, release="v1.1.0")
    assert scored_by(inspections(scored("a", 0.5), other, rejected("c")), "v1.0.0")["part"].to_list() == [
        "part a"
    ]
    with pytest.raises(CannotReplayError, match=r"v1\.0\.0 scored none of the 2 captures looked through"):
        scored_by(inspections(other, rejected("c")), "v1.0.0")


def test_a_verdict_that_its_own_thresholds_do_not_give_is_found():
    wrong = scored("b", 0.5) | {"verdict": "PASS", "reason": "below_lower"}
    assert contradictions(inspections(scored("a", 0.5), wrong))["capture_id"].to_list() == ["b"]


@pytest.mark.parametrize(
    ("lower", "upper", "message"),
    [
        (0.6, 0.5, "`lower` must be at most `upper`.*got 0.6 and 0.5"),
        (-0.1, 0.5, "`lower` must be a defect score from 0 to 1.*got -0.1"),
        (0.1, 1.5, "`upper` must be a defect score from 0 to 1, or 2.*got 1.5"),
        (0.1, float("nan"), "`upper` must be.*got nan"),
    ],
)
def test_a_band_that_cannot_be_is_refused_in_words(lower, upper, message):
    with pytest.raises(CannotReplayError, match=message):
        proposed_band(lower, upper)


def test_a_band_may_fail_nothing():
    assert proposed_band(0.2, 2.0) == OperatingBand(0.2, UNREACHABLE)


def test_the_version_in_force_is_replayed_unless_another_is_named():
    history = released("v1.0.0", "v1.1.0")
    assert version_to_replay("", history, "sound") == "v1.1.0"
    assert version_to_replay("v1.0.0", history, "sound") == "v1.0.0"
    with pytest.raises(
        CannotReplayError, match=r"v9 was never released; released versions: v1\.0\.0 and v1\.1\.0"
    ):
        version_to_replay("v9", history, "sound")
    with pytest.raises(CannotReplayError, match="nothing was released yet"):
        version_to_replay("", released(), "sound")


def test_a_version_under_which_another_class_passed_is_not_replayed():
    history = released("v1.0.0", "v1.1.0").with_columns(pass_class=pl.Series(["sound", "defective"]))
    assert version_to_replay("", history, "defective") == "v1.1.0"
    with pytest.raises(
        CannotReplayError,
        match=r"v1\.0\.0 was released with `sound` as the class that passes; by the spec now it is `defective`",
    ):
        version_to_replay("v1.0.0", history, "defective")


def test_labels_of_a_class_that_the_spec_does_not_know_are_not_read_as_defects():
    one = inspections(scored("a", 0.1), scored("b", 0.5))
    check_classes(
        known_truth(labels(a="sound", x="good"), verified(b="defective")), one, ["sound", "defective"]
    )
    with pytest.raises(
        CannotReplayError, match="labels say `good`, and the spec's classes are sound and defe"
    ):
        check_classes(known_truth(labels(a="good"), verified(b="defective")), one, ["sound", "defective"])


def test_all_inspected_deliveries_are_replayed_unless_some_are_named():
    assert deliveries_to_replay([], ["d1", "d2"]) == ["d1", "d2"]
    assert deliveries_to_replay(["d2", "d2"], ["d1", "d2"]) == ["d2"]
    with pytest.raises(CannotReplayError, match="no inspections of d9; inspected were d1 and d2"):
        deliveries_to_replay(["d2", "d9"], ["d1", "d2"])
    with pytest.raises(CannotReplayError, match="inspected were none yet"):
        deliveries_to_replay(["d9"], [])
    with pytest.raises(CannotReplayError, match=r"d07 and 12 more$"):
        deliveries_to_replay(["d99"], [f"d{number:02d}" for number in range(20)])


def test_the_replay_is_told_in_one_breath():
    told = in_short(replay(WORKED, TRUTH, NARROWER), WORKED, NARROWER)
    assert told.startswith(
        "4 of 11 verdicts by v1.0.0 in 1 delivery would be another. In effect: below 0.300 a"
    )
    assert "Replayed: below 0.200 a part passes, from 0.550 on it fails" in told
