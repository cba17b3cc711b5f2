"""A delivery's values of one statistic beside the reference: what they differ by, and whether that is unusual."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final, Literal

import numpy as np
import polars as pl
from numpy.typing import NDArray

from cv_assets.reference.bins import counts_in, kl, psi
from cv_assets.reference.levels import noise_of_fewer, rank
from cv_assets.spec.drift import Drift

Values = NDArray[np.float64]

MEASURES: Final = {"psi": "PSI", "kl": "KL divergence"}


@dataclass(frozen=True)
class Judgement:
    """PSI and KL divergence of a delivery, each beside its level, and what follows from the one that the spec names.

    Levels are raised by `noise` for a delivery of fewer frames than usual; None where the reference has none.
    `outcome` is the first that applies. lower: its values are lower than in training, where only higher ones alarm.
    `rank` is the share of reference deliveries that differ by less; None when the reference is not calibrated.
    """

    differences: Mapping[str, float]
    levels: Mapping[str, float | None]
    noise: Mapping[str, float]
    median: float
    usual: float
    outcome: Literal["not_calibrated", "tolerated", "lower", "within", "beyond"]
    rank: float | None


def judge(row: Mapping[str, Any], values_N: Values, drift: Drift) -> Judgement:
    """These values (N,), none of them NaN, beside a `row` of the reference that has counts."""
    counts_B = counts_in(row["edges"], values_N)
    differences = {"psi": psi(row["counts"], counts_B), "kl": kl(row["counts"], counts_B)}
    # A reference of an earlier version does not say how many frames are usual.
    noise = {
        name: noise_of_fewer(name, row["counts"], len(values_N), row.get("usual_frames")) for name in MEASURES
    }
    levels = {name: _raised(row[f"{name}_level"], more) for name, more in noise.items()}
    # A reference of infinite values has no median: nothing lies below it.
    middle, usual = median(values_N), -np.inf if row["median"] is None else row["median"]
    found, level = differences[drift.measure], levels[drift.measure]

    def judged(outcome: Any, rank: float | None) -> Judgement:
        return Judgement(differences, levels, noise, middle, usual, outcome, rank)

    if not row["calibrated"] or level is None:
        return judged("not_calibrated", None)
    if found <= drift.tolerance:
        return judged("tolerated", 0.0)
    if row["side"] == "above" and middle <= usual:
        return judged("lower", 0.0)
    unusual = rank(row[drift.measure], found - noise[drift.measure])
    return judged("within" if found <= level else "beyond", unusual)


def known(frames: pl.DataFrame, name: str) -> Values:
    """The values of a statistic, of a column that may be missing; NaN is none."""
    if name not in frames.columns:
        return np.empty(0)
    return frames[name].cast(pl.Float64).fill_nan(None).drop_nulls().to_numpy()


def median(values_N: Values | NDArray[np.int64]) -> float:
    """The middle value; of an even number the lower one of two, so that infinities have no mean. NaN of none."""
    return float(np.sort(values_N)[(len(values_N) - 1) // 2]) if len(values_N) else np.nan


def _raised(level: float | None, noise: float) -> float | None:
    return None if level is None else level + noise
