"""Files that a delivery could be made of, by their size alone."""

from pathlib import Path

import numpy as np

FRAME_BYTES = 90_000


def write_frames(folder: Path, count: int) -> list[Path]:
    """`count` files of random bytes, no two alike."""
    folder.mkdir(parents=True)
    rng = np.random.default_rng(0)
    files = [folder / f"{number:05}.png" for number in range(count)]
    for file in files:
        file.write_bytes(rng.bytes(FRAME_BYTES))
    return files


def contents(files: list[Path], delivery: str) -> dict[str, Path | bytes]:
    """What the delivery's publication holds: its frames, and a table of them."""
    frames = {f"frames/{delivery}/{file.name}": file for file in files}
    return {**frames, f"tables/raw_frames/{delivery}.parquet": bytes(200 * len(files))}
