"""Frames a second that inspection scores, beside the bare forward pass of the same runtime on a ready tensor.

Ours is `timed_scores` on prepared frames: resize, normalisation, pooling and head included. The peer runs timm's own
graph on a normalised tensor, a frame on one thread of each core, as ours does: so a score depends on nothing but
itself. What the same peer would gain by batches, whose frames change each other's last bits, is told in the unit.
"""

import statistics
import tempfile
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import cv2
import numpy as np
import onnxruntime
import timm
import torch

from benchmarks.figure import Figure
from cv_assets.spec.training import FineTuneRecipe, Model, Weights
from cv_assets.training.backbones import load_backbone
from cv_assets.training.features import cores, read_images
from cv_assets.training.graphs import extractor_of
from cv_assets.training.heads import Head
from cv_assets.training.inference import Predictor, pooling, timed_scores

ARCHITECTURE = "mobilenetv3_small_100"
"""A quick one: what is around the forward pass weighs most."""
SIDE, FRAMES, BATCH, ROUNDS = 224, 256, 16, 7


def measure() -> Figure:
    """The medians of the ratios of alternating rounds."""
    with tempfile.TemporaryDirectory() as folder:
        predictor, paths = _predictor(Path(folder)), _frames(Path(folder))
        images = list(read_images(paths))
        alone, batched = _forward(Path(folder), 1), _forward(Path(folder), BATCH)
        calls = (
            alone,
            batched,
            lambda: timed_scores(predictor, images, cores()),
            lambda: timed_scores(predictor, list(read_images(paths)), cores()),
        )
        rounds = [[_seconds(call) for call in calls] for _ in range(ROUNDS + 1)]
    # The first round warms libraries and memory up.
    ratio, decoding, batches = (
        statistics.median(one[peer] / one[ours] for one in rounds[1:])
        for peer, ours in ((0, 2), (0, 3), (1, 2))
    )
    unit = (
        f"of its frames per second, {ARCHITECTURE} at {SIDE} px ({decoding:.2f} with decoding; {batches:.2f} of those "
        f"in batches of {BATCH})"
    )
    return Figure(ratio, unit, "onnxruntime's forward pass, frame by frame on every core", ">= 0.85")


def _predictor(folder: Path) -> Predictor:
    model = Model(
        name="measured",
        architecture=ARCHITECTURE,
        input_size=SIDE,
        weights=Weights(source="random"),
        recipe=FineTuneRecipe(kind="fine_tune"),
    )
    backbone = load_backbone(model, seed=0, cache_dir=folder)
    extractor = extractor_of(backbone, "0" * 64, *pooling(model), folder)
    width = len(extractor.compute(np.zeros((SIDE, SIDE), dtype=np.uint8)))
    return Predictor(
        model,
        ("good", "defect"),
        extractor,
        Head(np.zeros(width), np.ones(width), np.ones((2, width)), np.zeros(2)),
    )


def _frames(folder: Path) -> list[Path]:
    rng, paths = np.random.default_rng(0), [folder / f"{number:04}.png" for number in range(FRAMES)]
    for path in paths:
        cv2.imwrite(str(path), rng.integers(0, 256, (SIDE, SIDE), dtype=np.uint8))
    return paths


def _forward(folder: Path, batch: int) -> Callable[[], object]:
    """Scores as many ready tensors as there are frames, `batch` of them in each pass."""
    graph, tensor = folder / f"{batch}.onnx", torch.rand(batch, 3, SIDE, SIDE)
    net = timm.create_model(ARCHITECTURE, num_classes=2).eval()
    torch.onnx.export(net, (tensor,), graph, dynamo=True, verbose=False, input_names=["images"])
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = 1
    session = onnxruntime.InferenceSession(graph, options, providers=["CPUExecutionProvider"])
    ready = {"images": tensor.numpy()}

    def run() -> None:
        with ThreadPoolExecutor(cores()) as threads:
            list(threads.map(lambda _: session.run(None, ready), range(FRAMES // batch)))

    return run


def _seconds(call: Callable[[], object]) -> float:
    start = time.perf_counter()
    call()
    return time.perf_counter() - start
