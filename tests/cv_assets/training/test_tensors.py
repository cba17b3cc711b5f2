"""Weights as bytes."""

import os
import pickle
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import pytest
import torch

from cv_assets.training.arrays import read_arrays
from cv_assets.training.backbones import PACKAGES, restore_backbone
from cv_assets.training.tensors import read_tensors, to_bytes


def test_the_same_tensors_give_the_same_bytes_in_any_order():
    one, two = torch.arange(3.0), torch.ones(2, 2)
    assert to_bytes({"one": one, "two": two}) == to_bytes({"two": two, "one": one})


def test_tensors_are_read_as_they_were_written(tmp_path: Path):
    file = tmp_path / "weights.safetensors"
    file.write_bytes(to_bytes({"weight": torch.tensor([[1.5, -torch.inf]])}))
    assert torch.equal(read_tensors(file)["weight"], torch.tensor([[1.5, -torch.inf]]))


def test_a_pickle_is_refused_in_words(tmp_path: Path):
    file = tmp_path / "weights.safetensors"
    torch.save({"weight": torch.ones(1)}, file)
    with pytest.raises(ValueError, match=r"weights.safetensors is not a safetensors file .* refused"):
        read_tensors(file)


class Trap:
    """Makes a folder when it is unpickled."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder

    def __reduce__(self) -> tuple[Callable[[str], None], tuple[str]]:
        return os.mkdir, (str(self._folder),)


@pytest.mark.parametrize("dump", [partial(pickle.dump, protocol=2), torch.save], ids=["pickle", "torch"])
@pytest.mark.parametrize(
    "read",
    [
        read_tensors,
        read_arrays,
        lambda file: restore_backbone("test_efficientnet", 32, file),
        lambda file: PACKAGES["efficientnet_lite0"].read(file, file.parent),
    ],
    ids=["tensors", "arrays", "backbone", "weight package"],
)
def test_a_pickle_is_refused_before_it_runs_code(
    read: Callable[[Path], Any], dump: Callable[..., None], tmp_path: Path
):
    file, sprung = tmp_path / "weights.pth", tmp_path / "sprung"
    with file.open("wb") as stream:
        dump({"weight": Trap(sprung)}, stream)
    with pytest.raises(ValueError, match=r"weights\.pth .* can run code|weights\.pth .* could run code"):
        read(file)
    assert not sprung.exists()


def test_the_trap_of_these_tests_springs_when_it_is_unpickled(tmp_path: Path):
    pickle.loads(pickle.dumps(Trap(tmp_path / "sprung")))  # noqa: S301  (the trap is its own)
    assert (tmp_path / "sprung").is_dir()


@pytest.mark.parametrize(
    "content",
    [b"", b"\xff" * 8, (1 << 60).to_bytes(8, "little") + b"{}", to_bytes({"a": torch.ones(9)})[:-1]],
    ids=["empty", "no header", "a header longer than the file", "cut short"],
)
def test_a_damaged_file_is_refused_in_words(content: bytes, tmp_path: Path):
    file = tmp_path / "weights.safetensors"
    file.write_bytes(content)
    for read in (read_tensors, read_arrays):
        with pytest.raises(ValueError, match=r"weights\.safetensors is not a safetensors file"):
            read(file)
