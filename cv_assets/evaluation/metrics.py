"""Metrics of a classifier on judged frames, each with an interval that respects groups.

Shapes: N frames, C classes, G groups, K kinds of frames, B bins. A frame's *defect score* is 1 - the probability of
the class that passes; a frame is *defective* when its true class is another one. A model's *call* is its most probable
class. A metric that is not defined on the frames (a share of nothing) is None, never NaN.
"""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any, Final

import numpy as np
import polars as pl
from numpy.typing import NDArray

from cv_assets.evaluation.band import OperatingBand
from cv_assets.evaluation.intervals import Statistic, score_interval
from cv_assets.reference.quantiles import Interval
from cv_assets.spec.evaluation import Evaluation

Vector = NDArray[np.float64]
Mask = NDArray[np.bool_]

_FRAMES_PER_BIN: Final = 15
"""Fewer frames than this in a bin say little of how often they are defective."""


@dataclass(frozen=True)
class Measurement:
    """One metric on one slice, with the frames and groups it rests on."""

    slice: str
    metric: str
    interval: Interval
    samples: int
    groups: int


@dataclass(frozen=True)
class Judged:
    """Frames with their true class and a model's probabilities, `scores` (N, C).

    `truth` (N,) and `passing` are indices of `classes`; `groups` (N,) are names.
    """

    scores: Vector
    truth: NDArray[np.intp]
    groups: NDArray[np.str_]
    classes: tuple[str, ...]
    passing: int

    def __post_init__(self) -> None:
        """Raises ValueError when lengths differ or a score is no probability."""
        shape = (len(self.truth), len(self.classes))
        if self.scores.shape != shape or len(self.groups) != shape[0]:
            raise ValueError(
                f"scores must be {shape} and groups {shape[0]}, got {self.scores.shape} and {len(self.groups)}"
            )
        wrong = ~((self.scores >= -1e-6) & (self.scores <= 1 + 1e-6)).all(axis=1)
        if wrong.any():
            first = int(np.flatnonzero(wrong)[0])
            raise ValueError(f"scores must lie in [0, 1], got {self.scores[first]} at frame {first}")

    @cached_property
    def defect(self) -> Vector:
        """Defect scores in [0, 1]."""
        return np.clip(1 - self.scores[:, self.passing], 0, 1)

    @cached_property
    def defective(self) -> Mask:
        """Which frames are truly defective."""
        return np.asarray(self.truth != self.passing)

    @cached_property
    def called(self) -> NDArray[np.intp]:
        """The most probable class of each frame; of equal ones the first."""
        return np.asarray(self.scores.argmax(axis=1), dtype=np.intp)

    @cached_property
    def group(self) -> NDArray[np.intp]:
        """The groups as numbers from 0 on, in the order of their names."""
        return np.unique(self.groups, return_inverse=True)[1].astype(np.intp)

    def where(self, mask_N: Mask) -> "Judged":
        """Only the frames of the mask."""
        return Judged(
            self.scores[mask_N], self.truth[mask_N], self.groups[mask_N], self.classes, self.passing
        )


def measure(
    judged: Judged, band: OperatingBand, slices: Mapping[str, Mask], settings: Evaluation
) -> list[Measurement]:
    """All metrics on all frames, on each class, and on each of the named `slices`.

    A class is measured as one against the rest (precision, recall, f1, roc_auc and calibration of its own score), and
    by what becomes of its frames (escape_rate, overkill, review_share).
    """
    bins = settings.calibration_bins
    statistics = [("all", name, one) for name, one in overall(judged, band, bins).items()]
    for number, name in enumerate(judged.classes):
        statistics += [
            (f"class={name}", metric, one) for metric, one in of_class(judged, number, band, bins).items()
        ]
    for slice_, mask_N in slices.items():
        statistics += [(slice_, name, one) for name, one in overall(judged.where(mask_N), band, bins).items()]
    return [measurement(slice_, metric, one, settings) for slice_, metric, one in statistics]


def measurement(slice_: str, metric: str, statistic: Statistic, settings: Evaluation) -> Measurement:
    """The statistic with its interval."""
    interval = score_interval(statistic, settings.confidence, settings.assumed_correlation)
    return Measurement(slice_, metric, interval, statistic.samples, statistic.groups)


def overall(judged: Judged, band: OperatingBand, bins: int) -> dict[str, Statistic]:
    """Metrics of all frames. precision, recall and f1 are those of a call that is not the passing class."""
    called_defective_N = judged.called != judged.passing
    return {
        "roc_auc": roc_auc(judged.defect, judged.defective, judged.group),
        "balanced_accuracy": balanced_accuracy(judged),
        **_calls(called_defective_N, judged.defective, judged.group),
        **decisions(judged, band),
        "fail_precision": share(judged.defective, judged.defect >= band.upper, judged.group),
        "calibration_error": calibration_error(judged.defect, judged.defective, judged.group, bins),
    }


def of_class(judged: Judged, number: int, band: OperatingBand, bins: int) -> dict[str, Statistic]:
    """Metrics of one class against the rest, and of what becomes of its frames."""
    is_it_N, score_N = judged.truth == number, np.clip(judged.scores[:, number], 0, 1)
    return {
        "roc_auc": roc_auc(score_N, is_it_N, judged.group),
        **_calls(judged.called == number, is_it_N, judged.group),
        **decisions(judged.where(is_it_N), band),
        "calibration_error": calibration_error(score_N, is_it_N, judged.group, bins),
    }


def decisions(judged: Judged, band: OperatingBand) -> dict[str, Statistic]:
    """What the band decides: defective frames that pass, sound frames that fail, frames that people see."""
    passes_N, fails_N = judged.defect < band.lower, judged.defect >= band.upper
    everything_N = np.ones_like(passes_N)
    return {
        "escape_rate": share(passes_N, judged.defective, judged.group),
        "overkill": share(fails_N, ~judged.defective, judged.group),
        "review_share": share(~passes_N & ~fails_N, everything_N, judged.group),
    }


def _calls(called_N: Mask, is_it_N: Mask, group_N: NDArray[np.intp]) -> dict[str, Statistic]:
    both_N = called_N & is_it_N
    return {
        "precision": share(is_it_N, called_N, group_N),
        "recall": share(called_N, is_it_N, group_N),
        # 2 TP / (2 TP + FP + FN), a share of the frames that are called or are it, the agreed ones counted twice.
        "f1": ratio(2.0 * both_N, 1.0 * called_N + is_it_N, called_N | is_it_N, group_N),
    }


def share(hits_N: Mask, among_N: Mask, group_N: NDArray[np.intp]) -> Statistic:
    """The share of the frames of `among_N` that are hits."""
    return ratio(1.0 * (hits_N & among_N), 1.0 * among_N, among_N, group_N)


def weighted_share(hits_N: Mask, among_N: Mask, weight_N: Vector, group_N: NDArray[np.intp]) -> Statistic:
    """The share of hits among the frames of `among_N` where each stands for `weight_N` frames, all above 0 (Hájek).

    `hits_N` says it of every frame: those outside `among_N` tell what a hit there could have weighed. If frames were
    independent the effective sample size is that of the linearised variance of a ratio (Särndal, Swensson and
    Wretman, "Model Assisted Survey Sampling", 1992, section 5.6), and at most Kish's, (sum w)² / sum w² ("Survey
    Sampling", 1965). Kish's alone is too large where hits are rarer in the sample than the rest: it does not see that
    each would weigh more. Of equal weights both are the number of frames.
    """
    weighed_N = weight_N * among_N
    plain = ratio(weighed_N * hits_N, weighed_N, among_N, group_N)
    if np.isnan(plain.value):
        return plain
    hit, miss = (_typical_weight(weight_N[side_N]) for side_N in (hits_N, ~hits_N))
    typical = (1 - plain.value) * hit + plain.value * miss
    size = weighed_N.sum() / _typical_weight(weighed_N)
    return replace(plain, independent=float(min(size, weighed_N.sum() / typical) if typical else size))


def _typical_weight(weight_N: Vector) -> float:
    """The weight that one of all the frames stood for has, on average; 0 of none."""
    return float((weight_N**2).sum() / weight_N.sum()) if len(weight_N) else 0.0


def mean(values_N: Vector, group_N: NDArray[np.intp]) -> Statistic:
    """The mean of values in [0, 1]."""
    everything_N = np.ones(len(values_N), dtype=bool)
    return ratio(values_N, 1.0 * everything_N, everything_N, group_N)


def ratio(
    above_N: NDArray[np.floating[Any]],
    below_N: NDArray[np.floating[Any]],
    rests_on_N: Mask,
    group_N: NDArray[np.intp],
) -> Statistic:
    """Sum of `above_N` over sum of `below_N`; `rests_on_N` are the frames that count."""
    above_G, below_G, count_G = (_sums(one, group_N) for one in (above_N, below_N, rests_on_N))
    return Statistic(
        value=_divide(above_G.sum(), below_G.sum()),
        without=_divide_all(above_G.sum() - above_G, below_G.sum() - below_G),
        counts=count_G[None].astype(np.int64),
        independent=float(count_G.sum()),
        samples=int(count_G.sum()),
    )


def roc_auc(score_N: Vector, positive_N: Mask, group_N: NDArray[np.intp]) -> Statistic:
    """Area under the ROC curve: how often a positive frame scores higher than another, ties counted half.

    If frames were independent its effective sample size is taken to be the harmonic mean of both counts. Hanley and
    McNeil's variance (Radiology 143, 1982) gives one half more and up: the interval errs on the wide side.
    """
    positive_G, negative_G = _sums(positive_N, group_N), _sums(~positive_N, group_N)
    positives, negatives = positive_G.sum(), negative_G.sum()
    wins_N = _wins(score_N, positive_N)
    won_G, lost_G = _sums(wins_N * positive_N, group_N), _sums(wins_N * ~positive_N, group_N)
    own_G = _sums(_wins(_group_by_group(score_N, group_N), positive_N) * positive_N, group_N)
    own_G -= positive_G * (np.cumsum(negative_G) - negative_G)
    return Statistic(
        value=_divide(won_G.sum(), positives * negatives),
        without=_divide_all(
            won_G.sum() - won_G - lost_G + own_G, (positives - positive_G) * (negatives - negative_G)
        ),
        counts=np.stack([positive_G, negative_G]).astype(np.int64),
        independent=_divide(2 * positives * negatives, positives + negatives),
        samples=len(score_N),
    )


def _wins(score_N: Vector, positive_N: Mask) -> Vector:
    """For a positive frame the negatives below it; for a negative one the positives above it; ties counted half."""
    below_N = _ranks(score_N) - 0.5
    own_N = np.empty_like(below_N)
    for kind_N in (positive_N, ~positive_N):
        own_N[kind_N] = _ranks(score_N[kind_N]) - 0.5
    others_below_N = below_N - own_N
    return np.asarray(np.where(positive_N, others_below_N, positive_N.sum() - others_below_N))


def _group_by_group(score_N: Vector, group_N: NDArray[np.intp]) -> Vector:
    """The scores, moved so that every score of a group lies above all scores of the groups before it."""
    _, rank_N = np.unique(score_N, return_inverse=True)
    return np.asarray(group_N * (len(score_N) + 1) + rank_N, dtype=np.float64)


def _ranks(score_N: Vector) -> Vector:
    """From 1 on; equal scores share the mean of their ranks. NaN for all when one is NaN."""
    # As SciPy's, whose statistics take longer to import than a KPI to compute.
    if np.isnan(score_N).any():
        return np.full(len(score_N), np.nan)
    return pl.Series(score_N).rank("average").to_numpy()


def balanced_accuracy(judged: Judged) -> Statistic:
    """Mean share of rightly called frames over the classes that are there; not defined when there is only one."""
    there, right_N = np.unique(judged.truth), judged.called == judged.truth
    if len(there) < 2:
        return _not_defined(judged.group)
    count_KG = np.stack([_sums(judged.truth == one, judged.group) for one in there])
    right_KG = np.stack([_sums((judged.truth == one) & right_N, judged.group) for one in there])
    count_K1, right_K1 = count_KG.sum(axis=1, keepdims=True), right_KG.sum(axis=1, keepdims=True)
    return Statistic(
        value=float((right_K1 / count_K1).mean()),
        without=_divide_all(right_K1 - right_KG, count_K1 - count_KG).mean(axis=0),
        counts=count_KG.astype(np.int64),
        # The mean of shares of n_1, n_2, … frames is as uncertain as one share of this many.
        independent=float(len(there) ** 2 / (1 / count_K1).sum()),
        samples=len(judged.truth),
    )


def calibration_error(
    probability_N: Vector, truth_N: Mask, group_N: NDArray[np.intp], bins: int
) -> Statistic:
    """Expected calibration error: mean distance of predicted and observed share over bins of equally many frames.

    Frames of equal probability share a bin. Even a perfectly calibrated model has a positive error on few frames.
    Source: Nixon et al., "Measuring Calibration in Deep Learning" (2019), the adaptive variant.
    """
    bin_N = calibration_bins(probability_N, bins)
    groups, bins = int(group_N.max(initial=-1)) + 1, int(bin_N.max(initial=-1)) + 1
    surplus_GB, count_G = np.zeros((groups, bins)), _sums(np.ones(len(truth_N)), group_N)
    np.add.at(surplus_GB, (group_N, bin_N), probability_N - truth_N)
    surplus_B = surplus_GB.sum(axis=0)
    return Statistic(
        value=_divide(np.abs(surplus_B).sum(), count_G.sum()),
        without=_divide_all(np.abs(surplus_B - surplus_GB).sum(axis=1), count_G.sum() - count_G),
        counts=count_G[None].astype(np.int64),
        independent=float(count_G.sum()),
        samples=len(truth_N),
    )


def calibration_bins(probability_N: Vector, most: int) -> NDArray[np.intp]:
    """The bin of each frame, from the lowest probabilities up: at most `most`, fewer where they would hold too few."""
    bins = max(1, min(most, len(probability_N) // _FRAMES_PER_BIN))
    inner = np.quantile(probability_N, np.arange(1, bins) / bins) if len(probability_N) else np.zeros(0)
    return np.searchsorted(inner, probability_N, side="right").astype(np.intp)


def _sums(values_N: NDArray[np.generic], group_N: NDArray[np.intp]) -> Vector:
    return np.bincount(group_N, weights=values_N.astype(np.float64)).astype(np.float64)


def _not_defined(group_N: NDArray[np.intp]) -> Statistic:
    counts_1G = np.bincount(group_N)[None].astype(np.int64)
    return Statistic(np.nan, np.full(counts_1G.shape[1], np.nan), counts_1G, 0.0, len(group_N))


def _divide(above: float, below: float) -> float:
    return float(above / below) if below else np.nan


def _divide_all(above: Vector, below: Vector) -> Vector:
    return np.divide(above, below, out=np.full_like(above, np.nan), where=below != 0)
