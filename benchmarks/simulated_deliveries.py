"""Deliveries whose frames share a random shift, as those of one day, one light and one camera do.

A frame's value is the delivery's shift plus its own scatter, which is 1. Where shifts scatter by 1.5, the PSI of an
ordinary delivery is about 8 times what it would be for independent frames; real ones had 5 to 17 times.
"""

from dataclasses import dataclass
from typing import Final

import numpy as np
from numpy.typing import NDArray

from cv_assets.reference.bins import counts_in, edges_of, psi
from cv_assets.reference.levels import left_one_out
from cv_assets.reference.quantiles import quantile_interval
from cv_assets.spec.drift import Drift

REFERENCE: Final = 12
"""Deliveries that the reference is made of."""

FRAMES: Final = 60
"""Frames of each delivery."""

SHIFTS: Final = 1.5
"""Standard deviation of the shifts of ordinary deliveries."""

TEXTBOOK: Final = 0.2
"""The PSI that textbooks call a shift."""

ROUNDS: Final = 800
"""References that are simulated, each with `JUDGED` deliveries beside it."""

JUDGED: Final = 10


@dataclass(frozen=True)
class Shares:
    """Shares of the judged deliveries that drifted: towards higher values, either way, and by the textbook's bound."""

    above: float
    both: float
    textbook: float


def judge(moved: float, rules: Drift) -> Shares:
    """Deliveries that moved by so many standard deviations of the ordinary shifts, beside many references."""
    rng = np.random.default_rng(20261121)
    drifted = [_judged(rng, moved * SHIFTS, rules) for _ in range(ROUNDS)]
    above, both, textbook = np.concatenate(drifted).mean(axis=0)
    return Shares(float(above), float(both), float(textbook))


def _judged(rng: np.random.Generator, moved: float, rules: Drift) -> NDArray[np.bool_]:
    """(JUDGED, 3): whether each drifted upwards, either way, and by the textbook's bound."""
    reference = _deliveries(rng, REFERENCE).ravel()
    names = np.repeat(np.arange(REFERENCE), FRAMES)
    ordinary = left_one_out(reference, names, bins=rules.bins, min_frames=rules.min_frames)
    limit = max(quantile_interval(ordinary.psi, rules.level, confidence=0.95).value or 0, rules.tolerance)
    edges = edges_of(reference, rules.bins)
    counts, median = counts_in(edges, reference), np.median(reference)
    judged = _deliveries(rng, JUDGED) + moved
    found = np.array([psi(counts, counts_in(edges, delivery)) for delivery in judged])
    higher = np.median(judged, axis=1) > median
    return np.stack([(found > limit) & higher, found > limit, found > TEXTBOOK], axis=1)


def _deliveries(rng: np.random.Generator, count: int) -> NDArray[np.float64]:
    """(count, FRAMES)."""
    return rng.normal(0, SHIFTS, (count, 1)) + rng.normal(0, 1, (count, FRAMES))
