"""Stored arrays: safetensors, and nothing else, read without PyTorch."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import safetensors.numpy
from numpy.typing import NDArray


def read_arrays(path: Path) -> dict[str, NDArray[Any]]:
    """The arrays in a safetensors file. Raises ValueError for any other kind of file."""
    with only_safetensors(path):
        return safetensors.numpy.load_file(path)


@contextmanager
def only_safetensors(path: Path) -> Iterator[None]:
    """Raises ValueError when what is read inside is another kind of file: a pickle could run code while it is read."""
    try:
        yield
    except safetensors.SafetensorError as error:
        raise ValueError(
            f"{path.name} is not a safetensors file ({error}). Pickle checkpoints (.pt, .pth, .bin) are refused "
            "because reading one can run code: convert it with safetensors.torch.save_file"
        ) from error
