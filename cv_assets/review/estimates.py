"""What verdicts did to parts, estimated from what people answered. Shapes: N captures, K classes, V verdicts.

Escapes, overkill and precision of FAIL need the truth, and that is known only where people looked: at every REVIEW, at
automatic verdicts drawn at random, at drifted deliveries. An answered capture stands for others by its weight. A frame
labelled for another reason (it trains, it judges) was not drawn: it stands for none. The review share follows from the
verdicts alone. All are shares, 0 to 1, with intervals that respect groups.
"""

from dataclasses import dataclass
from typing import Final

import numpy as np
import polars as pl
from numpy.typing import NDArray

from cv_assets.evaluation.intervals import score_interval
from cv_assets.evaluation.metrics import Mask, Vector, share, weighted_share
from cv_assets.inspection.schema import VERDICTS
from cv_assets.reference.quantiles import Interval
from cv_assets.spec.drift import Kpi
from cv_assets.spec.evaluation import Evaluation

PASS, REVIEW, FAIL = (VERDICTS.index(name) for name in ("PASS", "REVIEW", "FAIL"))

_UNKNOWN: Final = Interval(None, None, None)


@dataclass(frozen=True)
class Estimate:
    """A share with its interval, and the captures and groups it rests on.

    An `exact` one follows from the verdicts alone. `why`: why it is exact, or not known.
    """

    interval: Interval
    samples: int = 0
    groups: int = 0
    exact: bool = False
    why: str = ""

    @property
    def words(self) -> str:
        """The share with its interval, or why there is none: a share of nothing is not defined, others not known."""
        value, low, high = self.interval.value, self.interval.low, self.interval.high
        if value is None:
            return f"not {'defined' if self.exact else 'known'}: {self.why}"
        return f"{value:.3f} (exact: {self.why})" if self.exact else f"{value:.3f} [{low:.3f}, {high:.3f}]"


@dataclass(frozen=True)
class Sample:
    """Captures with their verdicts and what people answered; every array is (N,).

    `stored` are the verdicts that were given and `given` those that are measured, as indices of `VERDICTS`. `weight`
    is 0, and `defective` False, where people did not answer. `group` are numbers from 0 on.
    """

    stored: NDArray[np.intp]
    given: NDArray[np.intp]
    weight: Vector
    defective: Mask
    group: NDArray[np.intp]

    @property
    def answered(self) -> Mask:
        """Which captures stand for others."""
        return np.asarray(self.weight > 0)

    def where(self, mask_N: Mask) -> "Sample":
        """Only the captures of the mask."""
        return Sample(
            self.stored[mask_N],
            self.given[mask_N],
            self.weight[mask_N],
            self.defective[mask_N],
            self.group[mask_N],
        )


def verdict_codes(verdicts: pl.Series) -> NDArray[np.intp]:
    """The verdicts as indices of `VERDICTS`."""
    return verdicts.cast(pl.Enum(VERDICTS)).to_physical().to_numpy().astype(np.intp)


def group_numbers(rows: pl.DataFrame) -> NDArray[np.intp]:
    """The group of each row, as a number; a delivery is the closest thing to one where none is known."""
    return rows["group"].fill_null(rows["delivery"]).rank("dense").to_numpy().astype(np.intp) - 1


def weights(stored_N: NDArray[np.intp], probability_N: Vector, asked_N: Mask, known_N: Mask) -> Vector:
    """How many captures each answered one stands for; 0 for those not asked about, or of no known truth.

    1 / `probability_N`, that people were to be asked about it (Horvitz and Thompson, J. Am. Stat. Assoc. 47, 1952),
    times asked / answered among captures of its verdict that were to be asked about with the same probability: within
    such a class the unanswered are taken to be like the answered (Särndal, Swensson and Wretman, "Model Assisted
    Survey Sampling", 1992, section 15.6). A class without an answer is stood for by the others of its verdict.
    """
    answered_N, inverse_N = asked_N & known_N, asked_N / probability_N
    class_N = np.unique(2 * stored_N + probability_N, return_inverse=True)[1]
    asked_K, answered_K = _sums(inverse_N, class_N), _sums(inverse_N * answered_N, class_N)
    weight_N = inverse_N * answered_N * _divide(asked_K, answered_K)[class_N]
    asked_V, weighed_V = _sums(inverse_N, stored_N), _sums(weight_N, stored_N)
    # Rounding must not make a capture stand for less than itself.
    return np.where(answered_N, np.maximum(weight_N * _divide(asked_V, weighed_V)[stored_N], 1.0), 0.0)


def estimate(metric: Kpi, sample: Sample, settings: Evaluation) -> Estimate:
    """One share of `sample`, which must hold a capture; not known where no answer speaks for a kind of verdict."""
    if metric == "review_share":
        return _review_share(sample, settings)
    decision = PASS if metric == "escape_rate" else FAIL
    gets_N = sample.given == decision
    if not gets_N.any():
        none = _UNKNOWN if metric == "fail_precision" else Interval(0.0, 0.0, 0.0)
        samples, groups = len(gets_N), len(np.unique(sample.group))
        return Estimate(none, samples, groups, exact=True, why=f"no capture gets {VERDICTS[decision]}")
    in_play = sample.where(gets_N) if metric == "fail_precision" else sample
    if why := _unanswered(sample, in_play, decision):
        return Estimate(_UNKNOWN, why=why)
    return _measured(metric, in_play.where(in_play.answered), settings)


def _review_share(sample: Sample, settings: Evaluation) -> Estimate:
    group_N = _renumbered(sample.group)
    counted = share(sample.given == REVIEW, np.ones(len(group_N), dtype=bool), group_N)
    interval = score_interval(counted, settings.confidence, settings.assumed_correlation)
    return Estimate(interval, counted.samples, counted.groups, exact=True, why="all captures are counted")


def _unanswered(sample: Sample, in_play: Sample, decision: int) -> str:
    """Which captures in play no answer speaks for; empty when each kind has one.

    Without this, no answer on what passes would read as no escape.
    """
    for code, stored in enumerate(VERDICTS):
        of_it_N = sample.stored == code
        if code in in_play.stored and not sample.answered[of_it_N].any():
            return f"people answered for none of the captures that got {stored} ({of_it_N.sum()})"
    gets_N = in_play.given == decision
    for side_N, got in ((gets_N, "get"), (~gets_N, "do not get")):
        if side_N.any() and not in_play.answered[side_N].any():
            return (
                f"people answered for none of the captures that {got} {VERDICTS[decision]} ({side_N.sum()})"
            )
    return ""


def _measured(metric: Kpi, answered: Sample, settings: Evaluation) -> Estimate:
    passes_N, fails_N = (answered.given == one for one in (PASS, FAIL))
    defective_N = answered.defective
    hits_N, among_N, kind = {
        "escape_rate": (passes_N, defective_N, "defective"),
        "overkill": (fails_N, ~defective_N, "sound"),
        "fail_precision": (defective_N, fails_N, "failed"),
    }[metric]
    if not among_N.any():
        return Estimate(_UNKNOWN, why=f"none of the {len(among_N)} captures answered for is {kind}")
    of = weighted_share(hits_N, among_N, answered.weight, _renumbered(answered.group))
    interval = score_interval(of, settings.confidence, settings.assumed_correlation)
    return Estimate(interval, of.samples, of.groups)


def _renumbered(group_N: NDArray[np.intp]) -> NDArray[np.intp]:
    """The groups that are there as numbers from 0 on, in the same order."""
    there_G = np.bincount(group_N) > 0
    return np.asarray((np.cumsum(there_G) - 1)[group_N], dtype=np.intp)


def _sums(values_N: Vector, kind_N: NDArray[np.intp]) -> Vector:
    return np.bincount(kind_N, weights=values_N).astype(np.float64)


def _divide(above: Vector, below: Vector) -> Vector:
    return np.divide(above, below, out=np.zeros_like(above), where=below > 0)
