"""The recipes: from labelled training frames to a trained model and its out-of-fold scores.

Shapes: N frames, D features, C classes in the order of the spec. Frames come in the order of their ids, so the same
frames give the same model whatever order they arrived in.
"""

import hashlib
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import polars as pl
from numpy.typing import NDArray

from cv_assets.spec.training import FineTuneRecipe, FrozenRecipe, Model, Training
from cv_assets.training.backbones import Backbone, load_backbone
from cv_assets.training.features import Image, read_image, read_images, to_input
from cv_assets.training.fine_tuning import Epoch, Say, Trainer, pick_device
from cv_assets.training.fitting import OutOfFold, fit_head, out_of_fold_heads
from cv_assets.training.folds import Indices, grouped_folds
from cv_assets.training.graphs import extractor_of
from cv_assets.training.heads import Head, Labels
from cv_assets.training.inference import pooling

Fetch = Callable[[str], Path]


@dataclass(frozen=True)
class TrainingSet:
    """The N frames that train (role `train`) or only stop a training (role `val`), ordered by id."""

    classes: tuple[str, ...]
    frame_ids: tuple[str, ...]
    paths: tuple[str, ...]
    groups: tuple[str, ...]
    labels: Labels
    """(N,): positions in `classes`."""
    is_validation: NDArray[np.bool_]
    """(N,)"""
    preparation: str
    """Digest of the one pass that prepared all of them."""
    fetch: Fetch

    @property
    def train(self) -> Indices:
        """Indices of the frames that train."""
        return np.flatnonzero(~self.is_validation)

    @property
    def validation(self) -> Indices:
        """Indices of the frames that only stop a training."""
        return np.flatnonzero(self.is_validation)

    def image(self, index: int) -> Image:
        """The prepared frame at `index`."""
        return read_image(self.fetch(self.paths[index]))

    def images(self) -> Iterator[Image]:
        """All prepared frames, in order."""
        return read_images(map(self.fetch, self.paths))


@dataclass(frozen=True)
class Trained:
    """A trained model, what it said of frames it had not seen, and what its making took."""

    backbone: Backbone
    backbone_bytes: bytes
    head: Head
    curve: tuple[Epoch, ...]
    trained_on: Indices
    """The frames that train: out-of-fold scores are for these, in this order."""
    out_of_fold: OutOfFold
    converged: bool
    remark: str
    costs: Mapping[str, float]
    """By name, for people."""
    seconds: float = 0.0

    @property
    def backbone_file_sha256(self) -> str:
        """Names the stored backbone."""
        return hashlib.sha256(self.backbone_bytes).hexdigest()

    @property
    def head_bytes(self) -> bytes:
        """The head as safetensors."""
        return self.head.to_bytes()


def training_set(split_table: pl.DataFrame, classes: Sequence[str], fetch: Fetch) -> TrainingSet:
    """The frames of the roles train and val.

    Raises ValueError when a class has no frame to train on, a label is no class, or two passes prepared the frames.
    """
    rows = split_table.filter(pl.col("role").is_in(["train", "val"])).sort("frame_id")
    if unknown := set(rows["label"]) - set(classes):
        raise ValueError(f"labels {sorted(unknown)} are not among the classes {list(classes)}")
    trains = rows.filter(pl.col("role") == "train")["label"]
    if lacking := sorted(set(classes) - set(trains)):
        raise ValueError(
            f"none of the {len(trains)} training frames has the label {lacking}: label some first"
        )
    passes = sorted(set(rows["preparation"]))
    if len(passes) > 1:
        raise ValueError(
            f"the frames were prepared by different passes {passes}: prepare all deliveries anew"
        )
    return TrainingSet(
        classes=tuple(classes),
        frame_ids=tuple(rows["frame_id"]),
        paths=tuple(rows["path"]),
        groups=tuple(rows["group"]),
        labels=np.array([list(classes).index(label) for label in rows["label"]], dtype=np.intp),
        is_validation=(rows["role"] == "val").to_numpy(),
        preparation=passes[0],
        fetch=fetch,
    )


def train(model: Model, settings: Training, frames: TrainingSet, *, cache_dir: Path, say: Say) -> Trained:
    """Train `model` by its recipe.

    Raises ValueError when weights, frames or recipe do not fit each other, when there is one group only, when the
    device is not there, and when a fine-tuning cannot overfit a few frames or diverges; FileNotFoundError and
    ModuleNotFoundError as `load_backbone`.
    """
    started = time.perf_counter()
    backbone = load_backbone(model, seed=settings.seed, cache_dir=cache_dir)
    match model.recipe:
        case FrozenRecipe():
            trained = _train_head(model, model.recipe, settings, frames, backbone, cache_dir)
        case FineTuneRecipe():
            trained = _fine_tune(model, model.recipe, settings, frames, backbone, say)
    say(trained.remark)
    return replace(trained, seconds=time.perf_counter() - started)


def _train_head(
    model: Model,
    recipe: FrozenRecipe,
    settings: Training,
    frames: TrainingSet,
    backbone: Backbone,
    cache_dir: Path,
) -> Trained:
    backbone_bytes = backbone.to_bytes()
    blocks, pool = pooling(model)
    extractor = extractor_of(backbone, hashlib.sha256(backbone_bytes).hexdigest(), blocks, pool, cache_dir)
    embedded = extractor.embed(frames.images(), frames.frame_ids)
    train_on, classes, balance = frames.train, len(frames.classes), model.balance == "loss"
    features_ND, labels_N = embedded.features[train_on], frames.labels[train_on]
    groups_N = [frames.groups[index] for index in train_on]
    folds = grouped_folds(labels_N, groups_N, settings.folds, settings.seed)
    out_of_fold = out_of_fold_heads(
        features_ND, labels_N, groups_N, folds, classes, C=recipe.C, balance=balance
    )
    fitted = fit_head(features_ND, labels_N, classes, C=recipe.C, balance=balance)
    val_loss = (
        fitted.head.loss(embedded.features[frames.validation], frames.labels[frames.validation])
        if len(frames.validation)
        else _loss(out_of_fold, labels_N)
    )
    ended = "converged" if fitted.converged else "did not converge"
    return Trained(
        backbone=backbone,
        backbone_bytes=backbone_bytes,
        head=fitted.head,
        curve=(Epoch(fitted.iterations, fitted.loss, val_loss),),
        trained_on=train_on,
        out_of_fold=out_of_fold,
        converged=fitted.converged,
        remark=f"The head {ended} in {fitted.iterations} iterations.",
        costs={
            "frames embedded": embedded.computed,
            "frames from the cache": len(frames.frame_ids) - embedded.computed,
            "frames per second": round(len(frames.frame_ids) / embedded.seconds, 1),
        },
    )


def _fine_tune(
    model: Model,
    recipe: FineTuneRecipe,
    settings: Training,
    frames: TrainingSet,
    backbone: Backbone,
    say: Say,
) -> Trained:
    trainer = _trainer(model, recipe, settings, frames, backbone, say)
    sanity, train_on = trainer.check_sanity(), frames.train
    out_of_fold = trainer.out_of_fold(train_on)
    started = time.perf_counter()
    fitted = trainer.fit(train_on)
    seconds = time.perf_counter() - started
    first, lowest = fitted.curve[0].train_loss, min(one.train_loss for one in fitted.curve)
    return Trained(
        backbone=fitted.backbone,
        backbone_bytes=fitted.backbone.to_bytes(),
        head=fitted.head,
        curve=fitted.curve,
        trained_on=train_on,
        out_of_fold=out_of_fold,
        converged=lowest < first or len(fitted.curve) == 1,
        remark=f"{sanity} The training loss went from {first:.3f} to {lowest:.3f} in {len(fitted.curve)} epochs "
        f"on {trainer.device.type}.",
        costs={
            "epochs": len(fitted.curve),
            "frames per second": round(len(train_on) * len(fitted.curve) / seconds, 1),
        },
    )


def _trainer(
    model: Model,
    recipe: FineTuneRecipe,
    settings: Training,
    frames: TrainingSet,
    backbone: Backbone,
    say: Say,
) -> Trainer:
    return Trainer(
        frames=np.stack(
            [
                to_input(image, model.input_size, name)
                for image, name in zip(frames.images(), frames.frame_ids, strict=True)
            ]
        ),
        labels=frames.labels,
        groups=frames.groups,
        validation=frames.validation,
        classes=len(frames.classes),
        backbone=backbone,
        recipe=recipe,
        balance=model.balance == "loss",
        folds=settings.folds,
        seed=settings.seed,
        device=pick_device(settings.device),
        say=say,
    )


def _loss(out_of_fold: OutOfFold, labels_N: Labels) -> float:
    """Mean cross-entropy in nats; a fold that never saw a class says 0 of it, which counts as one in 10^12."""
    of_label_N = out_of_fold.scores[np.arange(len(labels_N)), labels_N]
    return float(-np.log(np.maximum(of_label_N, 1e-12)).mean())
