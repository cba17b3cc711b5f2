"""Fine-tuning: all weights of a backbone and its linear head are trained.

Frames are held in memory at the backbone's input size, uint8 (N, S, S, 3). The same seed gives the same weights on a
CPU with the same number of threads; a GPU is not held to that. Out-of-fold scores train one more model per fold, so a
candidate costs `folds` + 1 trainings.
"""

import copy
import math
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
import torch
from numpy.typing import NDArray
from sklearn.utils import compute_class_weight
from timm.optim import create_optimizer_v2  # type: ignore[attr-defined]
from torch import nn

from cv_assets.spec.training import FineTuneRecipe
from cv_assets.training.backbones import Backbone
from cv_assets.training.fitting import OutOfFold
from cv_assets.training.folds import Indices, grouped_folds
from cv_assets.training.graphs import FeatureNet
from cv_assets.training.heads import Head, Labels

Frames = NDArray[np.uint8]
Say = Callable[[str], None]


@dataclass(frozen=True)
class Epoch:
    """Mean losses of one pass over the training frames; `val_loss` is None when nothing was held out."""

    epoch: int
    train_loss: float
    val_loss: float | None


@dataclass(frozen=True)
class FineTuned:
    """The trained backbone and head, as they were at the epoch with the lowest validation loss."""

    backbone: Backbone
    head: Head
    curve: tuple[Epoch, ...]
    seen: frozenset[int]
    """Indices of the frames that trained it or stopped it."""


@dataclass(frozen=True)
class Trainer:
    """What the trainings of one candidate share: its data, recipe and device."""

    frames: Frames
    """(N, S, S, 3)"""
    labels: Labels
    """(N,)"""
    groups: Sequence[str]
    """Of length N."""
    validation: Indices
    """Frames of the validation role: they stop a training and never train."""
    classes: int
    backbone: Backbone
    recipe: FineTuneRecipe
    balance: bool
    folds: int
    seed: int
    device: torch.device
    say: Say

    def fit(self, train: Indices) -> FineTuned:
        """Train on the frames at `train` and keep the epoch with the lowest validation loss.

        Without validation frames one grouped fold of `train` is held out to stop by; with a single group there is no
        early stopping. Raises ValueError when the loss is no number.
        """
        train, stop = self._held_out(train)
        with reproducible(self.seed, self.device):
            net = self._new_net()
            curve = self._run(net, train, stop)
        return FineTuned(self._backbone_of(net), _head_of(net), curve, frozenset({*train, *stop}))

    def out_of_fold(self, train: Indices) -> OutOfFold:
        """Scores of the frames at `train`, in that order, by models that never saw their group, not even to stop."""
        labels_N, groups_N = self.labels[train], [self.groups[index] for index in train]
        scores_NC = np.full((len(train), self.classes), np.nan)
        fold_N = np.full(len(train), -1, dtype=np.intp)
        seen: dict[int, frozenset[str]] = {}
        folds = grouped_folds(labels_N, groups_N, self.folds, self.seed)
        for fold in folds:
            self.say(f"fold {fold.number + 1} of {len(folds)}: {len(fold.train)} frames")
            fitted = self.fit(train[fold.train])
            scores_NC[fold.held_out] = self.scores(fitted, train[fold.held_out])
            fold_N[fold.held_out] = fold.number
            seen[fold.number] = frozenset(self.groups[index] for index in fitted.seen)
        return OutOfFold(scores_NC, fold_N, seen)

    def scores(self, fitted: FineTuned, indices: Indices) -> NDArray[np.float64]:
        """Probabilities (n, C) of the frames at `indices`, in single precision."""
        net = FeatureNet(fitted.backbone.module).to(self.device).eval()
        with torch.inference_mode():
            features = [net(self._batch(part)).cpu().numpy() for part in _batches(indices, 64)]
        fitted.backbone.module.cpu()
        return fitted.head.scores(np.concatenate(features))

    def check_sanity(self) -> str:
        """Overfit a few frames, the quickest sign that data, model and optimiser fit together; say how it went.

        Raises ValueError when the model cannot.
        """
        count, steps, enough = self.recipe.sanity_frames, self.recipe.sanity_steps, self.recipe.sanity_loss
        if count == 0:
            return "Skipped: the recipe says `sanity_frames: 0`."
        chosen = _a_few_of_each(self.labels, self.validation, count)
        with reproducible(self.seed, self.device):
            net = self._new_net().train()
            optimizer = self._optimizer(net)
            for step in range(1, steps + 1):
                loss = self._step(net, optimizer, self._batch(chosen), chosen, None)
                _refuse_nan(loss, f"step {step} of the sanity check", self.recipe.learning_rate)
                if loss < enough:
                    return f"{len(chosen)} frames were overfitted in {step} steps (loss {loss:.3f})."
        raise ValueError(
            f"the model cannot overfit {len(chosen)} frames: after {steps} steps its loss is {loss:.3f}, "
            f"not below {enough:g}. Look at recipe.learning_rate ({self.recipe.learning_rate:g}), at the labels, "
            "and whether these frames differ at all at the model's input_size"
        )

    def _held_out(self, train: Indices) -> tuple[Indices, Indices]:
        if len(self.validation):
            return train, self.validation
        groups = [self.groups[index] for index in train]
        if len(set(groups)) < 2:
            return train, np.zeros(0, dtype=np.intp)
        first = grouped_folds(self.labels[train], groups, self.folds, self.seed)[0]
        return train[first.train], train[first.held_out]

    def _run(self, net: nn.Sequential, train: Indices, stop: Indices) -> tuple[Epoch, ...]:
        optimizer = self._optimizer(net)
        weights_C = self._class_weights(train)
        order = torch.Generator().manual_seed(self.seed)
        steps = self.recipe.epochs * len(_train_batches(train, self.recipe.batch_size, None))
        schedule = _schedule(optimizer, self.recipe, steps)
        curve: list[Epoch] = []
        best_loss, best_epoch, best_state = math.inf, 0, net.state_dict()
        for epoch in range(1, self.recipe.epochs + 1):
            net.train()
            losses = []
            for part in _train_batches(train, self.recipe.batch_size, order):
                frames = augment(self._batch(part), self.recipe, order)
                losses.append(self._step(net, optimizer, frames, part, weights_C))
                schedule.step()
            curve.append(Epoch(epoch, float(np.mean(losses)), self._validation_loss(net, stop, weights_C)))
            _refuse_nan(curve[-1].train_loss, f"epoch {epoch}", self.recipe.learning_rate)
            judged = curve[-1].val_loss
            self.say(f"epoch {epoch}: loss {curve[-1].train_loss:.4f}, validation {judged}")
            if judged is None or judged < best_loss:
                best_loss, best_epoch = (math.inf if judged is None else judged), epoch
                best_state = copy.deepcopy(net.state_dict())
            elif epoch - best_epoch >= self.recipe.patience:
                break
        net.load_state_dict(best_state)
        net.cpu().eval()
        return tuple(curve)

    def _step(
        self,
        net: nn.Sequential,
        optimizer: torch.optim.Optimizer,
        frames: torch.Tensor,
        indices: Indices,
        weights_C: torch.Tensor | None,
    ) -> float:
        # bfloat16 needs no loss scaling; where the GPU has none, single precision it is.
        mixed = self.device.type == "cuda" and torch.cuda.is_bf16_supported()
        with torch.autocast(self.device.type, dtype=torch.bfloat16, enabled=mixed):
            logits = net(frames)
        loss = nn.functional.cross_entropy(logits.float(), self._targets(indices), weight=weights_C)
        optimizer.zero_grad()
        loss.backward()  # type: ignore[no-untyped-call]
        if self.recipe.max_gradient_norm is not None:
            nn.utils.clip_grad_norm_(net.parameters(), self.recipe.max_gradient_norm)
        optimizer.step()
        return float(loss.detach())

    def _validation_loss(
        self, net: nn.Sequential, stop: Indices, weights_C: torch.Tensor | None
    ) -> float | None:
        if not len(stop):
            return None
        net.eval()
        with torch.inference_mode():
            logits = torch.cat([net(self._batch(part)) for part in _batches(stop, 64)])
            return float(nn.functional.cross_entropy(logits, self._targets(stop), weight=weights_C))

    def _new_net(self) -> nn.Sequential:
        features = FeatureNet(copy.deepcopy(self.backbone.module))
        with torch.inference_mode():
            width = features(torch.zeros(1, self.backbone.input_size, self.backbone.input_size, 3)).shape[1]
        return nn.Sequential(features, nn.Linear(width, self.classes)).to(self.device)

    def _backbone_of(self, net: nn.Sequential) -> Backbone:
        features = net[0]
        if not isinstance(features, FeatureNet):
            raise TypeError(f"expected a FeatureNet, got {type(features).__name__}")
        trained = features.backbone
        return Backbone(
            self.backbone.architecture, self.backbone.input_size, trained, self.backbone.source_sha256
        )

    def _optimizer(self, net: nn.Module) -> torch.optim.Optimizer:
        # timm leaves biases and norms without weight decay, and gives SGD its momentum.
        optimizer: torch.optim.Optimizer = create_optimizer_v2(
            net,
            opt=self.recipe.optimizer,
            lr=self.recipe.learning_rate,
            weight_decay=self.recipe.weight_decay,
            momentum=self.recipe.momentum,
        )
        return optimizer

    def _class_weights(self, train: Indices) -> torch.Tensor | None:
        if not self.balance:
            return None
        seen = np.unique(self.labels[train])
        weights_C = np.zeros(self.classes)
        weights_C[seen] = compute_class_weight("balanced", classes=seen, y=self.labels[train])
        return torch.tensor(weights_C, dtype=torch.float32, device=self.device)

    def _batch(self, indices: Indices) -> torch.Tensor:
        # Bytes travel to the device, a quarter of what their float form takes.
        return torch.from_numpy(self.frames[indices]).to(self.device).to(torch.float32)

    def _targets(self, indices: Indices) -> torch.Tensor:
        return torch.from_numpy(self.labels[indices]).to(self.device)


def augment(frames_NSS3: torch.Tensor, recipe: FineTuneRecipe, generator: torch.Generator) -> torch.Tensor:
    """The frames, each flipped, turned by right angles and made brighter or darker, as the recipe says.

    Grey levels stay in 0 to 255.
    """
    count, names = len(frames_NSS3), recipe.augment
    if "flip" in names:
        for axis in (1, 2):
            chosen = torch.rand(count, generator=generator) < 0.5
            frames_NSS3[chosen] = frames_NSS3[chosen].flip(axis)
    if "rotate" in names:
        turns = torch.randint(0, 4, (count,), generator=generator)
        for turn in (1, 2, 3):
            frames_NSS3[turns == turn] = torch.rot90(frames_NSS3[turns == turn], turn, (1, 2))
    if "brightness" in names:
        factors = 1 - recipe.brightness + 2 * recipe.brightness * torch.rand(count, generator=generator)
        factors = factors.to(frames_NSS3.device).reshape(-1, 1, 1, 1)
        frames_NSS3 = (frames_NSS3 * factors).clamp(0, 255)
    return frames_NSS3


def pick_device(wanted: Literal["auto", "cpu", "cuda"]) -> torch.device:
    """The device that the spec asks for; `auto` is the GPU when there is one, else the CPU.

    Raises ValueError when a GPU is asked for and PyTorch sees none.
    """
    there = torch.cuda.is_available()
    if wanted == "cuda" and not there:
        raise ValueError(
            "training.device is cuda, and PyTorch sees no GPU here: say auto or cpu, or give it one"
        )
    return torch.device("cuda" if there and wanted != "cpu" else "cpu")


@contextmanager
def reproducible(seed: int, device: torch.device) -> Iterator[None]:
    """Inside, PyTorch draws from `seed` and, on a CPU, uses deterministic algorithms."""
    before = torch.are_deterministic_algorithms_enabled()
    filling: Any = torch.utils.deterministic  # its one setting is not typed
    fills = filling.fill_uninitialized_memory
    devices = [device.index or 0] if device.type == "cuda" else []
    with torch.random.fork_rng(devices=devices):
        torch.manual_seed(seed)
        # On a GPU this would demand an environment variable of the whole process.
        torch.use_deterministic_algorithms(device.type == "cpu")
        # It finds who reads memory before writing it, at a twentieth of the time.
        filling.fill_uninitialized_memory = False
        try:
            yield
        finally:
            torch.use_deterministic_algorithms(before)
            filling.fill_uninitialized_memory = fills


def _schedule(
    optimizer: torch.optim.Optimizer, recipe: FineTuneRecipe, steps: int
) -> torch.optim.lr_scheduler.OneCycleLR:
    """The learning rate rises and falls once over `steps`."""
    total = steps + 1
    # A rise of exactly one step has no length: PyTorch would divide by zero.
    total += recipe.warm_up * total == 1
    return torch.optim.lr_scheduler.OneCycleLR(
        optimizer, recipe.learning_rate, total_steps=total, pct_start=recipe.warm_up, cycle_momentum=False
    )


def _train_batches(indices: Indices, size: int, order: torch.Generator | None) -> list[Indices]:
    shuffled = indices if order is None else indices[torch.randperm(len(indices), generator=order).numpy()]
    batches = list(_batches(shuffled, size))
    # Batch normalisation has no statistics of a single frame.
    return batches[:-1] if len(batches) > 1 and len(batches[-1]) == 1 else batches


def _batches(indices: Indices, size: int) -> Iterator[Indices]:
    return (indices[start : start + size] for start in range(0, len(indices), size))


def _a_few_of_each(labels_N: Labels, excluded: Indices, count: int) -> Indices:
    """The first frames of each class in turn, `count` in all."""
    candidates = np.setdiff1d(np.arange(len(labels_N)), excluded)
    rank_in_class = [
        int((labels_N[candidates[:n]] == labels_N[one]).sum()) for n, one in enumerate(candidates)
    ]
    return np.sort(candidates[np.argsort(rank_in_class, kind="stable")[:count]])


def _head_of(net: nn.Sequential) -> Head:
    linear = net[1]
    if not isinstance(linear, nn.Linear):
        raise TypeError(f"expected a linear head, got {type(linear).__name__}")
    weight_CD = linear.weight.detach().cpu().numpy().astype(np.float64)
    bias_C = linear.bias.detach().cpu().numpy().astype(np.float64)
    return Head(np.zeros(weight_CD.shape[1]), np.ones(weight_CD.shape[1]), weight_CD, bias_C)


def _refuse_nan(loss: float, when: str, learning_rate: float) -> None:
    if not math.isfinite(loss):
        raise ValueError(
            f"the loss is {loss} in {when}: training diverged. Lower recipe.learning_rate ({learning_rate:g})"
        )
