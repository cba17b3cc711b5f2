"""What preparing a delivery costs beside the same calls of OpenCV, in seconds of processor time per frame.

Ours is `prepare_delivery`, whole: headers, checks, statistics, names by content, rows. The peer decodes, stretches,
encodes and writes with the same calls on as many threads, and makes the calls of OpenCV that the statistics are made of
(deviation, two histograms and the Laplacian of the frame and of what was made of it), without reducing them to values.
"""

import os
import statistics
import tempfile
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import TypeVar

import cv2
import numpy as np
import polars as pl

from benchmarks.figure import Figure
from cv_assets.frames.preparing import prepare_delivery
from cv_assets.spec.acquisition import Acquisition, Closing, Preparation

T = TypeVar("T")

SIZES = ((640, 480), (300, 300))
"""Width and height: an industrial camera's, and that of ELPV's cells."""
FRAMES = 200
"""Of each size."""
ROUNDS = 7
PNG = (cv2.IMWRITE_PNG_COMPRESSION, 1, cv2.IMWRITE_PNG_STRATEGY, cv2.IMWRITE_PNG_STRATEGY_RLE)


def measure() -> Figure:
    """The lower of both sizes, each the median of alternating rounds."""
    measured = [_measured(size) for size in SIZES]
    told = "; ".join(
        f"{width}x{height} {ratio:.2f}, {1000 * cpu:.1f} ms of one core a frame, {faster:.2f} times as fast on "
        f"{os.cpu_count()} cores as on one"
        for (width, height), (ratio, cpu, faster) in zip(SIZES, measured, strict=True)
    )
    unit = f"of its frames per second and core ({told})"
    return Figure(min(ratio for ratio, _, _ in measured), unit, "the same OpenCV calls", ">= 0.9")


def _measured(size: tuple[int, int]) -> tuple[float, float, float]:
    """The peer's processor time over ours, our seconds of it per frame, and the wall time of one core over all."""
    with tempfile.TemporaryDirectory() as folder:
        files = list(_frames(Path(folder), size))
        ours, peer = _ours(files, size), _peer(files, size)
        _compare(_in_new_folder(ours), _in_new_folder(peer))
        rounds = [(_seconds(peer), _seconds(ours)) for _ in range(ROUNDS)]
        with _one_core():
            alone, _ = _seconds(ours)
    ratio = statistics.median(theirs[1] / mine[1] for theirs, mine in rounds)
    wall, cpu = (statistics.median(mine[which] for _, mine in rounds) for which in (0, 1))
    return ratio, cpu / len(files), alone / wall


def _frames(folder: Path, size: tuple[int, int]) -> Iterator[Path]:
    """Pictures with the grain and the softness of a camera's, as PNG files."""
    rng, (width, height) = np.random.default_rng(0), size
    scene = cv2.GaussianBlur(rng.integers(0, 256, (height, width), dtype=np.uint8), (0, 0), 1.2)
    for number in range(FRAMES):
        path = folder / f"raw{number:04}.png"
        cv2.imwrite(str(path), scene // 2 + rng.integers(0, 40, (height, width), dtype=np.uint8))
        yield path


def _ours(files: list[Path], size: tuple[int, int]) -> Callable[[Path], list[bytes]]:
    raw_frames = pl.DataFrame(
        {
            "path": [str(file) for file in files],
            "file_name": [file.name for file in files],
            "capture_id": [f"{number:032x}" for number in range(len(files))],
            "frame_id": [f"{number:064x}" for number in range(len(files))],
            "delivery": "2026-03-05",
        }
    )
    preparation = Preparation(size=size)
    acquisition = Acquisition(file_name=r"(?P<part>raw\d+)\.png", close=Closing(files=FRAMES))

    def prepare(folder: Path) -> list[bytes]:
        delivery = prepare_delivery(
            raw_frames, Path, preparation=preparation, acquisition=acquisition, folder=folder
        )
        return [delivery.files[path].read_bytes() for path in delivery.rows["path"].head(5)]

    return prepare


def _peer(files: list[Path], size: tuple[int, int]) -> Callable[[Path], list[bytes]]:
    def prepare_one(file: Path, folder: Path) -> Path:
        grey = cv2.imdecode(np.fromfile(file, dtype=np.uint8), cv2.IMREAD_UNCHANGED)
        _measure(grey)
        resized = cv2.resize(grey, size, interpolation=cv2.INTER_AREA)
        stretched = cv2.normalize(resized, None, 0, 255, cv2.NORM_MINMAX, dtype=cv2.CV_8U)
        _measure(stretched)
        path = folder / file.name
        cv2.imencode(".png", stretched, PNG)[1].tofile(path)
        return path

    def prepare(folder: Path) -> list[bytes]:
        threads_before = cv2.getNumThreads()
        cv2.setNumThreads(1)
        with ThreadPoolExecutor(os.cpu_count()) as threads:
            paths = list(threads.map(partial(prepare_one, folder=folder), files))
        cv2.setNumThreads(threads_before)
        return [path.read_bytes() for path in paths[:5]]

    return prepare


def _measure(grey: np.ndarray) -> None:
    cv2.meanStdDev(grey)
    cv2.calcHist([grey], [0], None, [256], [0, 256])
    laplacian = cv2.Laplacian(grey, cv2.CV_16S, delta=1020).view(np.uint16)
    cv2.calcHist([laplacian], [0], None, [2041], [0, 2041])


def _compare(ours: list[bytes], theirs: list[bytes]) -> None:
    if ours != theirs:
        raise ValueError("the peer wrote other pictures: mend its calls before comparing times")


def _in_new_folder(call: Callable[[Path], T]) -> T:
    # Some file systems put a file on the disk at once when it takes another's place.
    with tempfile.TemporaryDirectory() as folder:
        return call(Path(folder))


def _seconds(call: Callable[[Path], object]) -> tuple[float, float]:
    """Wall and processor time."""

    def timed(folder: Path) -> tuple[float, float]:
        wall, cpu = time.perf_counter(), time.process_time()
        call(folder)
        return time.perf_counter() - wall, time.process_time() - cpu

    return _in_new_folder(timed)


@contextmanager
def _one_core() -> Iterator[None]:
    """Threads that start inside share one core."""
    before = os.sched_getaffinity(0)
    os.sched_setaffinity(0, {min(before)})
    try:
        yield
    finally:
        os.sched_setaffinity(0, before)
