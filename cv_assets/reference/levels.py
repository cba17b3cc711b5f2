"""Levels: how much ordinary deliveries differ, and so from where on a difference is unusual. Shapes: N frames.

Frames of one delivery are alike, so a fixed bound on the PSI fires on nearly every ordinary delivery. The reference's
own deliveries say what is ordinary: each is measured against all the others, with bins that are made of the others.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from cv_assets.reference.bins import Counts, Numbers, Vector, counts_in, edges_of, kl, psi


@dataclass(frozen=True)
class Differences:
    """PSI and KL divergence of the K deliveries that were left out one at a time, in the order of their names."""

    deliveries: tuple[str, ...]
    psi: Vector
    """(K,)"""
    kl: Vector
    """(K,), in nats."""
    frames: Counts
    """(K,): values of each."""


def left_one_out(
    values_N: Numbers, deliveries_N: Sequence[str] | NDArray[Any], *, bins: int, min_frames: int
) -> Differences:
    """Each delivery with `min_frames` values and more, measured against the values of all other deliveries.

    NaN is no value. A delivery beside which there is nothing is left out.
    """
    every_N, names_N = np.asarray(values_N, dtype=np.float64), np.asarray(deliveries_N, dtype=np.str_)
    known_N = ~np.isnan(every_N)
    every_N, names_N = every_N[known_N], names_N[known_N]
    names, frames = np.unique(names_N, return_counts=True)
    measured = {
        str(name): _against_others(every_N, names_N == name, bins)
        for name, own in zip(names, frames, strict=True)
        if min_frames <= own < len(every_N)
    }
    values_K2 = np.array(list(measured.values()), dtype=np.float64).reshape(len(measured), 2)
    frames_K = frames[np.isin(names, list(measured))].astype(np.int64)
    return Differences(tuple(measured), values_K2[:, 0], values_K2[:, 1], frames_K)


def noise_of_fewer(measure: str, counts: Numbers, frames: int, usual: int | None) -> float:
    """How much more than a delivery of `usual` frames one of fewer `frames` differs by, from noise alone; in nats.

    `counts` are the reference's frames per bin. 0 for `usual` frames and more, and when it is not known what is usual.
    B bins that hold frames give n frames drawn from the reference itself a PSI (`measure` psi) of (B - 1) / n, and a KL
    divergence (kl) of half of that: the mean of the chi-square law that both follow for many frames. Source: Yurdakul,
    "Statistical Properties of Population Stability Index" (2018); Wilks, "The large-sample distribution of the
    likelihood ratio", Annals of Mathematical Statistics 9 (1938).
    """
    if usual is None or frames >= usual:
        return 0.0
    freedom = max(0, int(np.count_nonzero(counts)) - 1)
    return freedom * (1 / frames - 1 / usual) * {"psi": 1.0, "kl": 0.5}[measure]


def corrected(quantile: float, watched: int) -> float:
    """The quantile for each of `watched` statistics, so that all together alarm falsely no more often than one.

    Source: Bonferroni's inequality, 1 - (1 - quantile) / watched.
    """
    return 1 - (1 - quantile) / max(watched, 1)


def least_false_alarms(deliveries: int) -> float:
    """The smallest rate of false alarms per ordinary delivery that a level of so many deliveries can promise.

    The next ordinary delivery is as likely to be the most unusual one as any of them: 1 / (deliveries + 1). Source:
    Vovk, Gammerman and Shafer, "Algorithmic Learning in a Random World" (2005), chapter 2.
    """
    return 1 / (deliveries + 1)


def rank(reference_values: Numbers, value: float) -> float:
    """The share of the reference's values below `value`, from 0 to 1; equal ones count half. 0.5 without any."""
    known = np.asarray(reference_values, dtype=np.float64)
    known = known[~np.isnan(known)]
    if not len(known):
        return 0.5
    return float(((known < value).sum() + (known == value).sum() / 2) / len(known))


def _against_others(values_N: Vector, own_N: NDArray[np.bool_], bins: int) -> tuple[float, float]:
    edges = edges_of(values_N[~own_N], bins)
    others, own = counts_in(edges, values_N[~own_N]), counts_in(edges, values_N[own_N])
    return psi(others, own), kl(others, own)
