"""Scoring: what models say of the frames that judge, and how long they take for one. Shapes: N frames, C classes."""

from collections.abc import Callable, Collection
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import numpy as np
import polars as pl
from numpy.typing import NDArray

from cv_assets.evaluation.released import Released, compared_frames, released_scores
from cv_assets.evaluation.report import JUDGING, judging_scores, out_of_fold_scores
from cv_assets.spec.schema import Spec
from cv_assets.training.features import read_image
from cv_assets.training.inference import Predictor, latency_ms, load_predictor

_CHUNK: Final = 256


@dataclass(frozen=True)
class Bytes:
    """Where frames and weights come from: `fetch` gives a local file for a path in the lake, caches lie in a folder."""

    fetch: Callable[[str], Path]
    cache_dir: Path


def score_candidate(
    trained: pl.DataFrame, split_table: pl.DataFrame, spec: Spec, files: Bytes
) -> tuple[pl.DataFrame, dict[tuple[str, str], list[float]]]:
    """The scores of all sets by all models of `trained`, as rows of `SCORES`; latencies in ms where the spec asks."""
    judging = split_table.filter(pl.col("role").is_in(JUDGING)).sort("role", "frame_id")
    parts, latencies = [out_of_fold_scores(trained, split_table)], dict[tuple[str, str], list[float]]()
    for checkpoint in trained.iter_rows(named=True):
        model = checkpoint["model"]
        predictor = load_predictor(checkpoint, files.fetch, files.cache_dir)
        parts.append(judging_scores(model, judging, _scores(predictor, judging, files)))
        for set_ in _latency_sets(spec):
            timed = split_table.filter(pl.col("role") == ("train" if set_ == "out_of_fold" else set_))
            paths = timed.head(spec.evaluation.latency_frames)["path"]
            images = [read_image(files.fetch(path)) for path in paths]
            latencies[model, set_] = latency_ms(predictor, images).tolist()
    return pl.concat(parts), latencies


def score_released(released: Released, split_table: pl.DataFrame, spec: Spec, files: Bytes) -> pl.DataFrame:
    """The scores of the model in force on the frames where a candidate is held against it, as rows of `SCORES`."""
    frames = compared_frames(split_table)
    predictor = load_predictor(released.checkpoint, files.fetch, files.cache_dir)
    return released_scores(released, frames, _scores(predictor, frames, files), spec)


def unscored(
    scores: pl.DataFrame, split_table: pl.DataFrame, models: Collection[str], compared: Collection[str]
) -> pl.DataFrame:
    """`model` and `frame_id` of every score that is missing.

    `models` need one for each frame that trained or judges, those `compared` one for golden and challenge frames.
    """
    every = split_table.filter(pl.col("role") != "val")
    wanted = [
        frames.select("frame_id").join(
            pl.DataFrame({"model": list(names)}, schema={"model": pl.String}), how="cross"
        )
        for frames, names in ((every, models), (compared_frames(split_table), compared))
    ]
    return pl.concat(wanted).select("model", "frame_id").join(scores, on=["model", "frame_id"], how="anti")


def _scores(predictor: Predictor, frames: pl.DataFrame, files: Bytes) -> NDArray[np.float64]:
    chunks = [
        predictor.scores([read_image(files.fetch(path)) for path in part["path"]], list(part["frame_id"]))
        for part in frames.iter_slices(_CHUNK)
    ]
    return np.concatenate(chunks) if chunks else np.zeros((0, len(predictor.classes)))


def _latency_sets(spec: Spec) -> list[str]:
    asked = {one.set for one in spec.evaluation.acceptance if one.metric == "latency_p95_ms"}
    chooses = {"out_of_fold"} if spec.evaluation.select_by == "latency_p95_ms" else set()
    return sorted({"golden"} | asked | chooses)
