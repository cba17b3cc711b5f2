"""The row, the files and what is asked of a trained model."""

import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import polars as pl
import pytest

from cv_assets.spec.training import Model, Training
from cv_assets.training.checkpoints import (
    TOLERANCE,
    checkpoint_files,
    checkpoint_row,
    confidently_wrong,
    leaked_frames,
    out_of_fold_auc,
    reproduction_error,
)
from cv_assets.training.figures import training_figure
from cv_assets.training.recipes import Trained, TrainingSet, train
from cv_assets.training.schema import Checkpoint


@pytest.fixture(scope="module")
def model(make_model: Callable[..., Model]) -> Model:
    return make_model()


@pytest.fixture(scope="module")
def settings(model: Model, make_settings: Callable[..., Training]) -> Training:
    return make_settings(model)


@pytest.fixture(scope="module")
def trained(model: Model, settings: Training, frames: TrainingSet, cache_dir: Path) -> Trained:
    return train(model, settings, frames, cache_dir=cache_dir, say=lambda _: None)


def test_the_row_follows_the_contract_and_points_to_files_named_by_their_hash(
    model: Model, settings: Training, frames: TrainingSet, trained: Trained
):
    rows = checkpoint_row(model, settings, "first", frames, trained)
    Checkpoint.validate(rows)
    row, files = rows.row(0, named=True), checkpoint_files(model, "first", trained)
    assert set(files) == {row["weights"], row["backbone"]}
    assert row["weights"] == f"cnn_checkpoint/first/{row['weights_sha256']}.safetensors"
    assert (row["frames"], row["groups"]) == (48, 6)
    assert Model.model_validate(json.loads(row["recipe"])) == model
    assert [one["frame_id"] for one in row["out_of_fold"]] == list(frames.frame_ids)


def test_candidates_with_the_same_frozen_backbone_share_its_path(model: Model, trained: Trained):
    first, second = (checkpoint_files(model, candidate, trained) for candidate in ("first", "second"))
    assert [path for path in first if path in second] == [
        f"cnn_checkpoint/backbones/{trained.backbone_file_sha256}.safetensors"
    ]


def test_stored_bytes_reproduce_the_trained_model(
    model: Model, settings: Training, frames: TrainingSet, trained: Trained, cache_dir: Path
):
    row = checkpoint_row(model, settings, "first", frames, trained).row(0, named=True)
    files = checkpoint_files(model, "first", trained)
    assert reproduction_error(row, files, frames, trained, cache_dir) <= TOLERANCE
    other = replace(trained, head=replace(trained.head, bias=trained.head.bias + np.array([0.0, 0.1])))
    assert reproduction_error(row, files, frames, other, cache_dir) > TOLERANCE


def test_a_backbone_that_differs_at_all_is_found(
    model: Model, settings: Training, frames: TrainingSet, trained: Trained, cache_dir: Path
):
    from cv_assets.training.backbones import load_backbone

    row = checkpoint_row(model, settings, "first", frames, trained).row(0, named=True)
    files = checkpoint_files(model, "first", trained)
    other = replace(trained, backbone=load_backbone(model, seed=1, cache_dir=cache_dir))
    assert reproduction_error(row, files, frames, other, cache_dir) == np.inf


def test_a_judging_frame_or_its_picture_among_the_training_frames_is_found(
    frames: TrainingSet, split_table: pl.DataFrame
):
    assert leaked_frames(frames, split_table).is_empty()
    same_picture = split_table.with_columns(
        path=pl.when(pl.col("frame_id") == f"{50:064x}")
        .then(pl.lit(split_table["path"][0].replace("prepared_frames/", "prepared_frames/another-")))
        .otherwise("path")
    )
    assert leaked_frames(frames, same_picture)["frame_id"].to_list() == [f"{50:064x}"]
    same_frame = split_table.vstack(split_table.head(1).with_columns(role=pl.lit("challenge")))
    assert leaked_frames(frames, same_frame)["role"].to_list() == ["challenge"]


def test_cracks_are_told_from_noise_out_of_fold(frames: TrainingSet, trained: Trained):
    area = out_of_fold_auc(trained, frames, pass_class=0)
    assert area > 0.9
    assert out_of_fold_auc(trained, frames, pass_class=1) == pytest.approx(area)


def test_the_most_confident_mistakes_come_first(frames: TrainingSet, trained: Trained):
    scores = np.tile([0.9, 0.1], (48, 1))
    scores[3] = [0.99, 0.01]
    out_of_fold = replace(trained.out_of_fold, scores=scores)
    wrong = confidently_wrong(replace(trained, out_of_fold=out_of_fold), frames, 4)
    assert wrong["index"].to_list() == [3, 0, 6, 9]
    assert wrong.row(0) == (3, "defective", "sound", 0.99)


def test_the_figure_shows_a_curve_when_there_are_epochs_and_else_the_roc(
    frames: TrainingSet, trained: Trained
):
    head = training_figure(trained, frames, 0)
    tuned = training_figure(replace(trained, curve=trained.curve * 3), frames, 0)
    assert head.axes[0].get_xlabel() == "sound frames called defective"
    assert tuned.axes[0].get_xlabel() == "epoch"
    assert [text.get_text() for text in tuned.axes[1].get_legend().get_texts()] == ["sound", "defective"]
