"""Inference: a predictor made of what a checkpoint stored, the same wherever a frame is scored."""

import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from cv_assets.spec.training import FrozenRecipe, Model
from cv_assets.training.backbones import restore_backbone
from cv_assets.training.cache import sha256_of
from cv_assets.training.features import Extractor, Image, Pool
from cv_assets.training.heads import Head
from cv_assets.training.tensors import read_tensors


@dataclass(frozen=True)
class Predictor:
    """From images to one probability per class, in the order of `classes`."""

    model: Model
    classes: tuple[str, ...]
    extractor: Extractor
    head: Head

    def scores(self, images: Sequence[Image], frame_ids: Sequence[str] | None = None) -> NDArray[np.float64]:
        """Probabilities (N, C) of uint8 images (H, W) or (H, W, 3); features come from the cache where they are known.

        An image that is none of these is an error that names its frame id.
        """
        if not len(images):
            return np.zeros((0, len(self.classes)))
        return self.head.scores(self.extractor.embed(images, frame_ids).features)

    def score(self, image: Image) -> NDArray[np.float64]:
        """Probabilities (C,) of one image, computed now."""
        scores: NDArray[np.float64] = self.head.scores(self.extractor.compute(image)[None])[0]
        return scores


def load_predictor(row: Mapping[str, Any], fetch: Callable[[str], Path], cache_dir: Path) -> Predictor:
    """The predictor that a row of a checkpoint table describes.

    `fetch` gives a local file for a path in the lake, at the commit of that row. Raises ValueError when the weights are
    no safetensors, or others than those that the row names.
    """
    head_file, backbone_file = fetch(row["weights"]), fetch(row["backbone"])
    head_tensors = read_tensors(head_file)
    _check(row["weights"], head_file, row["weights_sha256"])
    backbone_sha256 = Path(row["backbone"]).stem
    _check(row["backbone"], backbone_file, backbone_sha256)
    model = Model.model_validate_json(row["recipe"])
    backbone = restore_backbone(row["architecture"], model.input_size, backbone_file)
    blocks, pool = pooling(model)
    extractor = Extractor(backbone, backbone_sha256, blocks, pool, cache_dir)
    return Predictor(model, tuple(row["classes"]), extractor, Head.from_tensors(head_tensors))


def latency_ms(predictor: Predictor, images: Sequence[Image]) -> NDArray[np.float64]:
    """Milliseconds from each decoded image to its scores, one after another on one thread, nothing cached.

    The first image is scored once beforehand: what the runtime does only once is not part of it.
    """
    for image in images[:1]:
        predictor.score(image)
    return np.array([_milliseconds(predictor, image) for image in images])


def pooling(model: Model) -> tuple[tuple[int, ...], tuple[Pool, ...]]:
    """Which blocks the model's head reads and how they are pooled; a fine-tuned one reads the backbone's mean."""
    if isinstance(model.recipe, FrozenRecipe):
        return model.recipe.blocks, model.recipe.pool
    return (), ("mean",)


def _check(name: str, file: Path, expected: str) -> None:
    if (found := sha256_of(file)) != expected:
        raise ValueError(f"{name} should have the sha256 {expected}, the stored bytes have {found}")


def _milliseconds(predictor: Predictor, image: Image) -> float:
    started = time.perf_counter()
    predictor.score(image)
    return (time.perf_counter() - started) * 1000
