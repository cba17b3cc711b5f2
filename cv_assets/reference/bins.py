"""Bins: frozen quantiles of a reference, and how far the frames of a delivery lie from them. Shapes: N values, B bins.

A value belongs to the bin right of the last edge that is not above it, so B bins have B - 1 rising edges. NaN is no
value; what is infinite falls in an outer bin. Every function here is defined for every input: no frames, one value,
a statistic that is constant.
"""

from collections.abc import Sequence
from typing import Final

import numpy as np
from numpy.typing import NDArray

Vector = NDArray[np.float64]
Counts = NDArray[np.int64]
Numbers = NDArray[np.floating] | NDArray[np.integer] | Sequence[float] | Sequence[int]

SMOOTHING: Final = 0.5
"""Added to each count (Jeffreys' prior), so that a bin nobody fell in has a share, and its logarithm."""

_LARGEST: Final = float(np.finfo(np.float64).max)


def edges_of(values_N: Numbers, bins: int) -> Vector:
    """The inner edges, rising, of `bins` bins that hold equal shares of the values; none for no values.

    A value that as many frames share as a bin should hold gets a bin of its own, from itself to the next number that
    there is: then one more edge follows, and a constant statistic has the bins below, at and above its value.
    """
    ordered_N = np.sort(_known(values_N))
    count = len(ordered_N)
    bins = min(bins, count)
    chosen = np.unique(ordered_N[np.arange(1, bins) * count // max(bins, 1)] if bins > 1 else ordered_N[:1])
    frames = np.searchsorted(ordered_N, chosen, "right") - np.searchsorted(ordered_N, chosen, "left")
    tied = chosen[((frames > 1) | (count == 1)) & (frames * bins >= count)]
    # An infinite edge has nothing on one side; the outermost finite number parts the same values.
    edges = np.clip(np.concatenate([chosen, np.nextafter(tied, _LARGEST)]), -_LARGEST, _LARGEST)
    return np.unique(edges)


def counts_in(edges: Numbers, values: Numbers) -> Counts:
    """How many values fall in each bin: one count more than there are edges. Raises ValueError for edges not rising."""
    known_N, edges_B = _known(values), np.asarray(edges, dtype=np.float64)
    if np.isnan(edges_B).any() or (edges_B[1:] <= edges_B[:-1]).any():
        raise ValueError(f"edges must rise, got {edges_B.tolist()[:5]}")
    bin_N = np.searchsorted(edges_B, known_N, side="right")
    return np.bincount(bin_N, minlength=len(edges_B) + 1).astype(np.int64)


def psi(reference_counts: Numbers, counts: Numbers) -> float:
    """Population stability index: 0 for equal shares, larger the more they differ, the same either way round.

    The sum over bins of (q - p) ln(q / p), with the smoothed shares p of the reference and q of the delivery: Jeffreys'
    divergence, in nats. Source: Siddiqi, "Credit Risk Scorecards" (2006). Raises ValueError for counts of other bins.
    """
    p_B, q_B = _shares(reference_counts, counts)
    return float(((q_B - p_B) * np.log(q_B / p_B)).sum())


def kl(reference_counts: Numbers, counts: Numbers) -> float:
    """KL divergence of the delivery from the reference, in nats: the sum of q ln(q / p); shares and errors as in `psi`.

    Source: Kullback and Leibler, "On information and sufficiency", Annals of Mathematical Statistics 22 (1951).
    """
    p_B, q_B = _shares(reference_counts, counts)
    # Rounding can leave the sum of equal shares a hair below 0.
    return max(0.0, float((q_B * np.log(q_B / p_B)).sum()))


def _shares(reference_counts: Numbers, counts: Numbers) -> tuple[Vector, Vector]:
    p_B, q_B = (np.asarray(some, dtype=np.float64) + SMOOTHING for some in (reference_counts, counts))
    if p_B.shape != q_B.shape or p_B.ndim != 1:
        raise ValueError(f"counts must be of the same bins, got {p_B.shape} of the reference and {q_B.shape}")
    return p_B / p_B.sum(), q_B / q_B.sum()


def _known(values: Numbers) -> Vector:
    known = np.asarray(values, dtype=np.float64)
    return known[~np.isnan(known)]
