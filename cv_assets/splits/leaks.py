"""Leaks: what a judging frame could have told a training one. Asked of the captures, not of how roles were dealt."""

from collections.abc import Sequence
from typing import Final

import polars as pl

from cv_assets.splits.roles import DEALT, captures_with_groups, picture_of

GROUP: Final = "a group has two roles"
FRAME: Final = "the same bytes have two roles"
PICTURE: Final = "the same prepared bytes have two roles"
BENCHMARK: Final = "a group of the benchmark trains"


def leaks(
    rows: pl.DataFrame, raw_frames: pl.DataFrame, benchmark_frames: pl.DataFrame, group_by: Sequence[str]
) -> pl.DataFrame:
    """What lies on both sides of a border, one row each: `leak` (its kind), `what`, `roles` and `frames`.

    Golden and challenge are one side: neither trains. All captures of a frame count, not only the one in `rows`.
    """
    captures = captures_with_groups(raw_frames, group_by).select("frame_id", capture_group="group")
    sides = rows.with_columns(
        side=pl.when(pl.col("role").is_in(DEALT)).then("role").otherwise(pl.lit("benchmark"))
    )
    of_captures = sides.join(captures, on="frame_id")
    judged = captures.join(benchmark_frames.select("frame_id"), on="frame_id", how="semi")
    trains = of_captures.filter(pl.col("side") != "benchmark").join(judged, on="capture_group", how="semi")
    return pl.concat(
        [
            _on_two_sides(sides, pl.col("group"), GROUP),
            _on_two_sides(of_captures, pl.col("capture_group"), GROUP),
            _on_two_sides(sides, pl.col("frame_id"), FRAME),
            _on_two_sides(sides, picture_of("path"), PICTURE),
            _summary(trains, pl.col("capture_group"), BENCHMARK),
        ]
    ).unique(maintain_order=True)


def _on_two_sides(sides: pl.DataFrame, what: pl.Expr, leak: str) -> pl.DataFrame:
    torn = sides.with_columns(what=what).filter(pl.col("side").n_unique().over("what") > 1)
    return _summary(torn, pl.col("what"), leak)


def _summary(rows: pl.DataFrame, what: pl.Expr, leak: str) -> pl.DataFrame:
    return (
        rows.group_by(what=what)
        .agg(roles=pl.col("role").unique().sort().str.join(", "), frames=pl.col("frame_id").n_unique())
        .select(leak=pl.lit(leak), what="what", roles="roles", frames=pl.col("frames").cast(pl.Int64))
        .sort("what")
    )
