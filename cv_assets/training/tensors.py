"""Weights as bytes: safetensors, and nothing else. The same tensors always give the same bytes."""

from collections.abc import Mapping
from pathlib import Path

import safetensors.torch
import torch

from cv_assets.training.arrays import only_safetensors


def to_bytes(tensors: Mapping[str, torch.Tensor]) -> bytes:
    """The safetensors form of `tensors`, on no particular device."""
    return safetensors.torch.save(
        {name: tensor.detach().cpu().contiguous() for name, tensor in tensors.items()}
    )


def read_tensors(path: Path) -> dict[str, torch.Tensor]:
    """The tensors in a safetensors file.

    Raises ValueError for any other kind of file: a pickle could run code while it is read.
    """
    with only_safetensors(path):
        return safetensors.torch.load_file(path)
