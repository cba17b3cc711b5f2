"""Features: what a frozen backbone says of a frame.

An image is uint8, (H, W) grey or (H, W, 3) RGB; the backbone sees it at S x S. Shapes: N frames, D features.
Nothing here imports PyTorch: a frame is scored by a graph that was made before.
"""

import hashlib
import importlib.metadata
import itertools
import json
import os
import time
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Final, Literal

import cv2
import numpy as np
import onnxruntime
import safetensors.numpy
from numpy.typing import NDArray

from cv_assets.training.cache import cached_file, is_sound, keep

Image = NDArray[np.uint8]
Features = NDArray[np.float32]
Pool = Literal["mean", "max", "min"]

_CHUNK: Final = 256
"""Frames that are held in memory, and kept in one file of the cache, at a time."""


def read_image(path: Path) -> Image:
    """The image in a prepared PNG: grey (H, W) or RGB (H, W, 3). Raises ValueError when it is none."""
    image = cv2.imdecode(np.fromfile(path, dtype=np.uint8), cv2.IMREAD_UNCHANGED)
    if image is None:
        raise ValueError(f"{path.name} is not a readable image")
    image = image if image.ndim == 2 else cv2.cvtColor(image, cv2.COLOR_BGR2RGB)
    return image.astype(np.uint8, copy=False)


def read_images(paths: Iterable[Path]) -> Iterator[Image]:
    """The image in each prepared PNG, in order, decoded on every core. Raises ValueError when one is none."""
    files = iter(paths)
    with ThreadPoolExecutor(cores()) as threads:
        while chunk := list(itertools.islice(files, _CHUNK)):
            yield from threads.map(read_image, chunk)


def to_input(image: Image, input_size: int, name: str = "") -> Image:
    """The image as the backbone sees it: (S, S, 3), resized by pixel area, grey repeated in three channels."""
    if image.dtype != np.uint8 or image.ndim not in (2, 3) or (image.ndim == 3 and image.shape[2] != 3):
        raise ValueError(f"frame {name} must be uint8 (H, W) or (H, W, 3), got {image.dtype} {image.shape}")
    small: Image = cv2.resize(image, (input_size, input_size), interpolation=cv2.INTER_AREA).astype(
        np.uint8, copy=False
    )
    return cv2.cvtColor(small, cv2.COLOR_GRAY2RGB).astype(np.uint8, copy=False) if small.ndim == 2 else small


@dataclass(frozen=True)
class Embedded:
    """The features of some frames, and how many of them had to be computed, in how many seconds of wall time."""

    features: Features
    computed: int
    seconds: float


@dataclass(frozen=True)
class Extractor:
    """Features by onnxruntime, kept in `cache_dir` by the frame's pixels and by everything that makes the features.

    Each frame runs alone on one thread: its features depend on nothing but itself, to the last bit, and on small
    inputs this is also the fastest way to use all cores.
    """

    architecture: str
    input_size: int
    backbone_sha256: str
    blocks: tuple[int, ...]
    pool: tuple[Pool, ...]
    cache_dir: Path
    graph: Callable[[], bytes]
    """Makes the ONNX graph from frames (1, S, S, 3) to features; asked only when the cache has none."""

    @cached_property
    def digest(self) -> str:
        """Names the features: other weights, blocks, pools, sizes or library versions give another digest."""
        made_from = {
            "backbone": self.backbone_sha256,
            "architecture": self.architecture,
            "input_size": self.input_size,
            "blocks": self.blocks,
            "pool": self.pool,
            "versions": versions(),
        }
        return hashlib.sha256(json.dumps(made_from, sort_keys=True).encode()).hexdigest()[:24]

    def compute(self, image: Image, name: str = "") -> Features:
        """The features (D,) of one frame, not from the cache."""
        frame_1SS3 = to_input(image, self.input_size, name)[None]
        features: Features = self._session.run(None, {"frames": frame_1SS3})[0][0]
        return features

    def embed(self, images: Iterable[Image], names: Iterable[str] | None = None) -> Embedded:
        """The features of each image, in order. `names` say which frame an error is about."""
        started, known, computed = time.perf_counter(), self._known, 0
        rows: list[Features] = []
        named = zip(images, names, strict=True) if names is not None else ((image, "") for image in images)
        with ThreadPoolExecutor(cores()) as threads:
            while chunk := list(itertools.islice(named, _CHUNK)):
                keys = list(threads.map(lambda one: _key(one[0]), chunk))
                missing = {key: one for key, one in zip(keys, chunk, strict=True) if key not in known}
                if missing:
                    known.update(self._computed(missing, threads))
                rows += [known[key] for key in keys]
                computed += len(missing)
        features_ND = np.stack(rows) if rows else np.zeros((0, 0), dtype=np.float32)
        return Embedded(features_ND, computed, time.perf_counter() - started)

    def _computed(
        self, missing: dict[bytes, tuple[Image, str]], threads: ThreadPoolExecutor
    ) -> dict[bytes, Features]:
        # A cached property is made once only when no two threads ask for it first.
        _ = self._session
        rows = list(threads.map(lambda one: self.compute(*one), missing.values()))
        keys_N32 = np.frombuffer(b"".join(missing), dtype=np.uint8).reshape(len(missing), 32)
        content = safetensors.numpy.save({"keys": keys_N32, "features": np.stack(rows)})
        keep(self._folder, "", ".safetensors", content)
        return dict(zip(missing, rows, strict=True))

    @cached_property
    def _known(self) -> dict[bytes, Features]:
        kept: dict[bytes, Features] = {}
        for path in sorted(self._folder.glob("*.safetensors")):
            # A damaged file is as good as none: its frames are computed again.
            if is_sound(path):
                tensors = safetensors.numpy.load_file(path)
                kept |= {
                    key.tobytes(): row for key, row in zip(tensors["keys"], tensors["features"], strict=True)
                }
        return kept

    @property
    def _folder(self) -> Path:
        return self.cache_dir / "features" / self.digest

    @cached_property
    def _session(self) -> onnxruntime.InferenceSession:
        graph = cached_file(self.cache_dir / "graphs", self.digest, ".onnx", self.graph)
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = 1
        options.use_deterministic_compute = True
        return onnxruntime.InferenceSession(graph, options, providers=["CPUExecutionProvider"])


def versions() -> dict[str, str]:
    """Versions of the libraries that features and weights depend on."""
    names = ("torch", "timm", "onnxruntime", "scikit-learn", "opencv-python-headless")
    return {name: importlib.metadata.version(name) for name in names}


def _key(image: Image) -> bytes:
    shape = json.dumps(image.shape).encode()
    return hashlib.sha256(shape + np.ascontiguousarray(image).tobytes()).digest()


def cores() -> int:
    """How many cores this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
