"""The benchmark: frames that named people verified, by which models are judged. It only grows; votes never touch it."""

from typing import Final, NamedTuple

import polars as pl

from cv_assets.labels.consensus import latest, with_class
from cv_assets.labels.schema import BenchmarkFrames

NO_CLASS: Final = "it is uncertain or names no single class"
CONTRADICTED: Final = "the statements about this new frame contradict each other"
DIFFERS: Final = "the frame is in the benchmark with another label or set, which stays"
TAKEN_BACK: Final = "taken back, but the frame is in the benchmark and stays"


class Extension(NamedTuple):
    """The benchmark after new statements, and the statements that were not applied, with the reason `why`."""

    frames: pl.DataFrame
    set_aside: pl.DataFrame


def labelled_frames(label_table: pl.DataFrame, benchmark_frames: pl.DataFrame) -> pl.DataFrame:
    """Every frame that is labelled or verified, once: frame_id, label, set (null outside the benchmark), status.

    The benchmark's word stands above votes: a verified frame is agreed.
    """
    judged = benchmark_frames.select("frame_id", "label", "set", status=pl.lit("agreed"))
    voted = label_table.select("frame_id", "label", set=pl.lit(None, dtype=pl.String), status="status")
    return pl.concat([judged, voted.join(judged, on="frame_id", how="anti")])


def extend_benchmark(current: pl.DataFrame, checked: pl.DataFrame, pass_class: str) -> Extension:
    """`current` with the frames that verified benchmark statements add, all in one new version.

    Rows of `current` are never changed or removed, whatever later statements or retractions say. A new frame joins
    when all its standing statements agree on set and class and none is uncertain; the newest gives name and time.
    """
    known = current.select("frame_id", known_set="set", known_label="label")
    is_known = pl.col("known_set").is_not_null()
    judged = (
        with_class(latest(checked), pass_class)
        .filter(pl.col("frame_id").is_not_null(), pl.col("benchmark").is_not_null())
        .join(known, on="frame_id", how="left", maintain_order="left")
        .filter(is_known | ~pl.col("retracted"))
        .with_columns(why=_why(is_known))
    )
    joining = (
        judged.filter(~is_known, pl.col("why").is_null())
        .sort("annotated_at", "annotation_id")
        .unique("frame_id", keep="last", maintain_order=True)
        .sort("frame_id")
        .select(
            "frame_id",
            "label",
            "objects",
            "verified_by",
            "annotation_id",
            set="benchmark",
            verified_at="annotated_at",
            version=pl.lit(version_of(current) + 1, dtype=pl.Int64),
        )
    )
    frames = pl.concat([current, joining.select(BenchmarkFrames.column_names())])
    set_aside = judged.filter(pl.col("why").is_not_null())
    return Extension(
        frames, set_aside.select("frame_id", "annotation_id", "benchmark", "label", "verified_by", "why")
    )


def version_of(benchmark: pl.DataFrame) -> int:
    """The benchmark's version: one more for each extension, 0 while it is empty."""
    return int(benchmark["version"].max() or 0)  # type: ignore[arg-type]


def _why(is_known: pl.Expr) -> pl.Expr:
    differs = (pl.col("known_set") != pl.col("benchmark")) | pl.col("known_label").ne_missing(pl.col("label"))
    # One doubtful statement keeps a new frame out: a benchmark is no place for a majority.
    no_class = (pl.col("label").is_null() | pl.col("uncertain")).any().over("frame_id")
    contradicted = pl.struct("benchmark", "label").n_unique().over("frame_id") > 1
    return (
        pl.when(is_known & pl.col("retracted"))
        .then(pl.lit(TAKEN_BACK))
        .when(is_known & differs)
        .then(pl.lit(DIFFERS))
        .when(~is_known & no_class)
        .then(pl.lit(NO_CLASS))
        .when(~is_known & contradicted)
        .then(pl.lit(CONTRADICTED))
    )
