"""Fine-tuning on drawn cells: sound ones are noise, defective ones have a dark crack."""

from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from cv_assets.spec.training import FineTuneRecipe, Model
from cv_assets.training.backbones import load_backbone
from cv_assets.training.features import to_input
from cv_assets.training.fine_tuning import Trainer, augment, pick_device
from cv_assets.training.recipes import TrainingSet

CPU = torch.device("cpu")
MakeTrainer = Callable[..., Trainer]


@pytest.fixture
def make_trainer(make_model: Callable[..., Model], frames: TrainingSet, cache_dir: Path) -> MakeTrainer:
    def make(
        architecture: str = "test_efficientnet",
        *,
        validation: Sequence[int] = (),
        device: torch.device = CPU,
        **recipe: Any,
    ) -> Trainer:
        section = {"kind": "fine_tune", "epochs": 2, "batch_size": 16, "learning_rate": 3e-3} | recipe
        model = make_model(architecture, recipe=section)
        return Trainer(
            frames=np.stack([to_input(frames.image(n), 32) for n in range(len(frames.frame_ids))]),
            labels=frames.labels,
            groups=frames.groups,
            validation=np.array(validation, dtype=np.intp),
            classes=2,
            backbone=load_backbone(model, seed=0, cache_dir=cache_dir),
            recipe=model.recipe,
            balance=True,
            folds=3,
            seed=0,
            device=device,
            say=lambda _: None,
        )

    return make


EVERY = np.arange(48)


def recipe(*names: str, **settings: Any) -> FineTuneRecipe:
    return FineTuneRecipe(kind="fine_tune", augment=names, **settings)


@pytest.mark.parametrize("architecture", ["test_efficientnet", "test_vit"])
def test_the_same_seed_gives_the_same_weights_to_the_bit(architecture: str, make_trainer: MakeTrainer):
    trainer = make_trainer(architecture, augment=["flip", "rotate", "brightness"])
    first, again = trainer.fit(EVERY), trainer.fit(EVERY)
    assert first.backbone.to_bytes() == again.backbone.to_bytes()
    assert np.array_equal(first.head.weight, again.head.weight)
    assert replace(trainer, seed=1).fit(EVERY).backbone.to_bytes() != first.backbone.to_bytes()


def test_training_leaves_pytorch_as_it_was(make_trainer: MakeTrainer):
    torch.manual_seed(7)
    expected = torch.rand(1)
    torch.manual_seed(7)
    make_trainer(epochs=1).fit(EVERY)
    assert torch.equal(torch.rand(1), expected)
    assert not torch.are_deterministic_algorithms_enabled()


def test_the_pretrained_backbone_is_not_changed(make_trainer: MakeTrainer):
    trainer = make_trainer(epochs=1)
    before = trainer.backbone.to_bytes()
    assert trainer.fit(EVERY).backbone.to_bytes() != before
    assert trainer.backbone.to_bytes() == before


def test_a_crack_is_learned(make_trainer: MakeTrainer):
    trainer = make_trainer(epochs=12, patience=12, batch_size=8, learning_rate=1e-2, augment=[])
    fitted = trainer.fit(EVERY)
    said = trainer.scores(fitted, EVERY).argmax(axis=1)
    assert (said == trainer.labels).mean() > 0.9


@pytest.mark.parametrize("optimizer", ["adamw", "sgd"])
def test_a_few_frames_can_be_overfitted(optimizer: str, make_trainer: MakeTrainer):
    said = make_trainer(optimizer=optimizer, learning_rate=3e-2, sanity_frames=6).check_sanity()
    assert said.startswith("6 frames were overfitted in ")


def test_equal_frames_with_different_labels_fail_the_sanity_check_in_words(make_trainer: MakeTrainer):
    trainer = make_trainer()
    same = replace(trainer, frames=np.repeat(trainer.frames[:1], 48, axis=0))
    with pytest.raises(ValueError, match=r"cannot overfit 8 frames: .* recipe.learning_rate \(0.003\)"):
        same.check_sanity()


def test_the_spec_says_how_far_and_how_long_frames_are_overfitted(make_trainer: MakeTrainer):
    with pytest.raises(ValueError, match=r"after 2 steps its loss is .* not below 1e-09\. Look"):
        make_trainer(sanity_steps=2, sanity_loss=1e-9).check_sanity()
    assert "in 1 steps" in make_trainer(sanity_loss=100.0).check_sanity()


@pytest.mark.parametrize(
    "change", [{"momentum": 0.1}, {"warm_up": 0.9}, {"max_gradient_norm": 1e-3}, {"max_gradient_norm": None}]
)
def test_momentum_warm_up_and_clipping_reach_the_training(change: dict[str, Any], make_trainer: MakeTrainer):
    usual, other = ({"epochs": 1, "optimizer": "sgd"} | more for more in ({}, change))
    assert make_trainer(**usual).fit(EVERY).curve != make_trainer(**other).fit(EVERY).curve


@pytest.mark.parametrize(("epochs", "warm_up"), [(9, 0.1), (1, 0.5), (3, 0.25), (1, 0.0), (2, 0.99)])
def test_a_training_of_few_steps_has_a_schedule_too(epochs: int, warm_up: float, make_trainer: MakeTrainer):
    # Eight frames in one batch: one step per epoch.
    fitted = make_trainer(epochs=epochs, patience=9, warm_up=warm_up).fit(np.arange(8))
    assert len(fitted.curve) == epochs


def test_the_device_is_the_one_that_the_spec_names():
    assert pick_device("cpu") == CPU
    if torch.cuda.is_available():
        assert pick_device("auto").type == pick_device("cuda").type == "cuda"
    else:
        assert pick_device("auto") == CPU
        with pytest.raises(ValueError, match=r"training\.device is cuda, and PyTorch sees no GPU here"):
            pick_device("cuda")


def test_the_sanity_check_can_be_switched_off(make_trainer: MakeTrainer):
    assert make_trainer(sanity_frames=0).check_sanity() == "Skipped: the recipe says `sanity_frames: 0`."


def test_a_loss_that_is_no_number_is_said_in_words(make_trainer: MakeTrainer):
    with pytest.raises(ValueError, match=r"loss is (nan|inf) in .* Lower recipe.learning_rate \(1e\+30\)"):
        make_trainer(optimizer="sgd", learning_rate=1e30).fit(EVERY)


def test_training_stops_when_validation_no_longer_improves_and_keeps_the_best_epoch(
    make_trainer: MakeTrainer,
):
    trainer = make_trainer(epochs=30, patience=2, validation=range(40, 48))
    fitted = trainer.fit(np.arange(40))
    losses = [epoch.val_loss for epoch in fitted.curve]
    assert len(losses) < 30
    assert np.argmin(losses) == len(losses) - 3


def test_a_group_is_held_out_to_stop_by_when_there_is_no_validation_frame(make_trainer: MakeTrainer):
    fitted = make_trainer(epochs=1).fit(EVERY)
    assert fitted.curve[0].val_loss is not None
    assert fitted.seen == set(range(48))


def test_a_single_group_trains_without_early_stopping(make_trainer: MakeTrainer):
    fitted = make_trainer(epochs=2, patience=1).fit(np.arange(8))
    assert [epoch.val_loss for epoch in fitted.curve] == [None, None]


def test_out_of_fold_models_never_saw_the_group_not_even_to_stop(
    make_trainer: MakeTrainer, frames: TrainingSet
):
    scored = make_trainer(epochs=1).out_of_fold(EVERY)
    assert scored.missing() == []
    assert scored.leaks(frames.groups) == []
    assert set(scored.fold) == {0, 1, 2}


def test_a_last_batch_of_one_frame_is_left_out(make_trainer: MakeTrainer):
    """Batch normalisation refuses it on the smallest maps."""
    make_trainer(epochs=1, batch_size=8, validation=[47]).fit(np.arange(41))


def test_augmented_frames_hold_the_same_pixels():
    frames = torch.arange(2 * 4 * 4 * 3, dtype=torch.float32).reshape(2, 4, 4, 3)
    turned = augment(frames.clone(), recipe("flip", "rotate"), torch.Generator().manual_seed(1))
    assert not torch.equal(turned, frames)
    assert torch.equal(turned.flatten(1).sort().values, frames.flatten(1).sort().values)


def test_brightness_changes_by_at_most_a_fifth_and_stays_a_grey_level():
    frames = torch.tensor([100.0, 250.0]).reshape(2, 1, 1, 1).repeat(50, 4, 4, 3)
    lit = augment(frames.clone(), recipe("brightness"), torch.Generator().manual_seed(1))
    ratios = lit[::2, 0, 0, 0] / 100
    assert 0.8 <= ratios.min() < 0.85
    assert 1.15 < ratios.max() <= 1.2
    assert lit.max() == 255


def test_the_spec_says_how_much_brighter():
    frames = torch.full((100, 1, 1, 3), 100.0)
    lit = augment(frames, recipe("brightness", brightness=0.05), torch.Generator().manual_seed(1))
    assert 95 <= lit.min() < 95.5
    assert 104.5 < lit.max() <= 105


def test_no_augmentation_changes_nothing():
    frames = torch.rand(3, 4, 4, 3)
    assert torch.equal(augment(frames.clone(), recipe(), torch.Generator()), frames)


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a GPU")
def test_a_gpu_learns_the_crack_and_hands_back_a_model_for_the_cpu(make_trainer: MakeTrainer):
    trainer = make_trainer(
        epochs=12, patience=12, batch_size=8, learning_rate=1e-2, augment=[], device=pick_device("cuda")
    )
    assert trainer.device.type == "cuda"
    fitted = trainer.fit(EVERY)
    on_gpu = trainer.scores(fitted, EVERY)
    on_cpu = replace(trainer, device=CPU).scores(fitted, EVERY)
    assert (on_gpu.argmax(axis=1) == trainer.labels).mean() > 0.9
    np.testing.assert_allclose(on_gpu, on_cpu, atol=1e-2)
