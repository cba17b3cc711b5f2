"""Conditions: what a candidate trained on must be in the benchmark, or nobody knows how it does there."""

from collections.abc import Collection, Iterable
from typing import Final

import polars as pl

from cv_assets.evaluation.rulings import Ruling, frames_of
from cv_assets.frames.captures import attribute
from cv_assets.words import counted

BENCHMARK_FRAMES: Final = "benchmark_frames"
"""The metric of a condition's row: golden frames that have it."""


def conditions_of(frames: pl.DataFrame, names: Iterable[str]) -> dict[str, int]:
    """How many of `frames`, by their column `attributes`, have each value of these attributes: `product=poly` -> 480.

    Every value counts, also one that the spec does not list.
    """
    found = dict[str, int]()
    for name in names:
        values = frames.select(value=attribute(name)).drop_nulls().filter(pl.col("value") != "")
        counts = values.group_by("value").len().sort("value")
        found |= {f"{name}={value}": number for value, number in counts.iter_rows()}
    return found


def lacking(split_table: pl.DataFrame, names: Collection[str], required: int) -> dict[str, int]:
    """The conditions that train and have fewer than `required` golden frames, with how many: the gate refuses them."""
    trained, golden = (
        conditions_of(split_table.filter(pl.col("role") == role), names) for role in ("train", "golden")
    )
    there = {condition: golden.get(condition, 0) for condition in sorted(trained)}
    return {condition: frames for condition, frames in there.items() if frames < required}


def cover(condition: str, trained: int, golden: int, required: int) -> Ruling:
    """Whether the benchmark holds a condition that `trained` training frames have, on `required` golden frames."""
    where, passed = frames_of("golden", condition), golden >= required
    why = f"{where}: {golden}, at least {required}"
    if not passed:
        why += (
            f"; {counted(trained, 'frame')} with it trained: verify {required - golden} more golden ones, then request "
            "a new candidate"
        )
    return Ruling(
        kind="condition",
        criterion=f"{where}: at least {required}",
        metric=BENCHMARK_FRAMES,
        set="golden",
        slice=condition,
        required=float(required),
        comparison="at_least",
        passed=passed,
        why=why,
        measured=float(golden),
        samples=golden,
    )
