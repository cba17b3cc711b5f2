"""Intervals that respect groups. Shapes: G groups, N frames. Every statistic here lies in [0, 1].

Frames of one group are alike, so a hundred frames of three groups say little more than three. The standard error comes
from leaving out one group at a time; it is turned into an *effective sample size*, the number of independent frames
that would be as uncertain; Wilson's score interval is taken at that size.
"""

from dataclasses import dataclass
from functools import cache
from typing import Final

import numpy as np
from numpy.typing import NDArray
from scipy.special import ndtri, stdtrit

from cv_assets.reference.quantiles import Interval

Vector = NDArray[np.float64]

_ZERO: Final = 1e-12
"""Below this a variance is rounding."""


@dataclass(frozen=True)
class Statistic:
    """A statistic and what its uncertainty follows from. NaN where it is not defined.

    `without` (G,) is its value when one group is left out. `counts` (K, G) are the frames per group of each of the K
    kinds of frames that it needs. `independent` is its effective sample size if frames were independent.
    """

    value: float
    without: Vector
    counts: NDArray[np.int64]
    independent: float
    samples: int

    @property
    def groups(self) -> int:
        """How many groups its frames come from."""
        return int((self.counts.sum(axis=0) > 0).sum())


def score_interval(statistic: Statistic, confidence: float, assumed_correlation: float) -> Interval:
    """Wilson's interval at the effective sample size; it holds the estimate and grows as groups get fewer.

    `assumed_correlation`, in [0, 1], is how alike frames of a group are taken to be where all groups agree perfectly,
    e.g. no group has an escape: their spread then says nothing. A design effect of 1 + correlation (frames per group
    - 1) follows (Kish, "Survey Sampling", 1965).

    Source: Korn and Graubard, "Confidence intervals for proportions with small expected number of positive counts
    estimated from survey data", Survey Methodology 24 (1998), with Wilson's interval as Dean and Pagano advise
    ("Evaluating confidence interval methods for binomial proportions in clustered surveys", J. Survey Statistics and
    Methodology 3, 2015). The standard error is the delete-one-group jackknife's, which covers ratios and the area
    under the ROC curve alike.
    """
    if np.isnan(statistic.value):
        return Interval(None, None, None)
    p, z = statistic.value, _normal(confidence)
    n = _effective_size(statistic, confidence, z, assumed_correlation)
    centre = (p + z**2 / (2 * n)) / (1 + z**2 / n)
    half = z / (1 + z**2 / n) * np.sqrt(p * (1 - p) / n + z**2 / (4 * n**2))
    # Rounding may put an end a hair inside the estimate.
    return Interval(p, max(0.0, min(float(centre - half), p)), min(1.0, max(float(centre + half), p)))


def _effective_size(statistic: Statistic, confidence: float, z: float, assumed_correlation: float) -> float:
    # Frames of a group cannot be more alike than equal: then each group counts once, by its size (Kish).
    counts_KG = statistic.counts.astype(np.float64)
    least = float((counts_KG.sum(axis=1) ** 2 / (counts_KG**2).sum(axis=1)).min())
    # Frames that stand for others may say less than one each. Without weights this changes nothing.
    least = min(least, statistic.independent)
    degrees = int((counts_KG > 0).sum(axis=1).min()) - 1
    if degrees < 1 or np.isnan(statistic.without).any():
        return least
    variance, spread = _jackknife_variance(statistic), statistic.value * (1 - statistic.value)
    size = statistic.independent
    if min(variance, spread) > _ZERO:
        size = min(size, spread / variance)
    else:
        size /= 1 + max(0.0, size / (degrees + 1) - 1) * assumed_correlation
    # The variance itself is estimated from few groups: Student's quantile takes the place of the normal one.
    return max(least, size * (z / _student(confidence, degrees)) ** 2)


def _jackknife_variance(statistic: Statistic) -> float:
    present = statistic.counts.sum(axis=0) > 0
    without = statistic.without[present]
    return float((len(without) - 1) / len(without) * ((without - statistic.value) ** 2).sum())


@cache
def _normal(confidence: float) -> float:
    return float(ndtri((1 + confidence) / 2))


@cache
def _student(confidence: float, degrees: int) -> float:
    return float(stdtrit(degrees, (1 + confidence) / 2))
