"""Pictures as a camera of the plant writes them, small and quickly made."""

from pathlib import Path

import cv2
import numpy as np


def drop(inbox: Path, module: str, parts: int) -> list[str]:
    """Write the pictures of a module into the inbox; their names."""
    inbox.mkdir(parents=True, exist_ok=True)
    names = [
        f"line1_cam1_20260302T0815{part:02}_mono_{module}of{parts}_{module}c{part:03}.png"
        for part in range(1, parts + 1)
    ]
    for place, name in enumerate(names):
        seed = [*module.encode(), place]
        picture = np.random.default_rng(seed).integers(90, 150, (300, 300)).astype(np.uint8)
        (inbox / name).write_bytes(cv2.imencode(".png", picture)[1].tobytes())
    return names
