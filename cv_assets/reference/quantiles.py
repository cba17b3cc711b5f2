"""Quantiles of a few measurements, and how uncertain they are. Shapes: N measurements."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.stats import binom

Vector = NDArray[np.float64]


@dataclass(frozen=True)
class Interval:
    """A point estimate between its ends; None where it is not defined."""

    value: float | None
    low: float | None
    high: float | None


def quantile_interval(values_N: Vector, quantile: float, confidence: float) -> Interval:
    """A quantile of independent measurements and, as ends, two of them; None for an end that needs more of them.

    Source: David and Nagaraja, "Order Statistics" (2003), section 7.1: distribution-free.
    """
    if not len(values_N):
        return Interval(None, None, None)
    ordered, n = np.sort(values_N), len(values_N)
    tail = (1 - confidence) / 2
    # The quantile lies above the k-th smallest value with probability P(binomial >= k).
    low, high = int(binom.ppf(tail, n, quantile)), int(binom.ppf(1 - tail, n, quantile)) + 1
    return Interval(
        float(np.quantile(ordered, quantile, method="inverted_cdf")),
        float(ordered[low - 1]) if low >= 1 else None,
        float(ordered[high - 1]) if high <= n else None,
    )
