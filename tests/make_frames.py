"""Draws the small pictures that tests need. Arrays are uint8, (H, W) grey or (H, W, 3) blue, green, red."""

import struct
import zlib
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

Picture = NDArray[Any]


def cell(seed: int = 0, size: tuple[int, int] = (64, 64), *, crack: bool = False) -> Picture:
    """A grey solar cell: grain, two bright busbars and, if asked for, a dark crack. `size` is width, height."""
    width, height = size
    grain = np.random.default_rng(seed).integers(90, 150, (height, width)).astype(np.uint8)
    for x in (width // 3, 2 * width // 3):
        grain[:, x : x + 2] = 220
    if crack:
        cv2.line(grain, (width // 5, height // 6), (4 * width // 5, 5 * height // 6), 10, thickness=2)
    return grain


def colour_cell(seed: int = 0, size: tuple[int, int] = (64, 64)) -> Picture:
    """A cell in colour: bluish, with a red mark in the top left corner."""
    grey = cell(seed, size)
    picture = np.dstack([grey, grey // 2, grey // 3])
    picture[:8, :8] = (0, 0, 255)
    return picture


def blurred(picture: Picture) -> Picture:
    """The same out of focus."""
    return cv2.GaussianBlur(picture, (0, 0), sigmaX=6)


def dark(picture: Picture) -> Picture:
    """The same with the lamp off."""
    return picture // 60


def bright(picture: Picture) -> Picture:
    """The same overexposed."""
    return 255 - dark(picture)


def png(picture: Picture) -> bytes:
    """Encoded as PNG."""
    return _encoded(".png", picture)


def jpeg(picture: Picture, quality: int = 95) -> bytes:
    """Encoded as JPEG."""
    return _encoded(".jpg", picture, (cv2.IMWRITE_JPEG_QUALITY, quality))


def bmp(picture: Picture) -> bytes:
    """Encoded as BMP."""
    return _encoded(".bmp", picture)


def tiff(picture: Picture) -> bytes:
    """Encoded as TIFF without compression."""
    return _encoded(".tiff", picture, (cv2.IMWRITE_TIFF_COMPRESSION, 1))


def png_that_claims(width: int, height: int) -> bytes:
    """A complete PNG whose header claims any size; its pixels are missing."""
    header = struct.pack(">IIBBBBB", width, height, 8, 0, 0, 0, 0)
    parts = [(b"IHDR", header), (b"IDAT", zlib.compress(b"")), (b"IEND", b"")]
    return b"\x89PNG\r\n\x1a\n" + b"".join(_chunk(kind, data) for kind, data in parts)


def png_with(content: bytes, kind: bytes, data: bytes) -> bytes:
    """A PNG with one more chunk, right after its header."""
    return content[:33] + _chunk(kind, data) + content[33:]


def jpeg_with_exif(content: bytes, exif: bytes) -> bytes:
    """A JPEG with an EXIF block."""
    return content[:2] + b"\xff\xe1" + struct.pack(">H", len(exif) + 8) + b"Exif\x00\x00" + exif + content[2:]


def exif(tags: dict[int, int | str]) -> bytes:
    """An EXIF block: one directory of short texts and of whole numbers below 65,536."""
    fixed, texts = b"", b""
    after = 8 + 2 + 12 * len(tags) + 4
    for tag, value in sorted(tags.items()):
        if isinstance(value, int):
            fixed += struct.pack("<HHIHH", tag, 3, 1, value, 0)
        else:
            text = value.encode().ljust(5, b"\x00") + b"\x00"
            fixed += struct.pack("<HHII", tag, 2, len(text), after + len(texts))
            texts += text
    return b"II*\x00" + struct.pack("<IH", 8, len(tags)) + fixed + struct.pack("<I", 0) + texts


def _chunk(kind: bytes, data: bytes) -> bytes:
    return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))


def _encoded(suffix: str, picture: Picture, options: tuple[int, ...] = ()) -> bytes:
    encoded, content = cv2.imencode(suffix, picture, options)
    assert encoded, f"OpenCV cannot write {picture.shape} as {suffix}"
    return content.tobytes()
