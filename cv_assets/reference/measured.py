"""The frames that a candidate trains on, or that judge it, with the value of every statistic. Shapes: N frames."""

import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import numpy as np
import polars as pl
from numpy.typing import NDArray

from cv_assets.reference.novelty import (
    FeatureSettings,
    Fetch,
    NoveltyReference,
    cross_fitted,
    drawn,
    extractor,
)
from cv_assets.reference.schema import NOVELTY
from cv_assets.reference.statistics import PLAIN, frame_values
from cv_assets.spec.drift import Novelty
from cv_assets.spec.schema import Spec
from cv_assets.training.features import read_image

SCORE: Final = "score"
"""Statistics of defect scores are called score.MODEL."""

_REPRODUCED: Final = 4


@dataclass(frozen=True)
class Files:
    """Where frames and weights come from: `fetch` gives a local file for a path in the lake, caches lie in a folder."""

    fetch: Fetch
    cache_dir: Path


@dataclass(frozen=True)
class Novel:
    """The novelty reference, and what it was made of: `frame_ids` (N,) and their `features` (N, D)."""

    reference: NoveltyReference
    frame_ids: tuple[str, ...]
    features: NDArray[np.float32]


def training_frames(
    split_table: pl.DataFrame, captures: pl.DataFrame, checkpoints: pl.DataFrame, spec: Spec, files: Files
) -> tuple[pl.DataFrame, Novel]:
    """The frames that train with the value of every statistic, and the novelty reference that they make.

    `captures` are rows of PreparedFrames, `checkpoints` one row per model of `spec`. Raises ValueError when a frame has
    no capture, or frames, backbone and settings do not fit each other.
    """
    novelty = spec.drift.novelty
    seen_by = novelty.model or spec.training.models[0].name
    checkpoint = checkpoints.row(by_predicate=pl.col("model") == seen_by, named=True)
    frames = measured_frames(split_table, captures, "train")
    scored = with_scores(frames, checkpoints, spec.pass_class)
    return with_own_novelty(scored, FeatureSettings.of(checkpoint, novelty), novelty, files)


def golden_frames(
    split_table: pl.DataFrame, captures: pl.DataFrame, reference: NoveltyReference, files: Files
) -> pl.DataFrame:
    """The golden frames with the value of every statistic but the scores, which are not out of fold."""
    golden = measured_frames(split_table, captures, "golden")
    novelty = reference.novelty(_embedded(golden, reference.features, files))
    return golden.with_columns(pl.Series(NOVELTY, novelty, pl.Float64).fill_nan(None))


def measured_frames(split_table: pl.DataFrame, prepared_frames: pl.DataFrame, role: str) -> pl.DataFrame:
    """Columns frame_id, path, capture_id, delivery and `PLAIN` of the frames of `role`, by frame id.

    A frame is measured where it was captured first. Raises ValueError for a frame that no delivery holds.
    """
    frames = split_table.filter(role=role).select("frame_id", "path", "capture_id").sort("frame_id")
    values = frames.join(frame_values(prepared_frames), on="capture_id", how="left", maintain_order="left")
    if lost := values.filter(pl.col("delivery").is_null())["frame_id"].to_list():
        raise ValueError(
            f"{len(lost)} of {frames.height} frames of the role {role} are in no delivery: {lost[:3]}"
        )
    return values


def with_scores(frames: pl.DataFrame, checkpoints: pl.DataFrame, pass_class: str) -> pl.DataFrame:
    """`frames` with score.MODEL for each row of `checkpoints`: 1 - probability of the pass class, out of fold."""
    for row in checkpoints.iter_rows(named=True):
        place = row["classes"].index(pass_class)
        said = [(one["frame_id"], 1 - one["scores"][place]) for one in row["out_of_fold"]]
        scores = pl.DataFrame(
            said, schema={"frame_id": pl.String, f"{SCORE}.{row['model']}": pl.Float64}, orient="row"
        )
        frames = frames.join(scores, on="frame_id", how="left", maintain_order="left")
    return frames


def with_own_novelty(
    frames: pl.DataFrame, features: FeatureSettings, settings: Novelty, files: Files
) -> tuple[pl.DataFrame, Novel]:
    """`frames`, which train, with their novelty as if their delivery had not been there, and the reference they make.

    At most `settings.max_frames` of them, drawn by content; it is null for the others, and where there is only one
    delivery. Raises ValueError when frames, backbone and settings do not fit each other.
    """
    some = frames.filter(pl.col("frame_id").is_in(drawn(frames["frame_id"].to_list(), settings.max_frames)))
    features_ND = _embedded(some, features, files)
    novelty = cross_fitted(features_ND, some["delivery"].to_list(), settings)
    own = some.select("frame_id", pl.Series(NOVELTY, novelty).fill_nan(None))
    reference = NoveltyReference.fit(features_ND, settings, features)
    joined = frames.join(own, on="frame_id", how="left", maintain_order="left")
    return joined, Novel(reference, tuple(some["frame_id"]), features_ND)


def reproduction_error(novel: Novel, frames: pl.DataFrame, stored: bytes, files: Files) -> float:
    """The largest relative difference of a novelty between the reference in memory and the one made of `stored`.

    It is measured on all its frames, and on a few of them from their pictures on. Infinite when other features are
    stored.
    """
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder) / "novelty.safetensors"
        file.write_bytes(stored)
        again = NoveltyReference.read(file)
    if again.features != novel.reference.features:
        return float("inf")
    difference = _difference(novel.reference.novelty(novel.features), again.novelty(novel.features))
    if not novel.frame_ids:
        return difference
    few = np.unique(np.linspace(0, len(novel.frame_ids) - 1, _REPRODUCED).astype(int))
    paths = dict(frames.select("frame_id", "path").iter_rows())
    of_stored = extractor(again.features, files.fetch, files.cache_dir)
    computed = [of_stored.compute(read_image(files.fetch(paths[novel.frame_ids[one]]))) for one in few]
    from_pictures = again.novelty(np.stack(computed))
    return max(difference, _difference(novel.reference.novelty(novel.features[few]), from_pictures))


def statistics_of(frames: pl.DataFrame) -> list[str]:
    """The names of the statistics that `frames` have, the novelty first."""
    scores = [name for name in frames.columns if name.startswith(f"{SCORE}.")]
    return [*([NOVELTY] if NOVELTY in frames.columns else []), *PLAIN, *scores]


def unmeasured(frames: pl.DataFrame) -> pl.DataFrame:
    """frame_id, delivery and statistic of every value that is missing.

    The novelty is never among them: it is null where more frames train than are kept, or only one delivery does.
    """
    names = [name for name in statistics_of(frames) if name != NOVELTY]
    long = frames.unpivot(
        names, index=["frame_id", "delivery"], variable_name="statistic", value_name="value"
    )
    return long.filter(pl.col("value").is_null()).drop("value")


def _embedded(frames: pl.DataFrame, features: FeatureSettings, files: Files) -> NDArray[np.float32]:
    images = (read_image(files.fetch(path)) for path in frames["path"])
    return extractor(features, files.fetch, files.cache_dir).embed(images, frames["frame_id"]).features


def _difference(kept_N: NDArray[np.float64], found_N: NDArray[np.float64]) -> float:
    same = (kept_N == found_N) | (np.isnan(kept_N) & np.isnan(found_N))
    relative = np.abs(kept_N - found_N)[~same] / np.maximum(np.abs(kept_N), 1e-12)[~same]
    return float(relative.max(initial=0.0))
