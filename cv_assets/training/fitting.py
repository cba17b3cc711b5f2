"""Fitting heads: logistic regression on features, of all frames and out of fold.

Shapes: N frames, D features, C classes in the order of the spec, K of them seen.
"""

import warnings
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from sklearn.exceptions import ConvergenceWarning
from sklearn.linear_model import LogisticRegression
from sklearn.preprocessing import StandardScaler
from sklearn.utils import compute_sample_weight
from threadpoolctl import threadpool_limits  # type: ignore[import-untyped]

from cv_assets.training.folds import Fold
from cv_assets.training.heads import Floats, Head, Labels

_MAX_ITERATIONS = 5000


@dataclass(frozen=True)
class FittedHead:
    """A head, its training loss, and whether its optimiser came to an end."""

    head: Head
    loss: float
    iterations: int
    converged: bool


def fit_head(features_ND: Floats, labels_N: Labels, classes: int, *, C: float, balance: bool) -> FittedHead:
    """Logistic regression with an L2 penalty of strength 1/C on standardised features.

    With `balance` a frame weighs N / (classes seen x frames of its class), so that every class weighs the same.
    """
    scaler = StandardScaler().fit(features_ND.astype(np.float64))
    weights_N = compute_sample_weight("balanced", labels_N) if balance else np.ones(len(labels_N))
    seen = np.unique(labels_N)
    if len(seen) == 1:
        # A fold can lose all other classes: its model can only name the one it knows.
        weight_KD, bias_K, iterations, converged = np.zeros((1, features_ND.shape[1])), np.zeros(1), 0, True
    else:
        weight_KD, bias_K, iterations, converged = _regress(
            scaler.transform(features_ND.astype(np.float64)), labels_N, weights_N, C
        )
    weight_CD, bias_C = np.zeros((classes, features_ND.shape[1])), np.full(classes, -np.inf)
    weight_CD[seen], bias_C[seen] = weight_KD, bias_K
    head = Head(scaler.mean_, scaler.scale_, weight_CD, bias_C)
    return FittedHead(head, head.loss(features_ND, labels_N, weights_N), iterations, converged)


def _regress(
    standard_ND: Floats, labels_N: Labels, weights_N: Floats, C: float
) -> tuple[NDArray[np.float64], NDArray[np.float64], int, bool]:
    """Weights and biases of the K classes seen, in their order."""
    regression = LogisticRegression(C=C, solver="lbfgs", max_iter=_MAX_ITERATIONS)
    # One thread is faster than two on matrices of this size, and gives the same bits on any number of cores.
    with warnings.catch_warnings(), threadpool_limits(1):
        # Whether it converged is said by a check of the checkpoint.
        warnings.simplefilter("ignore", ConvergenceWarning)
        regression.fit(standard_ND, labels_N, sample_weight=weights_N)
    weight_KD, bias_K = regression.coef_, regression.intercept_
    if len(regression.classes_) == 2:
        # Two classes are fitted as one unit for the second against nothing.
        weight_KD = np.concatenate([np.zeros_like(weight_KD), weight_KD])
        bias_K = np.concatenate([np.zeros_like(bias_K), bias_K])
    iterations = int(np.max(regression.n_iter_))
    return weight_KD, bias_K, iterations, iterations < _MAX_ITERATIONS


@dataclass(frozen=True)
class OutOfFold:
    """Scores (N, C) of each training frame by the model of its fold (N,), and the groups that model has seen."""

    scores: NDArray[np.float64]
    fold: NDArray[np.intp]
    seen_groups: dict[int, frozenset[str]]

    def leaks(self, groups_N: Sequence[str]) -> list[int]:
        """Indices of frames whose fold's model saw their group; there should be none."""
        return [n for n, group in enumerate(groups_N) if group in self.seen_groups[int(self.fold[n])]]

    def missing(self) -> list[int]:
        """Indices of frames without a score; there should be none."""
        return np.flatnonzero(~np.isfinite(self.scores).all(axis=1)).tolist()


def out_of_fold_heads(
    features_ND: Floats,
    labels_N: Labels,
    groups_N: Sequence[str],
    folds: Sequence[Fold],
    classes: int,
    *,
    C: float,
    balance: bool,
) -> OutOfFold:
    """Scores by heads that were standardised and fitted without the frame's group."""
    scores_NC = np.full((len(labels_N), classes), np.nan)
    fold_N = np.full(len(labels_N), -1, dtype=np.intp)
    seen: dict[int, frozenset[str]] = {}
    for fold in folds:
        fitted = fit_head(features_ND[fold.train], labels_N[fold.train], classes, C=C, balance=balance)
        scores_NC[fold.held_out] = fitted.head.scores(features_ND[fold.held_out])
        fold_N[fold.held_out] = fold.number
        seen[fold.number] = frozenset(groups_N[index] for index in fold.train)
    return OutOfFold(scores_NC, fold_N, seen)
