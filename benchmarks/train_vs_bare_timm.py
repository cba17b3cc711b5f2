"""Frames a second of a fine-tuning beside a bare loop around the same timm model, each epoch with its validation.

Ours is `Trainer.fit`, whole, from frames of uint8 in memory to the weights of the best epoch on the CPU.
The peer, too, starts from a copy of its model. Its frames are normalised, and on the device in the layout that is
faster for it (channels first or last); it does nothing but the steps of the recipe: flips, forward, backward, clipped
gradients, optimiser, and one pass over the validation frames per epoch.
"""

import copy
import statistics
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path

import numpy as np
import timm
import torch
from timm.optim import create_optimizer_v2
from torch import nn

from benchmarks.figure import Figure
from cv_assets.spec.training import FineTuneRecipe, Model, Weights
from cv_assets.training.backbones import load_backbone
from cv_assets.training.fine_tuning import Trainer, pick_device

ARCHITECTURES = ("resnet18", "mobilenetv3_small_100")
"""One where arithmetic weighs most, and one of many small steps."""
SIDE, TRAIN, VALIDATION, EPOCHS, ROUNDS = 64, 256, 64, 1, 3
DEVICE = pick_device("auto")
LAYOUTS = (torch.contiguous_format, torch.channels_last)


def measure() -> Figure:
    """The lowest of all models, with and without flips, each the median of alternating rounds."""
    ratios = {
        (name, augment): _ratio(_recipe(augment), name)
        for name in ARCHITECTURES
        for augment in ((), ("flip",))
    }
    told = ", ".join(
        f"{name} {ratio:.2f}{' with flips' * bool(augment)}" for (name, augment), ratio in ratios.items()
    )
    unit = f"of its frames per second on {DEVICE.type} at {SIDE} px ({told})"
    return Figure(min(ratios.values()), unit, "a bare timm loop, same batch", ">= 0.9")


def _recipe(augment: tuple[str, ...]) -> FineTuneRecipe:
    settings = {"kind": "fine_tune", "epochs": EPOCHS, "augment": augment, "sanity_frames": 0}
    return FineTuneRecipe.model_validate(settings)


def _ratio(recipe: FineTuneRecipe, architecture: str) -> float:
    ours = partial(_trainer(recipe, architecture).fit, np.arange(TRAIN))
    peers = [_peer(recipe, architecture, layout) for layout in LAYOUTS]
    # The first round warms libraries and memory up, the second says which layout is the faster.
    first, second = ([_seconds(call) for call in (ours, *peers)][1:] for _ in range(2))
    peer = peers[int(np.argmin(np.minimum(first, second)))]
    return statistics.median(_seconds(peer) / _seconds(ours) for _ in range(ROUNDS))


def _trainer(recipe: FineTuneRecipe, architecture: str) -> Trainer:
    frames_NSS3, labels_N = _data()
    model = Model(
        name="measured",
        architecture=architecture,
        input_size=SIDE,
        weights=Weights(source="random"),
        recipe=recipe,
    )
    return Trainer(
        frames=frames_NSS3,
        labels=labels_N,
        groups=[str(number) for number in range(len(labels_N))],
        validation=np.arange(TRAIN, TRAIN + VALIDATION),
        classes=2,
        backbone=load_backbone(model, seed=0, cache_dir=Path()),
        recipe=recipe,
        balance=False,
        folds=5,
        seed=0,
        device=DEVICE,
        say=lambda _: None,
    )


def _peer(recipe: FineTuneRecipe, architecture: str, layout: torch.memory_format) -> Callable[[], None]:
    frames_NSS3, labels_N = _data()
    images = torch.from_numpy(frames_NSS3).permute(0, 3, 1, 2).to(DEVICE, torch.float32)
    images, labels = (
        ((images - 127) / 60).contiguous(memory_format=layout),
        torch.from_numpy(labels_N).to(DEVICE),
    )
    model = timm.create_model(architecture, num_classes=2).to(DEVICE, memory_format=layout)

    def run() -> None:
        net = copy.deepcopy(model)
        optimizer = create_optimizer_v2(
            net, recipe.optimizer, lr=recipe.learning_rate, weight_decay=recipe.weight_decay
        )
        for _ in range(recipe.epochs):
            epoch(net, optimizer)

    def epoch(net: nn.Module, optimizer: torch.optim.Optimizer) -> None:
        net.train()
        for part in torch.randperm(TRAIN).split(recipe.batch_size):
            batch = images[part]
            if recipe.augment:
                batch = _flipped(_flipped(batch, axis=2), axis=3)
            with torch.autocast(DEVICE.type, torch.bfloat16, enabled=DEVICE.type == "cuda"):
                loss = nn.functional.cross_entropy(net(batch), labels[part])
            optimizer.zero_grad()
            loss.backward()
            nn.utils.clip_grad_norm_(net.parameters(), recipe.max_gradient_norm)
            optimizer.step()
        net.eval()
        with torch.inference_mode():
            nn.functional.cross_entropy(net(images[TRAIN:]), labels[TRAIN:]).item()

    return run


def _flipped(images_NCSS: torch.Tensor, axis: int) -> torch.Tensor:
    chosen = (torch.rand(len(images_NCSS), device=DEVICE) < 0.5).reshape(-1, 1, 1, 1)
    return torch.where(chosen, images_NCSS.flip(axis), images_NCSS)


def _data() -> tuple[np.ndarray, np.ndarray]:
    """Frames (N, S, S, 3) of noise, and labels (N,)."""
    rng, count = np.random.default_rng(0), TRAIN + VALIDATION
    frames_NSS3 = rng.integers(0, 256, (count, SIDE, SIDE, 3), dtype=np.uint8)
    return frames_NSS3, rng.integers(0, 2, count)


def _seconds(call: Callable[[], object]) -> float:
    start = time.perf_counter()
    call()
    return time.perf_counter() - start
