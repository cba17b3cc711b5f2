"""What a candidate may lose against the release in force."""

import polars as pl
import pytest
from hypothesis import given
from hypothesis import strategies as st

from cv_assets.evaluation.acceptance import Choice
from cv_assets.evaluation.band import OperatingBand
from cv_assets.evaluation.regression import compare, side_by_side
from cv_assets.evaluation.released import Released
from cv_assets.evaluation.rulings import Ruling
from cv_assets.evaluation.schema import EvaluationReport
from cv_assets.spec.evaluation import SMALLER_IS_BETTER, Regression

CNN = Choice("cnn", "best", sound=True)
RELEASE = {"version": "v1.0.0", "model": "vit", "candidate": "first", "lower": 0.2, "upper": 0.8}
V1 = Released(RELEASE, {}, unlike="")
ESCAPES = Regression(metric="escape_rate", max_loss=0.1)


def report(*rows: tuple) -> pl.DataFrame:
    """Rows as (model, metric, value, samples), on golden frames unless a set follows."""
    table = [
        {
            "model": model,
            "set": more[0] if more else "golden",
            "slice": "all",
            "metric": metric,
            "value": value,
            "low": None if value is None else value / 2,
            "high": value,
            "samples": samples,
            "groups": 3,
        }
        for model, metric, value, samples, *more in rows
    ]
    return pl.DataFrame(table, schema=EvaluationReport.create_empty().schema)


def escapes(candidate: float | None, released: float | None, samples: int = 40) -> pl.DataFrame:
    return report(("cnn", "escape_rate", candidate, samples), ("released", "escape_rate", released, samples))


def compared(
    measured: pl.DataFrame, criterion: Regression = ESCAPES, released: Released | None = V1, **changed
) -> Ruling:
    return compare(measured, criterion, changed.get("choice", CNN), released, changed.get("sets", {"golden"}))


def test_a_candidate_may_lose_as_much_as_the_criterion_says():
    ruling = compared(escapes(0.324, 0.224))
    assert ruling == Ruling(
        kind="regression",
        criterion="escape_rate on golden frames: at most 0.224 + 0.100 (v1.0.0)",
        metric="escape_rate",
        set="golden",
        slice="all",
        required=pytest.approx(0.324),
        comparison="at_most",
        passed=True,
        why="escape_rate on golden frames is 0.324 [0.162, 0.324] on 40 frames of 3 groups; v1.0.0 has 0.224 there: "
        "0.100 worse; at most 0.100 worse is met",
        measured=0.324,
        low=0.162,
        high=0.324,
        samples=40,
    )


def test_a_candidate_that_loses_more_is_not_met_and_told_by_how_much():
    ruling = compared(escapes(0.4, 0.224))
    assert not ruling.passed
    assert ruling.why.endswith("v1.0.0 has 0.224 there: 0.176 worse; at most 0.100 worse is not met")


def test_a_figure_of_which_more_is_better_is_bounded_from_below():
    criterion = Regression(metric="roc_auc", max_loss=0.05, min_samples=100)
    measured = report(("cnn", "roc_auc", 0.8, 100), ("released", "roc_auc", 0.85, 100))
    ruling = compared(measured, criterion)
    assert ruling.passed
    assert ruling.comparison == "at_least"
    assert (
        ruling.criterion == "roc_auc on golden frames: at least 0.850 - 0.050 (v1.0.0), on 100 frames or more"
    )


@pytest.mark.parametrize(
    ("candidate", "released", "told"),
    [(0.1, 0.2, "0.100 better"), (0.2, 0.2, "the same"), (0.25, 0.2, "0.050 worse")],
)
def test_the_difference_says_which_way_it_goes(candidate, released, told):
    measured = escapes(candidate, released)
    assert f"there: {told}; at most" in compared(measured).why
    assert side_by_side(measured, "cnn", ["escape_rate"])["difference"].to_list() == [told]


SHARES = st.integers(0, 1000).map(lambda thousandths: thousandths / 1000)


@given(SHARES, SHARES, SHARES, st.sampled_from(["escape_rate", "overkill", "roc_auc", "recall"]))
def test_rounding_never_decides_whether_a_loss_is_allowed(candidate, released, max_loss, metric):
    criterion = Regression(metric=metric, max_loss=max_loss)
    measured = report(("cnn", metric, candidate, 40), ("released", metric, released, 40))
    loss = round(1000 * candidate) - round(1000 * released)
    loss = loss if metric in SMALLER_IS_BETTER else -loss
    assert compared(measured, criterion).passed == (loss <= round(1000 * max_loss))


def test_nothing_can_be_lost_before_the_first_release():
    ruling = compared(escapes(0.9, 0.1), released=None)
    assert (ruling.passed, ruling.why) == (True, "not applicable: nothing is in force")
    assert ruling.criterion == "escape_rate on golden frames: at most 0.100 worse than the release in force"
    assert (ruling.required, ruling.measured) == (None, None)


CHALLENGE = Regression(metric="escape_rate", set="challenge", max_loss=0.1)


def test_a_challenge_set_counts_once_it_has_frames():
    ruling = compared(report(), CHALLENGE)
    assert (ruling.passed, ruling.why) == (True, "not applicable: the benchmark holds no challenge frames")
    sets = {"golden", "challenge"}
    worse = report(
        ("cnn", "escape_rate", 0.9, 9, "challenge"), ("released", "escape_rate", 0.1, 9, "challenge")
    )
    assert not compared(worse, CHALLENGE, sets=sets).passed
    assert compared(report(), CHALLENGE, sets=sets).why == (
        "missing evidence: escape_rate on challenge frames was not measured"
    )


def test_a_release_that_cannot_be_measured_on_these_frames_is_missing_evidence():
    ruling = compared(escapes(0.1, None), released=Released(RELEASE, {}, unlike="v1.0.0 knows another pass"))
    assert (ruling.passed, ruling.why) == (False, "missing evidence: v1.0.0 knows another pass")
    assert ruling.criterion == "escape_rate on golden frames: at most 0.100 worse than v1.0.0"
    assert (ruling.required, ruling.measured) == (None, 0.1)


@pytest.mark.parametrize(
    ("measured", "why"),
    [
        (report(("cnn", "escape_rate", 0.1, 40)), "escape_rate of v1.0.0 on golden frames was not measured"),
        (report(("released", "escape_rate", 0.1, 40)), "escape_rate on golden frames was not measured"),
        (escapes(0.1, None), "escape_rate of v1.0.0 on golden frames is not defined on its 40 frames"),
        (escapes(None, 0.1), "escape_rate on golden frames is not defined on its 40 frames"),
        (
            escapes(0.1, 0.1, samples=19),
            "escape_rate on golden frames is 0.100 [0.050, 0.100] on 19 frames of 3 groups; 20 frames are required",
        ),
    ],
)
def test_missing_evidence_of_either_model_is_not_met(measured, why):
    ruling = compared(measured, Regression(metric="escape_rate", max_loss=1.0, min_samples=20))
    assert (ruling.passed, ruling.why) == (False, f"missing evidence: {why}")


def test_without_a_model_nothing_is_compared():
    ruling = compared(escapes(0.1, 0.1), choice=Choice("cnn", "f1 is not defined", sound=False))
    assert (ruling.passed, ruling.why) == (False, "no model: f1 is not defined")


def test_candidate_and_release_stand_side_by_side_on_what_both_were_measured_on():
    measured = report(
        ("cnn", "overkill", 0.1, 20, "out_of_fold"),
        ("cnn", "overkill", 0.04, 20),
        ("cnn", "fail_precision", 0.9, 20),
        ("vit", "overkill", 0.9, 20),
        ("released", "overkill", 0.72, 20),
        ("released", "fail_precision", None, 0),
        ("released", "f1", 0.5, 20),
    )
    assert side_by_side(measured, "cnn", ["overkill", "fail_precision"]).rows() == [
        ("overkill", "golden", "all", "0.720 [0.360, 0.720]", "0.040 [0.020, 0.040]", "0.680 better"),
        ("fail_precision", "golden", "all", "-", "0.900 [0.450, 0.900]", "unknown"),
    ]


def test_the_release_is_called_by_its_version_its_model_and_its_own_band():
    assert V1.band == OperatingBand(0.2, 0.8)
    assert V1.words.startswith("v1.0.0 (vit of first): below 0.200 a part passes")
