"""Intervals that respect groups."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.stats import beta, norm

from cv_assets.evaluation.intervals import score_interval
from cv_assets.evaluation.metrics import mean, share


def of_groups(*groups: tuple[int, int]):
    """The share of hits of groups given as (hits, frames)."""
    hits = np.concatenate([np.arange(frames) < hit for hit, frames in groups])
    group = np.repeat(np.arange(len(groups)), [frames for _, frames in groups])
    return share(hits, np.ones(len(hits), dtype=bool), group)


FEWER = settings(max_examples=50, deadline=None)


def wilson(share: float, frames: float, confidence: float = 0.95) -> tuple[float, float]:
    """Where the score test rejects: the roots of (share - p)² = z² p (1 - p) / frames."""
    z = norm.ppf((1 + confidence) / 2)
    low, high = sorted(np.roots([1 + z**2 / frames, -2 * share - z**2 / frames, share**2]).real)
    return low, high


def width(statistic, confidence=0.95) -> float:
    interval = score_interval(statistic, confidence, 0.1)
    return interval.high - interval.low


GROUPS = st.lists(st.integers(1, 30).flatmap(lambda n: st.tuples(st.integers(0, n), st.just(n))), min_size=1)


@FEWER
@given(GROUPS, st.floats(0.5, 0.999))
def test_the_interval_holds_the_estimate_and_stays_within_0_and_1(groups, confidence):
    interval = score_interval(of_groups(*groups), confidence, 0.1)
    assert 0 <= interval.low <= interval.value <= interval.high <= 1
    assert interval.value == pytest.approx(sum(hit for hit, _ in groups) / sum(n for _, n in groups))


@FEWER
@given(GROUPS)
def test_more_confidence_is_a_wider_interval(groups):
    statistic = of_groups(*groups)
    assert width(statistic, 0.8) <= width(statistic, 0.95) + 1e-9 <= width(statistic, 0.99) + 2e-9


@FEWER
@given(GROUPS)
def test_it_is_at_least_as_wide_as_if_frames_were_independent(groups):
    hits, frames = sum(hit for hit, _ in groups), sum(n for _, n in groups)
    low, high = wilson(hits / frames, frames)
    assert width(of_groups(*groups)) >= high - low - 1e-9


@pytest.mark.parametrize("hits", [0, 1, 3, 5])
def test_the_same_frames_in_fewer_groups_are_a_wider_interval(hits):
    # 240 frames, the same share in every group.
    widths = [width(of_groups(*[(hits * 24 // groups, 240 // groups)] * groups)) for groups in (2, 4, 8, 24)]
    assert widths == sorted(widths, reverse=True)
    assert widths[0] > widths[-1]


def test_many_groups_of_one_frame_give_wilsons_interval():
    statistic = of_groups(*[(1, 1)] * 300, *[(0, 1)] * 700)
    interval = score_interval(statistic, 0.95, 0.1)
    assert (interval.low, interval.high) == pytest.approx(wilson(0.3, 1000), abs=2e-4)


def test_groups_that_are_all_or_nothing_count_once_each():
    # Ten groups of 50 equal frames say as much as ten frames, and never less.
    statistic = of_groups(*[(50, 50)] * 4, *[(0, 50)] * 6)
    interval = score_interval(statistic, 0.95, 0.1)
    assert (interval.low, interval.high) == pytest.approx(wilson(0.4, 10))


def test_one_group_is_one_observation():
    interval = score_interval(of_groups((12, 60)), 0.95, 0.1)
    assert (interval.low, interval.high) == pytest.approx(wilson(0.2, 1))


def test_where_all_groups_agree_more_assumed_correlation_is_a_wider_interval():
    agreeing, differing = of_groups(*[(0, 40)] * 6), of_groups((3, 40), (1, 40), (5, 40), (2, 40))
    highs = [score_interval(agreeing, 0.95, correlation).high for correlation in (0, 0.1, 0.5, 1)]
    assert highs == sorted(set(highs))
    # Frames taken to be equal in each group: six observations.
    assert highs[-1] == pytest.approx(wilson(0, 6)[1])
    assert score_interval(differing, 0.95, 0) == score_interval(differing, 0.95, 1)


def test_a_share_of_nothing_is_not_defined():
    nothing = np.zeros(4, dtype=bool)
    interval = score_interval(share(~nothing, nothing, np.array([0, 0, 1, 1])), 0.95, 0.1)
    assert (interval.value, interval.low, interval.high) == (None, None, None)


def test_the_standard_error_is_that_of_group_means_for_groups_of_one_size():
    rates = np.array([0.1, 0.3, 0.2, 0.6, 0.4])
    statistic = mean(np.repeat(rates, 40), np.repeat(np.arange(5), 40))
    jackknife = np.sqrt(4 / 5 * ((statistic.without - statistic.value) ** 2).sum())
    assert jackknife == pytest.approx(rates.std(ddof=1) / np.sqrt(5))


@pytest.mark.parametrize(("groups", "correlation"), [(3, 0.1), (6, 0.2), (12, 0.0), (12, 0.2), (30, 0.3)])
def test_the_interval_covers_the_truth_about_as_often_as_it_says(groups, correlation):
    """Groups have defect rates of their own (beta-binomial frames with that intraclass correlation)."""
    random, truth, trials = np.random.default_rng(1), 0.3, 400
    covered = 0
    for _ in range(trials):
        prior = (
            beta(truth * (1 / correlation - 1), (1 - truth) * (1 / correlation - 1)) if correlation else None
        )
        rates = prior.rvs(groups, random_state=random) if prior else np.full(groups, truth)
        frames = random.integers(20, 70, groups)
        interval = score_interval(
            of_groups(*zip(random.binomial(frames, rates), frames, strict=True)), 0.9, 0.1
        )
        covered += interval.low <= truth <= interval.high
    # 0.9 is promised; 400 trials measure it to within 0.03. More than that is a wide interval of few groups.
    assert covered / trials >= 0.87


def test_the_interval_of_independent_frames_that_ignores_groups_would_not():
    random, covered = np.random.default_rng(1), 0
    for _ in range(200):
        frames = random.integers(20, 70, 12)
        hits = random.binomial(frames, random.beta(1.2, 2.8, 12))
        low, high = wilson(hits.sum() / frames.sum(), frames.sum(), 0.9)
        covered += low <= 0.3 <= high
    assert covered / 200 < 0.6
