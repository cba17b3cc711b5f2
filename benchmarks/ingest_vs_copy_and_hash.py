"""10,000 frames into the embedded lake: the time of a plain script that copies and hashes them, over ours.

The script copies each file, hashes it with SHA-256, and waits for the disk once, at the end: as durable as a
publication, which is on disk before the branch names it. Ours are a work branch, a commit of frames and table, and its
merge. Both read the files from the page cache and write to the same disk, with as many threads.
"""

import hashlib
import os
import shutil
import statistics
import tempfile
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from benchmarks.figure import Figure
from benchmarks.many_frames import FRAME_BYTES, contents, write_frames
from resources.git_lake import GitLake
from resources.git_lake import _sync as sync_file_system
from resources.tables import Work, publish

FRAMES = 10_000
ROUNDS = 3
THREADS = 4
FREE_BYTES = 5 * FRAMES * FRAME_BYTES


def measure() -> Figure:
    """Median of the ratios of alternating rounds, each into a new folder. Raises RuntimeError without enough room."""
    if shutil.disk_usage(tempfile.gettempdir()).free < FREE_BYTES:
        raise RuntimeError(f"this takes {FREE_BYTES >> 30} GiB in {tempfile.gettempdir()}: make room there")
    with tempfile.TemporaryDirectory() as folder:
        files = write_frames(Path(folder) / "frames", FRAMES)
        pairs = [
            (_seconds(_copy_and_hash, files, folder), _seconds(_ingest, files, folder)) for _ in range(ROUNDS)
        ]
    ratio = statistics.median(peer / ours for peer, ours in pairs)
    seconds = statistics.median(ours for _, ours in pairs)
    unit = f"of the speed, {FRAMES} frames of {FRAME_BYTES // 1000} kB ({seconds:.1f} s)"
    return Figure(ratio, unit, "shutil.copyfile and hashlib's SHA-256, one sync at the end", ">= 0.5")


def _seconds(act: Callable[[list[Path], Path], None], files: list[Path], folder: str) -> float:
    with tempfile.TemporaryDirectory(dir=folder) as place:
        os.sync()
        start = time.perf_counter()
        act(files, Path(place))
        return time.perf_counter() - start


def _copy_and_hash(files: list[Path], place: Path) -> None:
    def copy_and_hash(file: Path) -> str:
        shutil.copyfile(file, place / file.name)
        with file.open("rb") as stream:
            return hashlib.file_digest(stream, "sha256").hexdigest()

    with ThreadPoolExecutor(THREADS) as threads:
        (place / "hashes.txt").write_text("\n".join(threads.map(copy_and_hash, files)))
    sync_file_system(place)


def _ingest(files: list[Path], place: Path) -> None:
    lake = GitLake(place / "lake")
    work = Work("work", lake.resolve("main"))
    publish(lake, work, "main", contents(files, "d1"), "10,000 frames", {"asset": "raw_frames"})
