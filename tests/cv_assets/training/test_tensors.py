"""Weights as bytes."""

from pathlib import Path

import pytest
import torch

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
