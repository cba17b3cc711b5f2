"""Quantiles of a few measurements."""

import numpy as np

from cv_assets.reference.quantiles import quantile_interval


def test_the_interval_of_a_quantile_is_two_of_the_measurements():
    # Of 100 values, how many lie below the 95th percentile: 89 or fewer with 0.0115, 90 or fewer with 0.028; 98 or
    # fewer with 0.963, 99 or fewer with 0.994.
    interval = quantile_interval(np.arange(1.0, 101), 0.95, 0.95)
    assert (interval.low, interval.value, interval.high) == (90, 95, 100)


def test_a_quantile_of_few_measurements_has_no_upper_end():
    interval = quantile_interval(np.arange(1.0, 21), 0.95, 0.95)
    assert (interval.value, interval.high) == (19, None)
    assert quantile_interval(np.array([]), 0.95, 0.95).value is None


def test_the_interval_of_a_quantile_covers_it_as_often_as_it_says():
    random, truth = np.random.default_rng(2), -np.log(0.05)
    intervals = [quantile_interval(random.exponential(size=80), 0.95, 0.95) for _ in range(1000)]
    assert sum(one.low <= truth <= one.high for one in intervals) / 1000 >= 0.935
