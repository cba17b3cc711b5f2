"""The decision of the gate as a whole."""

import json
from pathlib import Path
from typing import Any

import polars as pl
import pytest
from hypothesis import given
from hypothesis import strategies as st

from cv_assets.evaluation.acceptance import Choice
from cv_assets.evaluation.decision import decide
from cv_assets.evaluation.released import Released
from cv_assets.evaluation.rulings import met_in_words
from cv_assets.evaluation.schema import EvaluationReport, ReleaseDecision
from cv_assets.spec.evaluation import Criterion, Regression
from cv_assets.spec.load import load_spec

DEMO = load_spec(Path(__file__).parents[3] / "specs" / "solar_cells.yaml")
CNN = Choice("cnn", "best", sound=True)
V1 = Released({"version": "v1.0.0"}, {}, unlike="")
ESCAPES, POLY, LOSS = (
    Criterion(metric="escape_rate", at_most=0.3, min_samples=20),
    Criterion(metric="escape_rate", slice="product=poly", at_most=0.3, applies="when_trained"),
    Regression(metric="escape_rate", max_loss=0.1),
)


def report(**values: float | None) -> pl.DataFrame:
    """The escape rate of each model on 40 golden frames, and the band of cnn."""
    same = {"set": "golden", "slice": "all", "low": None, "high": None, "samples": 40, "groups": 3}
    rows = [
        {**same, "model": model, "metric": "escape_rate", "value": value} for model, value in values.items()
    ]
    band = {"lower_threshold": 0.2, "upper_threshold": 0.8}
    rows += [
        {**same, "model": "cnn", "set": "out_of_fold", "metric": name, "value": value}
        for name, value in band.items()
    ]
    return pl.DataFrame(rows, schema=EvaluationReport.create_empty().schema)


def split(**products: tuple[str, int]) -> pl.DataFrame:
    """So many frames of each product in a role."""
    rows = [
        {"role": role, "attributes": json.dumps({"product": product.split("_")[0]})}
        for product, (role, frames) in products.items()
        for _ in range(frames)
    ]
    return pl.DataFrame(rows, schema={"role": pl.String, "attributes": pl.String})


def decided(
    measured: pl.DataFrame,
    frames: pl.DataFrame,
    *criteria: Criterion,
    regression: tuple[Regression, ...] = (),
    released: Released | None = None,
) -> pl.DataFrame:
    evaluation = DEMO.evaluation.model_copy(update={"acceptance": criteria, "regression": regression})
    spec = DEMO.model_copy(update={"evaluation": evaluation})
    rows = decide(measured, frames, CNN, spec, candidate="first", released=released)
    return ReleaseDecision.validate(rows)


MONO = split(mono=("train", 60), mono_golden=("golden", 30))


def test_a_decision_row_holds_what_was_asked_measured_and_decided():
    row = decided(report(cnn=0.1), MONO, ESCAPES).row(0, named=True)
    assert row == {
        "number": 1,
        "candidate": "first",
        "kind": "acceptance",
        "criterion": "escape_rate on golden frames: at most 0.3, on 20 frames or more",
        "metric": "escape_rate",
        "set": "golden",
        "slice": "all",
        "required": 0.3,
        "comparison": "at_most",
        "judge": "estimate",
        "measured": 0.1,
        "low": None,
        "high": None,
        "samples": 40,
        "passed": True,
        "why": "escape_rate on golden frames is 0.100 [unknown, unknown] on 40 frames of 3 groups; at most 0.3 is met",
        "model": "cnn",
        "lower": 0.2,
        "upper": 0.8,
        "released_version": None,
    }


def told(rows: pl.DataFrame) -> list[tuple[Any, ...]]:
    return rows.select("number", "kind", "slice", "passed").rows()


def test_bounds_come_first_then_the_release_then_the_conditions_that_train():
    frames = pl.concat([MONO, split(poly=("train", 10), poly_golden=("golden", 19))])
    rows = decided(report(cnn=0.1, released=0.05), frames, ESCAPES, POLY, regression=(LOSS,), released=V1)
    assert told(rows) == [
        (1, "acceptance", "all", True),
        (2, "acceptance", "product=poly", False),
        (3, "regression", "all", True),
        (4, "condition", "product=mono", True),
        (5, "condition", "product=poly", False),
    ]
    assert rows["released_version"].unique().to_list() == ["v1.0.0"]
    assert met_in_words(rows) == "3 of 5 criteria are met"


def test_before_a_first_release_and_a_new_condition_their_criteria_do_not_apply():
    rows = decided(report(cnn=0.1), MONO, ESCAPES, POLY, regression=(LOSS,))
    assert rows["passed"].all()
    assert rows["released_version"].null_count() == rows.height
    assert met_in_words(rows) == "all 2 criteria are met, 2 more do not apply"


def test_golden_frames_of_a_condition_that_does_not_train_ask_for_nothing():
    frames = pl.concat([MONO, split(poly=("golden", 5), poly_test=("test", 5))])
    assert told(decided(report(cnn=0.1), frames, ESCAPES))[1:] == [(2, "condition", "product=mono", True)]


@pytest.mark.parametrize(
    ("passed", "measured", "words"),
    [
        ([True], [0.1], "the one criterion is met"),
        ([True, True], [0.1, 0.2], "all 2 criteria are met"),
        ([True, True], [0.1, None], "the one criterion is met, 1 more does not apply"),
        ([True, False], [0.1, None], "1 of 2 criteria are met"),
        ([False], [0.3], "0 of 1 criteria are met"),
    ],
)
def test_what_does_not_apply_is_not_counted_as_met(passed, measured, words):
    assert met_in_words(pl.DataFrame({"passed": passed, "measured": measured})) == words


FIGURES = st.none() | st.floats(0, 1)


@given(FIGURES, FIGURES, st.integers(0, 30), st.integers(0, 30), st.booleans())
def test_every_decision_follows_its_contract_and_a_passed_one_has_its_evidence(
    now, then, train, golden, compared
):
    frames = split(mono=("train", train), mono_golden=("golden", golden))
    rows = decided(
        report(cnn=now, released=then), frames, ESCAPES, regression=(LOSS,), released=V1 if compared else None
    )
    if rows["passed"].all():
        assert now is not None
        assert now <= 0.3
        assert not compared or (then is not None and now - then <= 0.1 + 1e-9)
        assert golden >= DEMO.evaluation.new_condition_frames or train == 0
