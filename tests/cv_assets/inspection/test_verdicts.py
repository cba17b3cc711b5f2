"""Verdicts, from tables alone."""

import math
from datetime import UTC, datetime

import polars as pl
import pytest
from hypothesis import given
from hypothesis import strategies as st
from make_labels import demo_spec
from make_releases import checkpoint, delivered, release_row

from cv_assets.evaluation.band import UNREACHABLE
from cv_assets.inspection.schema import REASONS, Inspections
from cv_assets.inspection.verdicts import Decider, Scored, inspect, is_audited, to_score, why_none_decides
from cv_assets.review import schema as review

SPEC = demo_spec()
NOW = datetime(2026, 3, 2, 13, tzinfo=UTC)
TRAINED_ON = "p1"


def decider(
    lower=0.284, upper=0.641, *, preparation=TRAINED_ON, classes=("sound", "defective"), passes="sound"
):
    rows, _ = checkpoint("first", preparation)
    row = {**rows.row(0, named=True), "classes": list(classes)}
    return Decider(release_row(3, "v1.1.0", "first", lower=lower, upper=upper, pass_class=passes), row)


def decided(cells, scores, by, digest=TRAINED_ON):
    """The verdicts on a delivery of `cells`; `scores` are the defect scores of its parts."""
    raw, prepared, _ = delivered("d1", cells, digest)
    said = {f"d1-{part}": Scored([1 - score, score], 2.5) for part, score in scores.items()}
    rows = inspect(raw, prepared, by, said, spec=SPEC, decided_at=NOW)
    return Inspections.validate(rows, cast=True)


def one(score, by):
    return decided({"p1": 99}, {"p1": score}, by).row(0, named=True)


def test_every_capture_gets_one_verdict_with_everything_it_follows_from():
    cells = {"p1": 1, "p2": 2, "p3": 3, "p4": "low_focus"}
    rows = decided(cells, {"p1": 0.1, "p2": 0.412, "p3": 0.9}, decider())
    assert rows.select("part", "verdict", "reason", "why").rows() == [
        ("p1", "PASS", "below_lower", "defect score 0.100 is below 0.284"),
        ("p2", "REVIEW", "low_confidence", "defect score 0.412 lies between 0.284 and 0.641"),
        ("p3", "FAIL", "above_upper", "defect score 0.900 is at least 0.641"),
        ("p4", "REVIEW", "frame_rejected", "low_focus 3.10, at least 4.50"),
    ]
    weights = checkpoint("first", TRAINED_ON)[0]["weights_sha256"][0]
    facts = ("release", "release_number", "candidate", "model", "lower", "upper", "preparation", "decided_at")
    assert rows.select(facts).unique().rows() == [
        ("v1.1.0", 3, "first", "cnn", 0.284, 0.641, TRAINED_ON, NOW)
    ]
    seen = rows.head(3)
    assert seen["scores"].to_list() == [[0.9, 0.1], [1 - 0.412, 0.412], [1 - 0.9, 0.9]]
    assert seen["classes"].to_list() == [["sound", "defective"]] * 3
    assert seen["weights_sha256"].to_list() == [weights] * 3
    assert seen["latency_ms"].to_list() == [2.5] * 3
    unseen = rows.row(3, named=True)
    assert unseen["prepared_path"] is None
    assert {unseen[name] for name in ("scores", "defect_score", "weights_sha256", "latency_ms")} == {None}


@pytest.mark.parametrize(
    ("cells", "by", "digest", "reason", "why"),
    [
        ({"p1": 99}, None, TRAINED_ON, "no_release", "no release is in force"),
        ({"p1": "low_focus"}, None, TRAINED_ON, "frame_rejected", "low_focus 3.10, at least 4.50"),
        (
            {"p1": 99},
            decider(),
            "p2",
            "preparation_changed",
            "the frame went through the pass p2, cnn of v1.1.0 was trained on p1",
        ),
        ({"p1": "too_bright"}, decider(), "p2", "frame_rejected", "too_bright 3.10, at most 4.50"),
    ],
)
def test_the_first_reason_that_keeps_a_model_from_deciding_is_given(cells, by, digest, reason, why):
    (row,) = decided(cells, {}, by, digest).iter_rows(named=True)
    assert (row["verdict"], row["reason"], row["why"]) == ("REVIEW", reason, why)
    assert row["review_probability"] == 1
    assert row["release"] == (by and "v1.1.0")


def test_a_rejection_that_has_no_figure_says_what_was_wrong():
    raw, prepared, _ = delivered("d1", {"p1": "unreadable", "p2": "unknown_name"}, TRAINED_ON)
    prepared = prepared.with_columns(
        score=None, bound=None, detail=pl.Series(["it starts as a PNG and cannot be decoded", None])
    )
    rows = inspect(raw, prepared, None, {}, spec=SPEC, decided_at=NOW)
    assert rows["why"].to_list() == ["unreadable: it starts as a PNG and cannot be decoded", "unknown_name"]


def test_a_model_that_does_not_know_the_class_that_passes_decides_nothing():
    by = decider(classes=("good", "defective"))
    (row,) = decided({"p1": 99}, {}, by).iter_rows(named=True)
    assert (row["verdict"], row["reason"], row["release"]) == ("REVIEW", "no_release", None)
    assert row["why"] == why_none_decides(by, SPEC)
    assert row["why"] == (
        "the class that passes is sound by now, and cnn of v1.1.0, which is in force, knows good, defective"
    )


def test_a_release_that_was_judged_with_another_class_as_the_one_that_passes_decides_nothing():
    by = decider(passes="defective")
    (row,) = decided({"p1": 99}, {}, by).iter_rows(named=True)
    assert (row["verdict"], row["reason"], row["release"]) == ("REVIEW", "no_release", None)
    assert row["why"] == (
        "v1.1.0 was released with `defective` as the class that passes; by the spec now it is `sound`"
    )


def test_only_frames_that_a_model_may_decide_on_are_scored():
    _, prepared, _ = delivered("d1", {"p1": 99, "p2": "low_focus"}, TRAINED_ON)
    assert to_score(prepared, decider(), SPEC)["capture_id"].to_list() == ["d1-p1"]
    assert to_score(prepared, decider(preparation="p2"), SPEC).is_empty()
    assert to_score(prepared, decider(classes=("good", "defective")), SPEC).is_empty()
    assert to_score(prepared, decider(passes="defective"), SPEC).is_empty()
    assert to_score(prepared, None, SPEC).is_empty()


def test_a_delivery_without_any_capture_has_no_verdict_and_is_no_error():
    assert decided({}, {}, decider()).is_empty()
    assert decided({}, {}, None).is_empty()


@pytest.mark.parametrize(
    ("score", "band", "verdict", "why"),
    [
        (0.284, (0.284, 0.641), "REVIEW", "defect score 0.284 lies between 0.284 and 0.641"),
        (0.641, (0.284, 0.641), "FAIL", "defect score 0.641 is at least 0.641"),
        (0.28396, (0.284, 0.641), "PASS", "defect score 0.28396 is below 0.28400"),
        (0.5, (0.5, 0.5), "FAIL", "defect score 0.500 is at least 0.500"),
        (0.0, (0.0, 0.5), "REVIEW", "defect score 0.000 lies between 0.000 and 0.500"),
        (
            1.0,
            (0.284, UNREACHABLE),
            "REVIEW",
            "defect score 1.000 is at least 0.284, and by this band nothing fails by itself",
        ),
        (1.0, (UNREACHABLE, UNREACHABLE), "PASS", "defect score 1.000; by this band every part passes"),
    ],
)
def test_the_edges_of_the_band_belong_to_the_stricter_side(score, band, verdict, why):
    row = one(score, decider(*band))
    assert (row["verdict"], row["why"]) == (verdict, why)


@given(
    score=st.floats(0, 1),
    thresholds=st.tuples(st.floats(0, UNREACHABLE), st.floats(0, UNREACHABLE)).map(sorted),
)
def test_below_the_lower_threshold_a_part_passes_from_the_upper_one_on_it_fails_else_people_look(
    score, thresholds
):
    lower, upper = thresholds
    row = one(score, decider(lower, upper))
    stored = row["defect_score"]
    expected = "PASS" if stored < lower else "FAIL" if stored >= upper else "REVIEW"
    assert row["verdict"] == expected
    assert stored == pytest.approx(score)
    assert (row["review_probability"] == 1) == (expected == "REVIEW")
    assert row["audit"] == is_audited("d1-p1", SPEC.review.audit_share)


def test_a_probability_just_above_one_gives_no_defect_score_below_zero():
    raw, prepared, _ = delivered("d1", {"p1": 99}, TRAINED_ON)
    said = {"d1-p1": Scored([1 + 1e-12, 0.0], 1.0)}
    assert inspect(raw, prepared, decider(), said, spec=SPEC, decided_at=NOW)["defect_score"].to_list() == [0]


@pytest.mark.parametrize(
    ("scores", "gave"),
    [
        ([math.nan, math.nan], "nan, nan"),
        ([0.5, math.nan], "0.5, nan"),
        ([math.inf, 0.0], "inf, 0"),
        ([1.7, -0.7], "1.7, -0.7"),
        ([0.5, 0.4], "0.5, 0.4"),
        ([1 + 2e-6, -2e-6], "1.000002, -2e-06"),
        ([1.0], "1"),
        ([0.2, 0.3, 0.5], "0.2, 0.3, 0.5"),
        ([], "nothing"),
    ],
)
def test_a_capture_whose_scores_are_no_probabilities_goes_to_people_and_the_others_are_decided(scores, gave):
    raw, prepared, _ = delivered("d1", {"p1": 99, "p2": 99}, TRAINED_ON)
    said = {"d1-p1": Scored(scores, 1.0), "d1-p2": Scored([0.9, 0.1], 1.0)}
    rows = inspect(raw, prepared, decider(), said, spec=SPEC, decided_at=NOW)
    assert Inspections.is_valid(rows)
    one, other = rows.iter_rows(named=True)
    assert (one["verdict"], one["reason"]) == ("REVIEW", "no_score")
    assert one["why"] == f"the model gave {gave}; expected one probability for each of sound, defective"
    assert (one["scores"], one["defect_score"], one["release"]) == (None, None, "v1.1.0")
    assert one["weights_sha256"] == other["weights_sha256"]
    assert other["verdict"] == "PASS"


@given(st.lists(st.floats(0.01, 1), min_size=2, max_size=2), st.floats(0.9991, 1.0009))
def test_probabilities_may_miss_their_sum_by_rounding(weights, total):
    raw, prepared, _ = delivered("d1", {"p1": 99}, TRAINED_ON)
    scores = [one / sum(weights) * total for one in weights]
    rows = inspect(raw, prepared, decider(), {"d1-p1": Scored(scores, 1.0)}, spec=SPEC, decided_at=NOW)
    assert rows["scores"].to_list() == [scores]


def test_people_are_asked_about_every_capture_under_review_for_its_reason():
    assert {reason for reason, verdict in REASONS.items() if verdict == "REVIEW"} < set(review.REASONS)


def test_the_audit_draws_its_share_of_captures_always_the_same_ones():
    names = [f"capture {number}" for number in range(20_000)]
    drawn = [name for name in names if is_audited(name, 0.1)]
    assert len(drawn) == pytest.approx(2000, abs=3 * math.sqrt(20_000 * 0.1 * 0.9))
    assert drawn == [name for name in names if is_audited(name, 0.1)]
    assert set(drawn) <= {name for name in names if is_audited(name, 0.2)}
    assert all(is_audited(name, 1.0) for name in names)
    # As `b2sum --length 64` says of this name: 4728e3165b4e53d9, which is 0.27797 of 2^64.
    assert [is_audited("capture 0", share) for share in (0.2779, 0.2780)] == [False, True]


def test_an_automatic_verdict_keeps_how_probable_it_was_that_a_person_sees_it():
    rows = decided({f"p{n}": 1 for n in range(200)}, {f"p{n}": 0.1 for n in range(200)}, decider())
    assert rows["review_probability"].unique().to_list() == [SPEC.review.audit_share]
    assert 0 < rows["audit"].sum() < 60


def test_every_verdict_may_have_been_seen_by_a_person():
    rows = decided({"p1": 1}, {"p1": 0.1}, decider())
    never = rows.with_columns(review_probability=pl.lit(0.0))
    assert Inspections.filter(never).failure.counts() == {"review_probability|min_exclusive": 1}
