"""Inference: a predictor made of what a checkpoint stored, the same wherever a frame is scored.

Shapes: N frames, C classes.
"""

import time
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from cv_assets.spec.training import FrozenRecipe, Model
from cv_assets.training.arrays import read_arrays
from cv_assets.training.cache import check_sha256
from cv_assets.training.features import Extractor, Image, Pool
from cv_assets.training.heads import Head

Vector = NDArray[np.float64]


@dataclass(frozen=True)
class Predictor:
    """From images to one probability per class, in the order of `classes`."""

    model: Model
    classes: tuple[str, ...]
    extractor: Extractor
    head: Head

    def scores(self, images: Sequence[Image], frame_ids: Sequence[str] | None = None) -> Vector:
        """Probabilities (N, C) of uint8 images (H, W) or (H, W, 3); features come from the cache where they are known.

        An image that is none of these is an error that names its frame id.
        """
        if not len(images):
            return np.zeros((0, len(self.classes)))
        return self.head.scores(self.extractor.embed(images, frame_ids).features)

    def score(self, image: Image) -> Vector:
        """Probabilities (C,) of one image, computed now."""
        scores: Vector = self.head.scores(self.extractor.compute(image)[None])[0]
        return scores


def load_predictor(row: Mapping[str, Any], fetch: Callable[[str], Path], cache_dir: Path) -> Predictor:
    """The predictor that a row of a checkpoint table describes.

    `fetch` gives a local file for a path in the lake, at the commit of that row; the files must stay there until the
    first frame is scored. Raises ValueError when the weights are no safetensors, or others than those that the row
    names.
    """
    head_file, backbone_file = fetch(row["weights"]), fetch(row["backbone"])
    arrays = read_arrays(head_file)
    check_sha256(row["weights"], head_file, row["weights_sha256"])
    backbone_sha256 = Path(row["backbone"]).stem
    check_sha256(row["backbone"], backbone_file, backbone_sha256)
    model = Model.model_validate_json(row["recipe"])
    blocks, pool = pooling(model)
    extractor = Extractor(
        row["architecture"],
        model.input_size,
        backbone_sha256,
        blocks,
        pool,
        cache_dir,
        partial(stored_graph, row["architecture"], model.input_size, backbone_file, blocks, pool),
    )
    return Predictor(model, tuple(row["classes"]), extractor, Head.from_arrays(arrays))


def stored_graph(
    architecture: str, input_size: int, backbone_file: Path, blocks: tuple[int, ...], pool: tuple[Pool, ...]
) -> bytes:
    """The ONNX graph from frames to the features of a stored backbone. Raises ValueError for blocks that it lacks."""
    # PyTorch and timm take seconds to import, and a graph is made once: where it is cached they are not needed.
    from cv_assets.training.backbones import restore_backbone  # noqa: PLC0415
    from cv_assets.training.graphs import export  # noqa: PLC0415

    return export(restore_backbone(architecture, input_size, backbone_file), blocks, pool)


def timed_scores(predictor: Predictor, images: Sequence[Image], threads: int) -> tuple[Vector, Vector]:
    """Probabilities (N, C), and the milliseconds (N,) from each decoded image to its own; nothing comes from a cache.

    Every frame runs on one thread, `threads` of them at a time. The first image is scored once beforehand: what the
    runtime does only once is not part of any latency.
    """
    for image in images[:1]:
        predictor.score(image)
    with ThreadPoolExecutor(threads) as pool:
        timed = list(pool.map(partial(_timed, predictor), images))
    scores_NC = np.array([scores_C for scores_C, _ in timed]).reshape(len(timed), len(predictor.classes))
    return scores_NC, np.array([milliseconds for _, milliseconds in timed], dtype=np.float64)


def latency_ms(predictor: Predictor, images: Sequence[Image]) -> Vector:
    """Milliseconds (N,) from each decoded image to its scores, one after another on one thread, nothing cached."""
    _, latency_ms_N = timed_scores(predictor, images, threads=1)
    return latency_ms_N


def pooling(model: Model) -> tuple[tuple[int, ...], tuple[Pool, ...]]:
    """Which blocks the model's head reads and how they are pooled; a fine-tuned one reads the backbone's mean."""
    if isinstance(model.recipe, FrozenRecipe):
        return model.recipe.blocks, model.recipe.pool
    return (), ("mean",)


def _timed(predictor: Predictor, image: Image) -> tuple[Vector, float]:
    started = time.perf_counter()
    scores_C = predictor.score(image)
    return scores_C, (time.perf_counter() - started) * 1000
