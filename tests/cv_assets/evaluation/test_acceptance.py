"""Which model is proposed, and whether it may be released."""

import polars as pl
import pytest
from hypothesis import given
from hypothesis import strategies as st

from cv_assets.evaluation.acceptance import Choice, accept, band_of, choose_model, in_words, judge
from cv_assets.evaluation.rulings import Ruling
from cv_assets.evaluation.schema import EvaluationReport
from cv_assets.spec.evaluation import Criterion

CNN = Choice("cnn", "best", sound=True)


def report(*rows: tuple) -> pl.DataFrame:
    """Rows as (model, set, metric, value, low, high, samples); the band of both models stands there too."""
    bands = [
        (model, "out_of_fold", f"{end}_threshold", value, None, None, 50)
        for model in ("cnn", "vit")
        for end, value in (("lower", 0.2), ("upper", 0.8))
    ]
    table = [
        {
            "model": model,
            "set": set_,
            "slice": "all",
            "metric": metric,
            "value": value,
            "low": low,
            "high": high,
            "samples": samples,
            "groups": 3,
        }
        for model, set_, metric, value, low, high, samples in [*rows, *bands]
    ]
    return pl.DataFrame(table, schema=EvaluationReport.create_empty().schema)


def accepted(measured: pl.DataFrame, criterion: Criterion, *trained: str, choice: Choice = CNN) -> Ruling:
    return accept(measured, criterion, choice, trained)


AUC = ("cnn", "golden", "roc_auc", 0.8, 0.7, 0.9, 100)
ESCAPES = ("cnn", "golden", "escape_rate", 0.1, 0.05, 0.2, 40)


@pytest.mark.parametrize(
    ("criterion", "passes"),
    [
        (Criterion(metric="roc_auc", at_least=0.8), True),
        (Criterion(metric="roc_auc", at_least=0.81), False),
        (Criterion(metric="roc_auc", at_least=0.7, judge="bound"), True),
        (Criterion(metric="roc_auc", at_least=0.71, judge="bound"), False),
        (Criterion(metric="escape_rate", at_most=0.1), True),
        (Criterion(metric="escape_rate", at_most=0.09), False),
        (Criterion(metric="escape_rate", at_most=0.2, judge="bound"), True),
        (Criterion(metric="escape_rate", at_most=0.19, judge="bound"), False),
        (Criterion(metric="roc_auc", at_least=0.8, min_samples=100), True),
        (Criterion(metric="roc_auc", at_least=0.8, min_samples=101), False),
    ],
)
def test_a_criterion_holds_the_estimate_or_the_worse_end_to_its_bound(criterion, passes):
    assert accepted(report(AUC, ESCAPES), criterion).passed is passes


@pytest.mark.parametrize(
    ("criterion", "why"),
    [
        (
            Criterion(metric="recall", at_least=0.1),
            "missing evidence: recall on golden frames was not measured",
        ),
        (
            Criterion(metric="roc_auc", set="challenge", at_least=0.1),
            "missing evidence: roc_auc on challenge frames was not measured",
        ),
        (
            Criterion(metric="roc_auc", slice="product=poly", at_least=0.1),
            "missing evidence: roc_auc on golden frames with product=poly was not measured",
        ),
        (
            Criterion(metric="f1", at_least=0.0),
            "missing evidence: f1 on golden frames is not defined on its 0 frames",
        ),
        (
            Criterion(metric="roc_auc", at_least=0.1, min_samples=200),
            "missing evidence: roc_auc on golden frames is 0.800 [0.700, 0.900] on 100 frames of 3 groups; "
            "200 frames are required",
        ),
        (
            Criterion(metric="latency_p95_ms", at_most=100, judge="bound"),
            "missing evidence: latency_p95_ms on golden frames is 12.0 [11.0, unknown] on 20 frames of 3 groups, "
            "too few frames for the high end of its interval",
        ),
    ],
)
def test_missing_evidence_fails_and_says_what_is_missing(criterion, why):
    measured = report(
        AUC,
        ("cnn", "golden", "f1", None, None, None, 0),
        ("cnn", "golden", "latency_p95_ms", 12.0, 11.0, None, 20),
        ("vit", "golden", "recall", 1.0, 1.0, 1.0, 100),
    )
    ruling = accepted(measured, criterion)
    assert (ruling.passed, ruling.why) == (False, why)


CRITERIA = st.builds(
    Criterion,
    metric=st.sampled_from(["roc_auc", "f1", "recall"]),
    set=st.sampled_from(["golden", "challenge"]),
    at_least=st.floats(0, 1),
    judge=st.sampled_from(["estimate", "bound"]),
    min_samples=st.integers(1, 200),
)
FIGURES = st.none() | st.floats(0, 1)


@given(CRITERIA, FIGURES, FIGURES, st.integers(0, 300))
def test_a_criterion_passes_only_on_enough_evidence_that_is_good_enough(criterion, value, low, samples):
    ruling = accepted(report(("cnn", "golden", "roc_auc", value, low, 1.0, samples)), criterion)
    counts = low if criterion.judge == "bound" else value
    there = (criterion.metric, criterion.set) == ("roc_auc", "golden") and None not in (value, counts)
    assert ruling.passed == (there and samples >= criterion.min_samples and counts >= criterion.at_least)


POLY = Criterion(metric="roc_auc", slice="product=poly", at_least=0.9, applies="when_trained")


def test_a_condition_that_does_not_train_is_not_judged_and_keeps_no_figure():
    measured = report(("cnn", "golden", "roc_auc", 0.5, 0.4, 0.6, 100)).with_columns(
        slice=pl.lit("product=poly")
    )
    ruling = accepted(measured, POLY, "product=mono")
    assert (ruling.passed, ruling.why) == (True, "not applicable: no training frame has product=poly")
    assert (ruling.measured, ruling.samples) == (None, 0)
    assert ruling.criterion.endswith("with product=poly: at least 0.9, once such frames train")


def test_a_condition_that_trains_is_judged_like_any_other_slice():
    ruling = accepted(report(), POLY, "product=mono", "product=poly")
    assert (ruling.passed, ruling.why) == (
        False,
        "missing evidence: roc_auc on golden frames with product=poly was not measured",
    )


def test_the_model_is_chosen_by_out_of_fold_figures_never_by_the_benchmark():
    measured = report(
        ("cnn", "out_of_fold", "roc_auc", 0.9, None, None, 100),
        ("vit", "out_of_fold", "roc_auc", 0.8, None, None, 100),
        ("cnn", "golden", "roc_auc", 0.5, None, None, 100),
        ("vit", "golden", "roc_auc", 1.0, None, None, 100),
    )
    choice = choose_model(measured, ["vit", "cnn"], "roc_auc")
    assert (choice.model, choice.why) == ("cnn", "best roc_auc out of fold: vit 0.800, cnn 0.900")


def test_the_smaller_figure_wins_where_smaller_is_better():
    measured = report(
        ("cnn", "out_of_fold", "review_share", 0.4, None, None, 100),
        ("vit", "out_of_fold", "review_share", 0.3, None, None, 100),
    )
    assert choose_model(measured, ["cnn", "vit"], "review_share").model == "vit"


def test_of_equal_models_the_first_of_the_spec_is_chosen():
    measured = report(*[(model, "out_of_fold", "f1", 0.5, None, None, 10) for model in ("cnn", "vit")])
    assert choose_model(measured, ["vit", "cnn"], "f1").model == "vit"


def test_a_model_whose_figure_is_not_defined_is_not_chosen():
    measured = report(
        ("cnn", "out_of_fold", "fail_precision", None, None, None, 0),
        ("vit", "out_of_fold", "fail_precision", 0.1, None, None, 10),
    )
    assert choose_model(measured, ["cnn", "vit"], "fail_precision").model == "vit"


def test_where_nothing_speaks_for_any_model_no_criterion_is_met():
    choice = choose_model(report(AUC), ["cnn", "vit"], "f1")
    ruling = accepted(report(AUC), Criterion(metric="roc_auc", at_least=0.1), choice=choice)
    assert (ruling.passed, ruling.why) == (False, "no model: f1 is not defined out of fold for any model")


def test_a_report_without_a_band_is_refused():
    with pytest.raises(ValueError, match="no operating band for 'resnet'"):
        band_of(report(AUC), "resnet")


def test_a_bound_on_the_interval_is_said_in_words():
    criterion = Criterion(metric="overkill", slice="product=mono", at_most=0.2, judge="bound")
    assert in_words(criterion) == (
        "overkill on golden frames with product=mono: at most 0.2 (upper end of its interval)"
    )


def test_one_frame_of_one_group_is_said_in_the_singular():
    measured = {"value": 0.9, "low": 0.2, "high": 1.0, "samples": 1, "groups": 1}
    _, why = judge(Criterion(metric="recall", at_least=0.8), measured)
    assert why == "recall on golden frames is 0.900 [0.200, 1.000] on 1 frame of 1 group; at least 0.8 is met"
