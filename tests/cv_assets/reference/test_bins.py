"""Frozen bins, PSI and KL divergence."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.special import rel_entr

from cv_assets.reference.bins import counts_in, edges_of, kl, psi

values = st.lists(st.floats(allow_nan=True, allow_infinity=True), max_size=60)
few_values = st.lists(st.sampled_from([0.0, 1.0, 1.0, 2.5, -np.inf, np.inf, np.nan]), max_size=60)
pairs_of_counts = st.integers(1, 12).flatmap(
    lambda bins: st.tuples(
        *(st.lists(st.integers(0, 10_000), min_size=bins, max_size=bins) for _ in range(2))
    )
)


def test_bins_hold_equal_shares_of_the_reference():
    edges = edges_of(np.arange(100), 10)
    assert edges.tolist() == [10, 20, 30, 40, 50, 60, 70, 80, 90]
    assert counts_in(edges, np.arange(100)).tolist() == [10] * 10


def test_a_value_on_an_edge_belongs_to_the_bin_right_of_it():
    assert counts_in([1.0, 2.0], [0.5, 1.0, 1.5, 2.0, 9.0]).tolist() == [1, 2, 2]


def test_what_lies_outside_the_reference_falls_in_the_outer_bins():
    assert counts_in([1.0, 2.0], [-np.inf, -9, 9, np.inf]).tolist() == [2, 0, 2]


def test_nan_is_no_value():
    assert edges_of([np.nan, 1, np.nan, 2], 2).tolist() == edges_of([1, 2], 2).tolist()
    assert counts_in([1.5], [np.nan, 1, 2]).tolist() == [1, 1]


def test_a_constant_statistic_has_bins_below_at_and_above_its_value():
    edges = edges_of([3.0] * 50, 10)
    assert counts_in(edges, [2.9, 3.0, 3.0, 3.1]).tolist() == [1, 2, 1]


def test_a_value_that_many_frames_share_has_a_bin_of_its_own():
    edges = edges_of([0.0] * 15 + list(range(1, 86)), 10)
    assert counts_in(edges, [0.0] * 7 + [0.5] * 2)[:3].tolist() == [0, 7, 2]


def test_fewer_values_than_bins_have_a_bin_each():
    assert counts_in(edges_of([1, 2, 3], 10), [1, 2, 3]).tolist() == [1, 1, 1]


def test_without_values_there_is_one_bin():
    assert edges_of([], 10).tolist() == []
    assert counts_in([], [1.0, 2.0]).tolist() == [2]


def test_edges_that_do_not_rise_are_refused():
    with pytest.raises(ValueError, match=r"edges must rise, got \[2\.0, 1\.0\]"):
        counts_in([2.0, 1.0], [1.5])


@given(st.one_of(values, few_values), st.integers(1, 20))
def test_bins_of_any_values_are_finite_and_rise(some, bins):
    edges = edges_of(some, bins)
    assert np.isfinite(edges).all()
    assert (edges[1:] > edges[:-1]).all()
    counts = counts_in(edges, some)
    assert len(counts) == len(edges) + 1
    assert counts.sum() == (~np.isnan(some)).sum()


@given(st.lists(st.floats(-1e6, 1e6), min_size=1, max_size=60, unique=True), st.integers(2, 12))
def test_shares_of_values_that_differ_are_as_equal_as_can_be(some, bins):
    counts = counts_in(edges_of(some, bins), some)
    held = counts[counts > 0] if len(some) == 1 else counts
    assert held.max() - held.min() <= 1


def test_psi_and_kl_are_those_worked_by_hand():
    # Smoothed shares: reference (10.5, 30.5) / 41, delivery (20.5, 20.5) / 41.
    p, q = np.array([10.5, 30.5]) / 41, np.array([20.5, 20.5]) / 41
    by_hand = (20.5 * np.log(20.5 / 10.5) + 20.5 * np.log(20.5 / 30.5)) / 41
    assert kl([10, 30], [20, 20]) == pytest.approx(by_hand)
    assert kl([10, 30], [20, 20]) == pytest.approx(rel_entr(q, p).sum())
    assert psi([10, 30], [20, 20]) == pytest.approx(rel_entr(q, p).sum() + rel_entr(p, q).sum())


def test_a_bin_that_the_reference_left_empty_gives_a_finite_figure():
    assert 0 < psi([40, 0], [0, 40]) < 10


@given(pairs_of_counts)
def test_psi_and_kl_are_never_negative_never_nan_and_psi_is_the_same_either_way_round(pair):
    reference, counts = pair
    for measure in (psi, kl):
        assert 0 <= measure(reference, counts) < np.inf
    assert psi(reference, counts) == pytest.approx(psi(counts, reference), abs=1e-12)
    assert kl(reference, counts) <= psi(reference, counts) + 1e-12


@given(st.lists(st.integers(0, 10_000), min_size=1, max_size=12))
def test_equal_counts_do_not_differ(counts):
    assert psi(counts, counts) == 0
    assert kl(counts, counts) == 0


@given(st.lists(st.integers(1, 50), min_size=2, max_size=10), st.integers(2, 20))
def test_equal_shares_of_more_frames_differ_by_no_more_than_the_smoothing(counts, times):
    # By the smoothing, each share moves by less than half a frame of the smaller table.
    assert psi(np.array(counts) * times, counts) < len(counts) / sum(counts)


def test_counts_of_other_bins_are_refused():
    with pytest.raises(
        ValueError, match=r"counts must be of the same bins, got \(3,\) of the reference and \(2,\)"
    ):
        psi([1, 2, 3], [1, 2])
