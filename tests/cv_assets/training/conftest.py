"""Drawn frames and tiny models, so that trainings take seconds."""

import shutil
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import polars as pl
import pytest
import torch
from numpy.typing import NDArray

from cv_assets.spec.training import Model, Training
from cv_assets.training.recipes import TrainingSet, training_set

CLASSES = ("sound", "defective")
FROZEN = {"kind": "frozen", "C": 0.1}


@pytest.fixture(scope="session", autouse=True)
def one_thread() -> Iterator[None]:
    """PyTorch's threads wait for each other in a loop: on busy cores tiny models then take many times as long."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


@pytest.fixture(scope="session")
def cache_dir(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """One cache for all tests that do not ask about it: exporting a graph takes seconds."""
    return tmp_path_factory.mktemp("data") / "cache"


@pytest.fixture
def without_features(cache_dir: Path, tmp_path: Path) -> Callable[[], Path]:
    """Gives a cache of the test's own that knows no features, but the graphs exported so far."""

    def copy() -> Path:
        shutil.copytree(cache_dir / "graphs", tmp_path / "graphs")
        return tmp_path

    return copy


@pytest.fixture(scope="session")
def make_model() -> Callable[..., Model]:
    """A tiny model with random weights; arguments replace parts of the spec's section."""

    def make(architecture: str = "test_efficientnet", **changes: Any) -> Model:
        section = {
            "name": "cnn",
            "architecture": architecture,
            "input_size": 32,
            "weights": {"source": "random"},
            "recipe": FROZEN,
        }
        return Model.model_validate(section | changes)

    return make


@pytest.fixture(scope="session")
def make_settings() -> Callable[..., Training]:
    def make(model: Model, *, folds: int = 3, seed: int = 0) -> Training:
        return Training(seed=seed, folds=folds, models=(model,))

    return make


def draw_cell(number: int, *, defective: bool, side: int = 32) -> NDArray[np.uint8]:
    """A grey cell with noise, and a dark crack across it when it is defective."""
    random = np.random.default_rng(number)
    cell = random.integers(110, 150, (side, side), dtype=np.uint8)
    if defective:
        row = int(random.integers(6, side - 10))
        cell[row : row + 4, 4:-4] = 10
    return cell


@pytest.fixture(scope="session")
def split_table(tmp_path_factory: pytest.TempPathFactory) -> pl.DataFrame:
    """48 frames in 6 groups that train and 8 golden ones; `path` is a local file."""
    folder = tmp_path_factory.mktemp("frames")
    rows = []
    for number in range(56):
        defective = number % 3 == 0
        path = folder / f"{number}.png"
        cv2.imwrite(str(path), draw_cell(number, defective=defective))
        rows.append(
            {
                "frame_id": f"{number:064x}",
                "capture_id": f"c{number}",
                "path": str(path),
                "preparation": "p1",
                "group": f"m{number // 8}",
                "role": "train" if number < 48 else "golden",
                "label": CLASSES[defective],
                "attributes": "{}",
            }
        )
    return pl.DataFrame(rows)


@pytest.fixture(scope="session")
def frames(split_table: pl.DataFrame) -> TrainingSet:
    return training_set(split_table, CLASSES, Path)


@pytest.fixture(scope="session")
def weight_package() -> Callable[[str], Path]:
    """The file of a weight package; the test is skipped, with what to install, when it is not there."""
    from cv_assets.training.backbones import PACKAGES, package_file

    def find(name: str) -> Path:
        try:
            return package_file(name, PACKAGES[name])
        except ModuleNotFoundError as missing:
            pytest.skip(str(missing))

    return find
