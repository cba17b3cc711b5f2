"""Grouped folds."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from cv_assets.training.folds import grouped_folds


@given(
    frames=st.lists(st.tuples(st.integers(0, 2), st.sampled_from("abcdef")), min_size=4, max_size=60),
    folds=st.integers(2, 7),
    seed=st.integers(0, 3),
)
def test_every_frame_is_held_out_once_and_no_group_is_torn(
    frames: list[tuple[int, str]], folds: int, seed: int
):
    labels, groups = np.array([label for label, _ in frames]), [group for _, group in frames]
    if len(set(groups)) < 2:
        return
    parts = grouped_folds(labels, groups, folds, seed)
    assert sorted(index for part in parts for index in part.held_out) == list(range(len(frames)))
    for part in parts:
        assert not {groups[index] for index in part.train} & {groups[index] for index in part.held_out}


def test_fewer_groups_than_folds_give_a_fold_each():
    labels, groups = np.array([0, 1] * 6), [f"m{number // 4}" for number in range(12)]
    assert len(grouped_folds(labels, groups, 6, 0)) == 3


def test_a_single_group_is_refused():
    with pytest.raises(ValueError, match="at least 2 groups, got 1"):
        grouped_folds(np.array([0, 1]), ["m1", "m1"], 5, 0)


def test_the_same_seed_gives_the_same_folds():
    labels, groups = np.arange(40) % 2, [f"m{number // 4}" for number in range(40)]
    first, again = (grouped_folds(labels, groups, 4, 5) for _ in range(2))
    assert all(np.array_equal(a.held_out, b.held_out) for a, b in zip(first, again, strict=True))
