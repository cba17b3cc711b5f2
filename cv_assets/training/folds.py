"""Grouped folds: parts of the training frames such that no group lies in two of them. Shapes: N frames."""

import warnings
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from sklearn.model_selection import StratifiedGroupKFold

Indices = NDArray[np.intp]


@dataclass(frozen=True)
class Fold:
    """Which frames one model trains on, and which it never sees; by index."""

    number: int
    train: Indices
    held_out: Indices


def grouped_folds(labels_N: NDArray[np.intp], groups_N: Sequence[str], folds: int, seed: int) -> list[Fold]:
    """Every frame held out exactly once, with its whole group; classes spread as evenly as the groups allow.

    There are as many folds as groups when `folds` is more. Raises ValueError when there is only one group.
    """
    found = len(set(groups_N))
    if found < 2:
        raise ValueError(
            f"out-of-fold scores need at least 2 groups, got {found}: label frames of another group first"
        )
    # More folds than frames of any class are refused by scikit-learn.
    count = min(folds, found, max(2, int(np.bincount(labels_N).max())))
    splitter = StratifiedGroupKFold(n_splits=count, shuffle=True, random_state=seed)
    with warnings.catch_warnings():
        # A rare class cannot be in every fold; scores say what the model without it would.
        warnings.filterwarnings("ignore", "The least populated class in y has only", UserWarning)
        parts = list(splitter.split(np.zeros(len(labels_N)), labels_N, np.asarray(groups_N)))
    filled = [(train, held_out) for train, held_out in parts if len(held_out)]
    return [Fold(number, train, held_out) for number, (train, held_out) in enumerate(filled)]
