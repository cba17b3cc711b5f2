"""The one deterministic pass from a file's bytes to what a model sees; whatever a model sees has gone through it.

Arrays are (H, W) grey or (H, W, C) in OpenCV's order: blue, green, red, alpha. Statistics are in grey levels of 0
to 255, whatever the file's depth: full scale is 255.

What a file may hold beside plain pixels: its EXIF orientation is applied, so that a box means the same here and
in every viewer; an alpha channel is left out; a palette becomes its colours; 16-bit pictures are resized and
stretched before they lose depth; more than one picture (an animation, a TIFF of pages) is not a frame.
"""

import hashlib
import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from functools import cache
from typing import Any, Final

import cv2
import numpy as np
from numpy.typing import NDArray

from cv_assets.frames.headers import Bytes, Header, UnreadableError, read_header
from cv_assets.frames.stripping import WITHHELD
from cv_assets.spec.acquisition import Bounds, Preparation

Image = NDArray[Any]
"""Pixels of 8 or 16 bits."""
Statistics = Mapping[str, float]
"""A value for each of `cv_assets.frames.schema.STATISTICS`."""

DARK: Final = 16
"""Levels below this count as dark."""
BRIGHT: Final = 239
"""Levels above this count as bright."""

_INTERPOLATIONS: Final = {"area": cv2.INTER_AREA, "linear": cv2.INTER_LINEAR, "cubic": cv2.INTER_CUBIC}
_UPRIGHT: Final[Mapping[int, Callable[[Image], Image]]] = {
    2: lambda image: cv2.flip(image, 1),
    3: lambda image: cv2.rotate(image, cv2.ROTATE_180),
    4: lambda image: cv2.flip(image, 0),
    5: cv2.transpose,
    6: lambda image: cv2.rotate(image, cv2.ROTATE_90_CLOCKWISE),
    7: lambda image: cv2.rotate(cv2.transpose(image), cv2.ROTATE_180),
    8: lambda image: cv2.rotate(image, cv2.ROTATE_90_COUNTERCLOCKWISE),
}
_NOTE_BYTES: Final = 300
# With the spec's max_pixels these bound what a file takes in memory, whatever it claims.
_MOST_CHANNELS: Final = 4
_MOST_BITS: Final = 16

# Stated, so that a library with other defaults does not write other bytes. Run lengths are the smallest and by far the
# fastest for camera noise.
_PNG: Final = (cv2.IMWRITE_PNG_COMPRESSION, 1, cv2.IMWRITE_PNG_STRATEGY, cv2.IMWRITE_PNG_STRATEGY_RLE)

# The decoder's messages are in `detail`, beside the frame they belong to; on stderr they name none.
cv2.utils.logging.setLogLevel(cv2.utils.logging.LOG_LEVEL_SILENT)


@dataclass(frozen=True)
class Prepared:
    """A frame after the pass: accepted with its PNG, or rejected with the reason, its score and the broken bound.

    `decoded` is measured of the frame as it was taken, `prepared` of what a model sees; each is None when there is
    no such picture.
    """

    reason: str
    score: float | None = None
    bound: float | None = None
    detail: str | None = None
    png: bytes | None = None
    decoded: Statistics | None = None
    prepared: Statistics | None = None
    width: int | None = None
    height: int | None = None
    channels: int | None = None
    depth_bits: int | None = None

    @property
    def accepted(self) -> bool:
        """May a model see it?"""
        return self.reason == "ok"


class _RejectedError(Exception):
    def __init__(self, frame: Prepared) -> None:
        self.frame = frame
        super().__init__(frame.reason)


def prepare(content: Bytes, preparation: Preparation) -> Prepared:
    """Prepare one frame, or say why it is rejected. Never raises, whatever the bytes are."""
    header: Header | None = None
    decoded: Statistics | None = None
    try:
        header = _header(content)
        _check_header(header, len(content), preparation.bounds)
        image = _decode(content, header)
        decoded = statistics(image)
        _check_image(header, decoded, preparation.bounds)
        output = _standardized(image, preparation)
        frame = Prepared("ok", png=_encode(output), prepared=statistics(output))
    except _RejectedError as rejected:
        frame = rejected.frame
    return replace(frame, decoded=decoded, **_size(header))


def decode(content: Bytes, max_pixels: int) -> Image | None:
    """The picture, upright and without alpha; None when it cannot or should not be decoded."""
    try:
        header = _header(content)
        _check_header(header, len(content), Bounds(max_pixels=max_pixels))
        return _decode(content, header)
    except _RejectedError:
        return None


def preparation_digest(preparation: Preparation) -> str:
    """What identifies the pass: a hash of its parameters and of the library's version."""
    recipe = json.dumps(preparation.model_dump(mode="json"), sort_keys=True)
    return hashlib.sha256(f"{recipe} opencv {cv2.__version__}".encode()).hexdigest()[:16]


def statistics(image: Image) -> Statistics:
    """What is measured of a picture's grey levels; see `cv_assets.frames.schema.STATISTICS`."""
    grey = _grey(image)
    scale = 255 / _full_scale(grey)
    mean, deviation = cv2.meanStdDev(grey)
    variance, median = _laplacian(grey)
    counts = _counts(_eight_bit(grey), 255)
    shares = counts[counts > 0] / grey.size
    return {
        "brightness": float(mean[0, 0]) * scale,
        "contrast": float(deviation[0, 0]) * scale,
        "focus": variance * scale**2,
        "median_laplacian": median * scale,
        "entropy": float(-(shares * np.log2(shares)).sum()) + 0.0,
        "dark_share": float(counts[:DARK].sum() / grey.size),
        "bright_share": float(counts[BRIGHT + 1 :].sum() / grey.size),
    }


def eight_bit_rgb(image: Image) -> Image:
    """The picture as people look at it: 8 bits per channel, (H, W) grey or (H, W, 3) red, green, blue."""
    shown = _eight_bit(image)
    return shown if shown.ndim == 2 else cv2.cvtColor(shown, cv2.COLOR_BGR2RGB)


def _size(header: Header | None) -> dict[str, Any]:
    names = ("width", "height", "channels", "depth_bits")
    return {name: getattr(header, name) for name in names} if header else {}


def _header(content: Bytes) -> Header:
    if content[: len(WITHHELD)] == WITHHELD:
        raise _unreadable(content[:_NOTE_BYTES].decode("ascii", errors="replace").strip())
    try:
        return read_header(content)
    except UnreadableError as error:
        raise _unreadable(str(error)) from error


def _unreadable(detail: str) -> _RejectedError:
    return _RejectedError(Prepared("unreadable", detail=detail))


def _check_header(header: Header, size: int, bounds: Bounds) -> None:
    pixels, shape = header.width * header.height, f"{header.width} x {header.height} pixels"
    if header.missing:
        detail = f"after {size} bytes the file lacks {header.missing}"
        raise _RejectedError(Prepared("truncated", score=size, detail=detail))
    if pixels > bounds.max_pixels:
        raise _RejectedError(Prepared("too_large", pixels, bounds.max_pixels, shape))
    if header.pictures > 1:
        raise _unreadable(f"it holds {header.pictures} pictures, and a frame is one")
    if header.channels > _MOST_CHANNELS or header.depth_bits > _MOST_BITS:
        told = f"{header.channels} channels of {header.depth_bits} bits"
        raise _unreadable(f"it has {told}, expected at most {_MOST_CHANNELS} of {_MOST_BITS}")
    most_bytes = bounds.max_pixels * _MOST_CHANNELS * _MOST_BITS // 8
    if header.block_bytes > most_bytes:
        detail = f"one of its tiles or strips takes {header.block_bytes} bytes"
        raise _RejectedError(Prepared("too_large", header.block_bytes, most_bytes, detail))


def _decode(content: Bytes, header: Header) -> Image:
    try:
        image = cv2.imdecode(np.frombuffer(content, dtype=np.uint8), cv2.IMREAD_UNCHANGED)
    except cv2.error as error:
        raise _unreadable(f"the decoder says: {error}") from error
    if image is None:
        raise _unreadable(f"it starts as a {header.format.upper()} and cannot be decoded")
    if image.dtype not in (np.uint8, np.uint16):
        raise _unreadable(f"its values are {image.dtype}, expected 8 or 16 bits")
    # Unlike for the other formats, OpenCV turns a TIFF itself.
    turn = None if header.format == "tiff" else _UPRIGHT.get(header.orientation)
    image = turn(image) if turn else image
    if image.shape[:2] != (header.height, header.width):
        decoded = f"{image.shape[1]} x {image.shape[0]} were decoded"
        raise _unreadable(f"its header says {header.width} x {header.height} pixels, {decoded}")
    return cv2.cvtColor(image, cv2.COLOR_BGRA2BGR) if image.ndim == 3 and image.shape[2] == 4 else image


def _check_image(header: Header, measured: Statistics, bounds: Bounds) -> None:
    if bounds.size and (header.width, header.height) != bounds.size:
        width, height = bounds.size
        detail = f"{header.width} x {header.height} pixels, expected {width} x {height}"
        raise _RejectedError(Prepared("wrong_size", header.width * header.height, width * height, detail))
    # Exposure first: a picture of nothing is also out of focus, and then its lamp needs a person, not its lens.
    for reason, name, bound, sign in (
        ("too_dark", "brightness", bounds.min_brightness, 1),
        ("too_bright", "brightness", bounds.max_brightness, -1),
        ("low_contrast", "contrast", bounds.min_contrast, 1),
        ("low_focus", "focus", bounds.min_focus, 1),
    ):
        if bound is not None and sign * measured[name] < sign * bound:
            raise _RejectedError(Prepared(reason, measured[name], bound))


def _standardized(image: Image, preparation: Preparation) -> Image:
    chosen = _grey(image) if preparation.colour == "grey" else _colour(image)
    resized = cv2.resize(chosen, preparation.size, interpolation=_INTERPOLATIONS[preparation.interpolation])
    if preparation.normalize == "min_max":
        # Over all channels together: stretching each alone would change the hue.
        stretched = np.empty(resized.shape, dtype=np.uint8)
        return cv2.normalize(resized, stretched, 0, 255, cv2.NORM_MINMAX, dtype=cv2.CV_8U)
    return _eight_bit(resized)


def _grey(image: Image) -> Image:
    return image if image.ndim == 2 else cv2.cvtColor(image, cv2.COLOR_BGR2GRAY)


def _colour(image: Image) -> Image:
    return image if image.ndim == 3 else cv2.cvtColor(image, cv2.COLOR_GRAY2BGR)


def _full_scale(image: Image) -> int:
    return 255 if image.dtype == np.uint8 else 65535


def _eight_bit(image: Image) -> Image:
    return image if image.dtype == np.uint8 else cv2.convertScaleAbs(image, alpha=255 / 65535)


def _laplacian(grey: Image) -> tuple[float, float]:
    """Variance of the Laplacian, and median of its absolute value, both from how often each of its values occurs.

    Its values are whole numbers of few kinds: to count them is several times faster than to sort them, and exact.
    """
    most, size = 4 * _full_scale(grey), grey.size
    if grey.dtype == np.uint8:
        levels = cv2.Laplacian(grey, cv2.CV_16S, delta=most).view(np.uint16)
    else:
        levels = cv2.Laplacian(grey, cv2.CV_32F, delta=most).astype(np.intp)
    counts = _counts(levels, 2 * most)
    total, squares = (counts @ _powers(most)).tolist()
    counts[most + 1 :] += counts[:most][::-1]
    at_most = counts[most:].cumsum()
    lower, upper = at_most.searchsorted([(size - 1) // 2, size // 2], side="right").tolist()
    return (size * squares - total**2) / size**2, (lower + upper) / 2


@cache
def _powers(most: int) -> NDArray[np.intp]:
    """A row for each whole number from -`most` to `most`: itself and its square."""
    values = np.arange(-most, most + 1)
    return np.stack([values, values**2], axis=1)


def _counts(levels: Image, most: int) -> NDArray[np.intp]:
    """How often each level from 0 to `most` occurs."""
    # OpenCV counts several times faster, in single precision, which is exact up to here.
    if levels.dtype in (np.uint8, np.uint16) and levels.size <= 1 << 24:
        counted = cv2.calcHist([levels], [0], None, [most + 1], [0, most + 1])
        return counted.ravel().astype(np.intp)
    return np.bincount(levels.ravel(), minlength=most + 1)


def _encode(image: Image) -> bytes:
    encoded, png = cv2.imencode(".png", image, _PNG)
    if not encoded:
        raise RuntimeError(f"OpenCV could not write a PNG of shape {image.shape}")
    return png.tobytes()
