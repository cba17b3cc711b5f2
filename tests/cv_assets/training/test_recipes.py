"""From a split table to a trained model, by both recipes."""

from collections.abc import Callable
from pathlib import Path

import numpy as np
import polars as pl
import pytest

from cv_assets.spec.training import Model, Training
from cv_assets.training.recipes import TrainingSet, train, training_set

CLASSES = ("sound", "defective")


def test_only_the_roles_train_and_val_are_taken_in_the_order_of_their_ids(split_table: pl.DataFrame):
    shuffled = split_table.sample(fraction=1, shuffle=True, seed=1).with_columns(
        role=pl.when(pl.col("group") == "m5").then(pl.lit("val")).otherwise("role")
    )
    frames = training_set(shuffled, CLASSES, Path)
    assert list(frames.frame_ids) == sorted(split_table["frame_id"][:48])
    assert frames.validation.tolist() == list(range(40, 48))
    assert frames.train.tolist() == list(range(40))


def test_a_class_without_a_training_frame_is_named(split_table: pl.DataFrame):
    with pytest.raises(ValueError, match=r"none of the 48 training frames has the label \['cracked'\]"):
        training_set(split_table, (*CLASSES, "cracked"), Path)


def test_a_label_that_is_no_class_is_named(split_table: pl.DataFrame):
    with pytest.raises(ValueError, match=r"labels \['defective'\] are not among the classes \['sound'\]"):
        training_set(split_table, ("sound",), Path)


def test_frames_of_two_preparations_are_not_mixed(split_table: pl.DataFrame):
    mixed = split_table.with_columns(preparation=pl.concat_str(pl.lit("p"), pl.col("group") == "m1"))
    with pytest.raises(ValueError, match=r"different passes \['pfalse', 'ptrue'\]"):
        training_set(mixed, CLASSES, Path)


def silent(_: str) -> None:
    pass


def test_a_second_training_takes_features_from_the_cache_and_gives_equal_bytes(
    make_model: Callable[..., Model],
    make_settings: Callable[..., Training],
    frames: TrainingSet,
    cache_dir: Path,
    without_features: Callable[[], Path],
):
    model = make_model()
    settings = make_settings(model)
    train(model, settings, frames, cache_dir=cache_dir, say=silent)
    cache = without_features()
    first, again = (train(model, settings, frames, cache_dir=cache, say=silent) for _ in range(2))
    assert (first.costs["frames embedded"], again.costs["frames embedded"]) == (48, 0)
    assert first.head_bytes == again.head_bytes
    assert first.backbone_bytes == again.backbone_bytes
    assert np.array_equal(first.out_of_fold.scores, again.out_of_fold.scores)


def test_validation_frames_neither_train_nor_get_out_of_fold_scores(
    make_model: Callable[..., Model],
    make_settings: Callable[..., Training],
    split_table: pl.DataFrame,
    cache_dir: Path,
):
    held = split_table.with_columns(
        role=pl.when(pl.col("group") == "m5").then(pl.lit("val")).otherwise("role")
    )
    flipped = held.with_columns(
        label=pl.when(pl.col("role") == "val").then(pl.lit("sound")).otherwise("label")
    )
    model = make_model()
    with_val, other_labels, without = (
        train(
            model, make_settings(model), training_set(table, CLASSES, Path), cache_dir=cache_dir, say=silent
        )
        for table in (held, flipped, held.filter(pl.col("role") != "val"))
    )
    assert with_val.head_bytes == other_labels.head_bytes == without.head_bytes
    assert with_val.curve[0].val_loss != other_labels.curve[0].val_loss
    assert len(with_val.out_of_fold.scores) == 40


def test_a_fine_tuned_model_says_how_its_sanity_check_and_loss_went(
    make_model: Callable[..., Model],
    make_settings: Callable[..., Training],
    frames: TrainingSet,
    cache_dir: Path,
):
    model = make_model(
        recipe={"kind": "fine_tune", "epochs": 3, "learning_rate": 3e-3, "sanity_frames": 4, "augment": []}
    )
    trained = train(model, make_settings(model), frames, cache_dir=cache_dir, say=silent)
    assert trained.remark.startswith("4 frames were overfitted in ")
    assert len(trained.curve) <= 3
    assert trained.out_of_fold.missing() == []
    assert trained.seconds > 0
