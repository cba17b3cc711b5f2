"""The product's own decisions on cells that are embedded once: train, judge, inspect and measure drift in memory.

What `demo.draws` and `demo.seeds` repeat on many draws of the modules. Frames that the spec's bounds reject are left
out of training as the product does, and go to people in an inspection. Shapes: N cells, D features.
"""

import hashlib
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
from numpy.typing import NDArray

from cv_assets.drift.inspected import Inspected
from cv_assets.drift.metrics import metrics
from cv_assets.evaluation.band import OperatingBand, choose_band, verdict
from cv_assets.evaluation.metrics import Judged, overall, roc_auc
from cv_assets.frames.preparation import decode, prepare
from cv_assets.frames.schema import PreparedFrames
from cv_assets.reference.calibration import calibrate, delivery_shares
from cv_assets.reference.novelty import FeatureSettings, NoveltyReference, cross_fitted
from cv_assets.reference.schema import NOVELTY
from cv_assets.reference.statistics import PLAIN
from cv_assets.spec.schema import Spec
from cv_assets.spec.training import FrozenRecipe, Model
from cv_assets.training.backbones import load_backbone
from cv_assets.training.features import Extractor, Image, Pool
from cv_assets.training.fitting import fit_head, out_of_fold_heads
from cv_assets.training.folds import grouped_folds
from cv_assets.training.graphs import extractor_of
from cv_assets.training.heads import Head
from cv_assets.training.inference import pooling
from demo.modules import Cell, Module
from demo.plant import part_name
from demo.seasons import OPENING

Vector = NDArray[np.float64]
Mask = NDArray[np.bool_]

CLASSES = ("sound", "defective")


@dataclass(frozen=True)
class Cells:
    """All accepted cells with their features (N, D), by model and for the novelty; and the rejected cells."""

    accepted: tuple[Cell, ...]
    rejected: tuple[Cell, ...]
    features: Mapping[str, NDArray[np.float32]]

    @cached_property
    def modules(self) -> NDArray[np.intp]:
        """(N,), their numbers."""
        return np.array([cell.module for cell in self.accepted])

    @cached_property
    def defective(self) -> NDArray[np.intp]:
        """(N,), 1 for a defective cell."""
        return np.array([int(cell.defective) for cell in self.accepted])

    def of(self, modules: Iterable[Module]) -> Mask:
        """(N,), which cells are of these modules."""
        return np.isin(self.modules, [one.number for one in modules])

    def judged(self, chosen_N: Mask, scores_NC: Vector) -> Judged:
        """The chosen cells with their truth, as an evaluation judges them."""
        groups = self.modules[chosen_N].astype(np.str_)
        return Judged(scores_NC, self.defective[chosen_N], groups, CLASSES, passing=0)


@dataclass(frozen=True)
class Trained:
    """The model that a training chose by its out-of-fold AUC, with its operating band."""

    model: str
    head: Head
    band: OperatingBand
    out_of_fold: Judged

    @property
    def out_of_fold_auc(self) -> float:
        """Area under the ROC curve of scores by heads that never saw the cell's module."""
        judged = self.out_of_fold
        return roc_auc(judged.defect, judged.defective, judged.group).value


def embed(modules: Sequence[Module], spec: Spec, cache: Path) -> Cells:
    """Prepare every cell as the product does and embed the accepted ones with each frozen backbone."""
    accepted: list[tuple[Cell, Image]] = []
    rejected: list[Cell] = []
    for cell in (cell for module in modules for cell in module.cells):
        prepared = prepare(cell.image.read_bytes(), spec.preparation)
        image = decode(prepared.png, spec.preparation.bounds.max_pixels) if prepared.png else None
        if image is None:
            rejected.append(cell)
        else:
            accepted.append((cell, image))
    images = [image for _, image in accepted]
    extractors = {
        model.name: _extractor(model, *pooling(model), spec, cache) for model in spec.training.models
    }
    watched, novelty = _watched(spec), spec.drift.novelty
    extractors[NOVELTY] = _extractor(watched, novelty.blocks, novelty.pool, spec, cache)
    features = {name: one.embed(images).features for name, one in extractors.items()}
    return Cells(tuple(cell for cell, _ in accepted), tuple(rejected), features)


def train(cells: Cells, modules: Sequence[Module], spec: Spec) -> Trained:
    """Train every model of the spec on the modules, and choose one as the product does."""
    chosen_N = cells.of(modules)
    found = [_train_model(model, cells, chosen_N, spec) for model in spec.training.models]
    return max(found, key=lambda one: one.out_of_fold_auc)


def golden_figures(cells: Cells, trained: Trained, modules: Sequence[Module], spec: Spec) -> dict[str, float]:
    """What an evaluation reports of these modules' accepted cells; NaN where a metric is not defined."""
    chosen_N = cells.of(modules)
    judged = cells.judged(chosen_N, trained.head.scores(cells.features[trained.model][chosen_N]))
    found = overall(judged, trained.band, spec.evaluation.calibration_bins)
    return {name: one.value for name, one in found.items()}


def inspect(cells: Cells, trained: Trained, modules: Sequence[Module]) -> pl.DataFrame:
    """The verdict on every cell of these modules, with frame_id (the part's name here) and group."""
    chosen_N = cells.of(modules)
    defect_N = cells.judged(chosen_N, trained.head.scores(cells.features[trained.model][chosen_N])).defect
    scored = [cell for cell, chosen in zip(cells.accepted, chosen_N, strict=True) if chosen]
    numbers = {one.number for one in modules}
    said = [
        *((cell, verdict(float(score), trained.band)) for cell, score in zip(scored, defect_N, strict=True)),
        *((cell, "REVIEW") for cell in cells.rejected if cell.module in numbers),
    ]
    rows = [(part_name(cell), f"m{cell.module:02d}", decided) for cell, decided in said]
    return pl.DataFrame(rows, schema=["frame_id", "group", "verdict"], orient="row")


def drift(
    cells: Cells, reference: Sequence[Module], arriving: Sequence[Module], spec: Spec, release: int
) -> pl.DataFrame:
    """The novelty of modules that arrive one after another, each a delivery, as rows of drift_metrics.

    `reference` are the modules that release number `release` trained on.
    """
    trained_N, features_ND = cells.of(reference), cells.features[NOVELTY]
    deliveries = cells.modules[trained_N].astype(np.str_)
    own_N = cross_fitted(features_ND[trained_N], deliveries, spec.drift.novelty)
    fitted = NoveltyReference.fit(features_ND[trained_N], spec.drift.novelty, _settings(spec))
    nothing = {name: pl.lit(None, pl.Float64) for name in PLAIN}
    frames = pl.DataFrame({"delivery": deliveries.tolist(), NOVELTY: own_N}).with_columns(**nothing)
    normal = calibrate(
        frames, delivery_shares(PreparedFrames.create_empty()), spec.drift, spec.evaluation.confidence, "", ""
    ).rows
    rows = []
    for turn, module in enumerate(arriving):
        values = pl.DataFrame({NOVELTY: fitted.novelty(features_ND[cells.of([module])])})
        about = _delivered(module, OPENING + timedelta(hours=turn), release)
        measured = metrics(
            about, values, {}, normal, lacks="", spec=spec, stored=None, measured_at=about.captured_to
        )
        rows.append(measured.filter(statistic=NOVELTY))
    return pl.concat(rows)


def _delivered(module: Module, at: datetime, release: int) -> Inspected:
    return Inspected(
        delivery=f"m{module.number:02d}",
        station="line1",
        captured_from=at,
        captured_to=at,
        captures=len(module.cells),
        release=f"v1.{release - 1}.0",
        release_number=release,
        candidate=f"candidate {release}",
        model=None,
        undecided="",
        other_pass=0,
    )


def _watched(spec: Spec) -> Model:
    """The model whose backbone the novelty is taken in."""
    name = spec.drift.novelty.model or spec.training.models[0].name
    return next(model for model in spec.training.models if model.name == name)


def _settings(spec: Spec) -> FeatureSettings:
    model, novelty = _watched(spec), spec.drift.novelty
    return FeatureSettings(
        model.name, model.architecture, model.input_size, "", "", novelty.blocks, novelty.pool
    )


def _extractor(
    model: Model, blocks: tuple[int, ...], pool: tuple[Pool, ...], spec: Spec, cache: Path
) -> Extractor:
    backbone = load_backbone(model, seed=spec.training.seed, cache_dir=cache)
    return extractor_of(backbone, hashlib.sha256(backbone.to_bytes()).hexdigest(), blocks, pool, cache)


def _train_model(model: Model, cells: Cells, chosen_N: Mask, spec: Spec) -> Trained:
    recipe = model.recipe
    if not isinstance(recipe, FrozenRecipe):
        raise TypeError(f"{model.name}: only frozen recipes are cheap enough to repeat")
    features, truth = cells.features[model.name][chosen_N], cells.defective[chosen_N]
    groups = [str(number) for number in cells.modules[chosen_N]]
    folds = grouped_folds(truth, groups, spec.training.folds, spec.training.seed)
    settings: dict[str, Any] = {"C": recipe.C, "balance": model.balance == "loss"}
    out_of_fold = cells.judged(
        chosen_N, out_of_fold_heads(features, truth, groups, folds, 2, **settings).scores
    )
    band = choose_band(out_of_fold.defect, out_of_fold.defective, spec.evaluation.band)
    return Trained(model.name, fit_head(features, truth, 2, **settings).head, band, out_of_fold)
