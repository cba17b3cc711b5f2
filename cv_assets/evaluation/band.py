"""The operating band: two thresholds on the defect score, which is 1 - probability of the class that passes.

Below `lower` a part passes, at or above `upper` it fails, between them a person looks. Shapes: N frames.
"""

from dataclasses import dataclass
from typing import Final, Literal

import numpy as np
from numpy.typing import NDArray

from cv_assets.spec.evaluation import Band

Vector = NDArray[np.float64]
Verdict = Literal["PASS", "REVIEW", "FAIL"]

UNREACHABLE: Final = 2.0
"""A threshold that no score reaches: scores end at 1."""

_ROUNDING: Final = 1e-9
"""A share of 2/20 meets a bound of 0.1 whatever the rounding."""


@dataclass(frozen=True)
class OperatingBand:
    """Defect scores below `lower` pass, those at or above `upper` fail."""

    lower: float
    upper: float

    def __post_init__(self) -> None:
        """Raises ValueError when the thresholds are the wrong way round."""
        if not self.lower <= self.upper:
            raise ValueError(f"lower must be at most upper, got {self.lower:g} and {self.upper:g}")

    @property
    def words(self) -> str:
        """What the band does, for people."""
        if self.lower >= UNREACHABLE:
            return "every part passes: the bound on escapes allows it"
        passes = f"below {self.lower:.3f} a part passes" if self.lower > 0 else "no part passes by itself"
        if self.upper >= UNREACHABLE:
            return f"{passes}; nothing fails by itself, for no threshold meets the bound on failing; else people look"
        if self.upper == self.lower:
            return f"{passes}, from there on it fails; nobody has to look"
        return f"{passes}, from {self.upper:.3f} on it fails, between them a person looks"


def verdict(defect_score: float, band: OperatingBand) -> Verdict:
    """PASS below the lower threshold, FAIL at or above the upper one, else REVIEW. Raises ValueError for NaN."""
    if np.isnan(defect_score):
        raise ValueError("a defect score must be a number, got NaN")
    if defect_score < band.lower:
        return "PASS"
    return "FAIL" if defect_score >= band.upper else "REVIEW"


def choose_band(defect_scores_N: Vector, defective_N: NDArray[np.bool_], bounds: Band) -> OperatingBand:
    """The widest automatic decisions that meet the bounds on these scores.

    `lower` is the highest threshold with at most `max_escape` of the defective frames below it, `upper` the lowest one
    from there on that meets the bound on failing; `UNREACHABLE` when none does. Scores should be out of fold: on frames
    a model was trained on both bounds would be met too easily. Raises ValueError unless both kinds of frames are there.
    """
    if not defective_N.any() or defective_N.all():
        raise ValueError(
            f"an operating band needs defective and sound frames, got {int(defective_N.sum())} and "
            f"{int((~defective_N).sum())}"
        )
    lower = _lower(np.sort(defect_scores_N[defective_N]), bounds.max_escape)
    return OperatingBand(lower, _upper(defect_scores_N, defective_N, lower, bounds))


def _lower(defects: Vector, max_escape: float) -> float:
    may_escape = int(np.floor(max_escape * len(defects) + _ROUNDING))
    return float(defects[may_escape]) if may_escape < len(defects) else UNREACHABLE


def _upper(scores_N: Vector, defective_N: NDArray[np.bool_], lower: float, bounds: Band) -> float:
    thresholds = np.unique(scores_N[scores_N >= lower])
    ordered = np.sort(scores_N[~defective_N]), np.sort(scores_N[defective_N])
    sound, defects = (len(one) - np.searchsorted(one, thresholds) for one in ordered)  # how many would fail
    if bounds.min_fail_precision is not None:
        meets = defects / (defects + sound) >= bounds.min_fail_precision - _ROUNDING
    else:
        meets = sound / len(ordered[0]) <= (bounds.max_overkill or 0.0) + _ROUNDING
    return float(thresholds[meets][0]) if meets.any() else UNREACHABLE
