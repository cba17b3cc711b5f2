from collections.abc import Mapping

import numpy as np
import polars as pl
import pytest
from hypothesis import given
from hypothesis import strategies as st

from cv_assets.reference.judgement import judge, known, median
from cv_assets.spec.drift import Drift

DRIFT = Drift(tolerance=0.2, min_frames=4)
ROW = {
    "edges": [1.0, 2.0, 3.0],
    "counts": [100, 100, 100, 100],
    "median": 2.0,
    "side": "above",
    "psi": [0.5, 1.0, 1.5, 2.0],
    "kl": [0.25, 0.5, 0.75, 1.0],
    "psi_level": 1.1,
    "kl_level": 0.55,
    "calibrated": True,
}
"""A quarter of the training frames below 1, one between 1 and 2, 2 and 3, and above 3."""

AS_TRAINED, HIGHER, LOWER = np.array([0.5, 1.5, 2.5, 3.5] * 10), np.full(40, 9.0), np.full(40, 0.5)


@pytest.mark.parametrize(
    ("values", "changed", "outcome", "rank"),
    [
        (HIGHER, {}, "beyond", 1.0),
        (HIGHER, {"psi_level": 9.0}, "within", 1.0),
        (AS_TRAINED, {}, "tolerated", 0.0),
        (LOWER, {}, "lower", 0.0),
        (LOWER, {"side": "both"}, "beyond", 1.0),
        (HIGHER, {"calibrated": False}, "not_calibrated", None),
        (HIGHER, {"psi_level": None, "psi": []}, "not_calibrated", None),
    ],
)
def test_what_follows_from_a_difference(values, changed: Mapping[str, object], outcome, rank):
    judged = judge({**ROW, **changed}, values, DRIFT)
    assert (judged.outcome, judged.rank) == (outcome, rank)


def test_fewer_frames_than_usual_raise_level_and_lower_rank_by_their_noise():
    judged = judge({**ROW, "usual_frames": 80}, HIGHER, DRIFT)
    assert judged.noise == {"psi": pytest.approx(3 / 40 - 3 / 80), "kl": pytest.approx(1.5 / 40 - 1.5 / 80)}
    assert judged.levels == {
        name: pytest.approx(ROW[f"{name}_level"] + judged.noise[name]) for name in ("psi", "kl")
    }


@given(st.lists(st.floats(allow_nan=False), min_size=1, max_size=50))
def test_every_delivery_that_lies_beyond_differs_by_more_than_its_level_and_the_tolerance(values):
    judged = judge(ROW, np.array(values), DRIFT)
    if judged.outcome == "beyond":
        assert judged.differences["psi"] > max(judged.levels["psi"], DRIFT.tolerance)
        assert judged.median > judged.usual


def test_nan_and_null_are_no_values_and_a_missing_column_has_none():
    frames = pl.DataFrame({"novelty": [1.0, None, float("nan"), 2.0]})
    assert known(frames, "novelty").tolist() == [1, 2]
    assert known(frames, "decoded.focus").tolist() == []


def test_the_median_of_an_even_number_is_the_lower_middle_one():
    assert median(np.array([4.0, -np.inf, np.inf, 2.0])) == 2
    assert np.isnan(median(np.empty(0)))
