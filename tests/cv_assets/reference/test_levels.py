"""Levels from the reference's own deliveries."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from cv_assets.reference.bins import counts_in, edges_of, kl, psi
from cv_assets.reference.levels import (
    corrected,
    least_false_alarms,
    left_one_out,
    noise_of_fewer,
    rank,
)
from cv_assets.reference.quantiles import quantile_interval


def test_each_delivery_is_measured_against_bins_made_of_the_others():
    values, deliveries = [1, 2, 3, 4, 11, 12, 13, 14], ["a"] * 4 + ["b"] * 4
    found = left_one_out(values, deliveries, bins=4, min_frames=2)
    edges = edges_of([11, 12, 13, 14], 4)
    of_b, of_a = counts_in(edges, [11, 12, 13, 14]), counts_in(edges, [1, 2, 3, 4])
    assert found.deliveries == ("a", "b")
    assert (found.psi[0], found.kl[0]) == (psi(of_b, of_a), kl(of_b, of_a))
    assert of_a.tolist() == [4, 0, 0, 0]


def test_a_delivery_with_too_few_frames_is_only_among_the_others():
    values, deliveries = [1.0] * 5 + [2.0] * 5 + [9.0] * 2, ["a"] * 5 + ["b"] * 5 + ["few"] * 2
    found = left_one_out(values, deliveries, bins=4, min_frames=3)
    without_few = left_one_out(values[:10], deliveries[:10], bins=4, min_frames=3)
    assert found.deliveries == ("a", "b")
    assert found.frames.tolist() == [5, 5]
    assert (found.psi != without_few.psi).all()


def test_frames_without_a_value_do_not_count_towards_the_least_number():
    values = [1.0, 2.0, np.nan, 1.0, 2.0, 3.0]
    assert left_one_out(values, list("aaabbb"), bins=4, min_frames=3).deliveries == ("b",)


@pytest.mark.parametrize("deliveries", [[], ["a"] * 40])
def test_without_other_deliveries_nothing_is_measured(deliveries):
    found = left_one_out(np.arange(len(deliveries)), deliveries, bins=10, min_frames=1)
    assert (found.deliveries, len(found.psi), len(found.kl)) == ((), 0, 0)


@given(st.lists(st.tuples(st.floats(), st.sampled_from("abc")), max_size=50))
def test_differences_are_never_nan_and_never_negative(frames):
    found = left_one_out([one for one, _ in frames], [name for _, name in frames], bins=10, min_frames=2)
    assert len(found.psi) == len(found.kl) == len(found.deliveries)
    assert (found.psi >= 0).all()
    assert (found.kl >= 0).all()


def test_the_level_is_one_of_the_differences_that_the_quantile_of_them_does_not_exceed():
    differences = np.arange(1.0, 13)
    assert quantile_interval(differences, 0.9, 0.95).value == 11
    assert quantile_interval(np.arange(1.0, 11), 0.9, 0.95).value == 9


def test_a_level_of_few_deliveries_has_no_upper_end():
    interval = quantile_interval(np.arange(1.0, 13), 0.9, 0.95)
    assert (interval.low, interval.high) == (8, None)
    assert quantile_interval(np.array([]), 0.9, 0.95).value is None


def test_fewer_frames_than_usual_differ_more_by_as_much_as_their_noise():
    # 9 degrees of freedom: 9 / 30 less 9 / 60, and half of that for the KL divergence.
    assert noise_of_fewer("psi", [6] * 10, 30, 60) == pytest.approx(0.15)
    assert noise_of_fewer("kl", [6] * 10, 30, 60) == pytest.approx(0.075)
    assert noise_of_fewer("psi", [6] * 10, 60, 60) == noise_of_fewer("psi", [6] * 10, 90, 60) == 0


def test_bins_that_nothing_falls_in_make_no_noise():
    assert noise_of_fewer("psi", [0, 60, 0], 30, 60) == 0
    assert noise_of_fewer("psi", [30, 0, 30], 30, 60) == pytest.approx(1 / 60)


def test_where_it_is_not_known_what_is_usual_nothing_is_made_of_it():
    assert noise_of_fewer("psi", [6] * 10, 30, None) == 0


@pytest.mark.parametrize("measure", ["psi", "kl"])
def test_frames_of_the_reference_itself_differ_by_the_noise_of_so_many(measure):
    random = np.random.default_rng(3)
    reference = random.normal(size=100_000)
    edges = edges_of(reference, 10)
    counts = counts_in(edges, reference)
    of = {"psi": psi, "kl": kl}[measure]
    few, usual = (
        np.mean([of(counts, counts_in(edges, random.normal(size=size))) for _ in range(1500)])
        for size in (400, 1600)
    )
    assert few - usual == pytest.approx(noise_of_fewer(measure, counts, 400, 1600), rel=0.1)


def test_deliveries_of_half_the_frames_are_flagged_about_as_often_as_the_usual_ones():
    """Ordinary deliveries, upwards only, at the 0.9 quantile and a tolerance of 0.2; uncorrected it is one in four."""
    usual, half, uncorrected = np.mean([_flagged(seed) for seed in range(8)], axis=0)
    assert usual == pytest.approx(0.09, abs=0.03)
    assert half == pytest.approx(usual, abs=0.03)
    assert uncorrected > 2 * usual


def _flagged(seed: int) -> tuple[float, float, float]:
    """Shares of ordinary deliveries of 60 frames, of 30 frames and of these without correction."""
    random = np.random.default_rng(seed)

    def deliveries(number: int, frames: int) -> np.ndarray:
        return random.normal(0, 0.15, (number, 1)) + random.normal(size=(number, frames))

    reference = deliveries(20, 60)
    found = left_one_out(reference.ravel(), np.repeat(np.arange(20), 60), bins=10, min_frames=30)
    edges = edges_of(reference.ravel(), 10)
    counts, median = counts_in(edges, reference.ravel()), np.median(reference)
    ordinary = quantile_interval(found.psi, 0.9, 0.95).value

    def flagged(some: np.ndarray, noise: float) -> float:
        beyond = [psi(counts, counts_in(edges, one)) > max(ordinary + noise, 0.2) for one in some]
        return float(np.mean(beyond & (np.median(some, axis=1) > median)))

    small = deliveries(200, 30)
    return (
        flagged(deliveries(200, 60), 0.0),
        flagged(small, noise_of_fewer("psi", counts, 30, 60)),
        flagged(small, 0.0),
    )


def test_a_quantile_corrected_for_many_statistics_is_the_largest_of_few_deliveries():
    assert corrected(0.9, 20) == pytest.approx(0.995)
    assert corrected(0.9, 1) == pytest.approx(0.9)
    assert quantile_interval(np.arange(1.0, 20), corrected(0.9, 20), 0.95).value == 19


def test_an_ordinary_delivery_exceeds_the_level_about_as_often_as_it_says():
    # Of 19 ordinary deliveries and a 20th the largest is the 20th once in 20, by symmetry.
    random = np.random.default_rng(0)
    draws = random.exponential(size=(1000, 20))
    beyond = np.mean([one[-1] > quantile_interval(one[:-1], 0.99, 0.95).value for one in draws])
    assert beyond == pytest.approx(least_false_alarms(19), abs=0.025)


@pytest.mark.parametrize(
    ("value", "share"), [(0, 0), (1, 1 / 8), (2, 1 / 2), (2.5, 3 / 4), (3, 7 / 8), (9, 1)]
)
def test_a_rank_is_the_share_below_and_ties_count_half(value, share):
    assert rank([1, 2, 2, 3], value) == share


def test_without_anything_to_compare_a_rank_is_in_the_middle():
    assert rank([], 3.0) == 0.5
    assert rank([np.nan], 3.0) == 0.5


@given(st.lists(st.floats(), max_size=20), st.floats(allow_nan=False), st.floats(allow_nan=False))
def test_a_greater_difference_has_no_lower_rank(differences, one, other):
    low, high = sorted([one, other])
    assert 0 <= rank(differences, low) <= rank(differences, high) <= 1
