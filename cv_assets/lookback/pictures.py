"""Frames as an explanation shows them. Images are uint8: (H, W) grey or (H, W, 3) RGB."""

from pathlib import Path
from typing import Final

import cv2

from cv_assets.frames.preparation import Image
from cv_assets.frames.preparing import decode_to_show

_LONGEST: Final = 640


def small(file: Path, max_pixels: int) -> Image | None:
    """The frame in `file`, no side longer than 640 pixels; None when it is no image, or has too many pixels."""
    image = decode_to_show(file, max_pixels)
    if image is None or max(image.shape[:2]) <= _LONGEST:
        return image
    share = _LONGEST / max(image.shape[:2])
    height, width = (max(1, round(side * share)) for side in image.shape[:2])
    return cv2.resize(image, (width, height), interpolation=cv2.INTER_AREA)


def png(image: Image) -> bytes:
    """The image as PNG."""
    content = cv2.imencode(".png", image if image.ndim == 2 else cv2.cvtColor(image, cv2.COLOR_RGB2BGR))[1]
    return content.tobytes()
