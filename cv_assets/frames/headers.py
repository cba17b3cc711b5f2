"""What an image file says about itself, read without decoding a pixel: PNG, JPEG, BMP and TIFF.

Every length and offset in a file is a claim. It is followed only inside the bytes that are there, so a header of
any content costs no more than a walk over the file.
"""

import mmap
import re
import struct
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Final, Literal

from cv_assets.frames.tags import Entry, TagsError, camera_metadata, directories, number, numbers

Bytes = bytes | mmap.mmap
"""A file's content; a mapped file is read only where it is looked at."""

_PNG: Final = b"\x89PNG\r\n\x1a\n"
_JPEG: Final = b"\xff\xd8\xff"
_TIFF: Final = (b"II*\x00", b"MM\x00*")
_PNG_CHANNELS: Final = {0: 1, 2: 3, 3: 3, 4: 2, 6: 4}
_CHUNK: Final = re.compile(rb"[A-Za-z]{4}")
_JPEG_FRAMES: Final = frozenset(range(0xC0, 0xD0)) - {0xC4, 0xC8, 0xCC}
_JPEG_ALONE: Final = frozenset({0x01, *range(0xD0, 0xD9)})
# In entropy-coded data a marker is FF not followed by a stuffed zero, a restart or a fill byte.
JPEG_MARKER: Final = re.compile(rb"\xff+[^\x00\xff\xd0-\xd7]")
"""Where a JPEG's next segment begins."""
_THUMBNAIL: Final = 1
_BMP_INFO_BYTES: Final = 40
_ALL_ROWS: Final = (1 << 32) - 1
# Threads that map and unmap wait for each other: below this reading is faster.
_SMALL: Final = 1 << 20


class UnreadableError(ValueError):
    """The bytes are no image that this pipeline reads."""


@dataclass(frozen=True)
class Header:
    """What a file claims to hold.

    `width` and `height` are those of the picture as every viewer shows it, after the EXIF orientation.
    `missing` says what a complete file would still have; it is empty for a complete one. `block_bytes` is what the
    decoder takes for one tile or strip of a TIFF, which may claim to be larger than the picture.
    """

    format: Literal["png", "jpeg", "bmp", "tiff"]
    width: int
    height: int
    channels: int
    depth_bits: int
    missing: str = ""
    pictures: int = 1
    orientation: int = 1
    block_bytes: int = 0
    camera: Mapping[str, str | float] = field(default_factory=dict)


def read_header(content: Bytes) -> Header:
    """The header of a file. Raises UnreadableError when the bytes are no image of a known format."""
    parse = _parser(content[:12])
    try:
        header = parse(content)
    except (struct.error, IndexError, TagsError) as error:
        raise UnreadableError(f"its header is damaged or cut short: {error}") from error
    if header.width < 1 or header.height < 1 or header.channels < 1 or header.depth_bits < 1:
        raise UnreadableError(f"its header claims {header.width} x {header.height} pixels")
    return header


@contextmanager
def mapped(file: Path) -> Iterator[Bytes]:
    """The file's content; a large one is not read into memory."""
    if file.stat().st_size < _SMALL:
        yield file.read_bytes()
        return
    with file.open("rb") as stream, mmap.mmap(stream.fileno(), 0, access=mmap.ACCESS_READ) as content:
        yield content


def _parser(start: bytes) -> Callable[[Bytes], Header]:
    if start.startswith(_PNG):
        return _png
    if start.startswith(_JPEG):
        return _jpeg
    if start.startswith(_TIFF):
        return _tiff
    if start.startswith(b"BM"):
        return _bmp
    if not start:
        raise UnreadableError("it is empty")
    raise UnreadableError(f"it is no PNG, JPEG, BMP or TIFF: it starts with {start[:8]!r}")


def _png(content: Bytes) -> Header:
    if content[12:16] != b"IHDR":
        raise UnreadableError("it is a PNG without a header (IHDR)")
    width, height, depth, colour = struct.unpack_from(">IIBB", content, 16)
    pictures, exif, at, missing = 1, b"", len(_PNG), "its end (IEND)"
    while at + 12 <= len(content):
        length, kind = struct.unpack_from(">I4s", content, at)
        after = at + 12 + length
        if not _CHUNK.fullmatch(kind) or after > len(content):
            break
        if kind == b"IEND":
            missing = ""
            break
        if kind == b"acTL":
            pictures = struct.unpack_from(">I", content, at + 8)[0]
        if kind == b"eXIf":
            exif = content[at + 8 : at + 8 + length]
        at = after
    channels = _PNG_CHANNELS.get(colour, 0)
    return _upright(Header("png", width, height, channels, depth, missing, pictures), exif)


def _jpeg(content: Bytes) -> Header:
    frame, exif, at = None, b"", 2
    while (marker := _next_marker(content, at)) is not None:
        kind, at = marker
        if kind == 0xD9:
            break
        if kind in _JPEG_ALONE or at + 2 > len(content):
            continue
        after = at + struct.unpack_from(">H", content, at)[0]
        if kind in _JPEG_FRAMES and frame is None:
            frame = struct.unpack_from(">BHHB", content, at + 2)
        if kind == 0xE1 and content[at + 2 : at + 8] == b"Exif\x00\x00" and not exif:
            exif = content[at + 8 : after]
        at = after
    if frame is None:
        raise UnreadableError("it is a JPEG without a frame header")
    depth, height, width, channels = frame
    missing = "" if marker is not None else "its end (EOI)"
    return _upright(Header("jpeg", width, height, channels, depth, missing), exif)


def _next_marker(content: Bytes, at: int) -> tuple[int, int] | None:
    """The next marker's code and the place after it; None at the end of the file."""
    found = JPEG_MARKER.search(content, at)
    return (content[found.end() - 1], found.end()) if found else None


def _upright(header: Header, exif: bytes) -> Header:
    """The header with what EXIF adds. A damaged EXIF block adds nothing: the picture does not need it."""
    try:
        entries = directories(exif)[0] if exif else {}
    except TagsError:
        return header
    return _oriented(header, entries, camera_metadata(exif, entries))


def _oriented(header: Header, entries: Mapping[int, Entry], camera: Mapping[str, str | float]) -> Header:
    orientation = number(entries, 274, default=1)
    orientation = orientation if 1 <= orientation <= 8 else 1
    width, height = header.width, header.height
    if orientation >= 5:
        width, height = height, width
    return replace(header, width=width, height=height, orientation=orientation, camera=camera)


def _bmp(content: Bytes) -> Header:
    start, info, width, height = struct.unpack_from("<IIii", content, 10)
    if info < _BMP_INFO_BYTES:
        raise UnreadableError(
            f"it is a BMP with a header of {info} bytes, expected at least {_BMP_INFO_BYTES}"
        )
    bits, compression = struct.unpack_from("<HI", content, 28)
    stride = (width * bits + 31) // 32 * 4
    # A run-length coded picture does not say how long it is.
    needed = start + stride * abs(height) if compression in (0, 3) else start
    missing = "" if needed <= len(content) else f"{needed - len(content)} bytes of its pixels"
    return Header("bmp", width, abs(height), 1 if bits <= 8 else 3, 8, missing)


def _tiff(content: Bytes) -> Header:
    every = directories(content)
    pictures = [entries for entries in every if not number(entries, 254, default=0) & _THUMBNAIL]
    entries = every[0]
    # The decoder takes the first picture, whatever it is: the size of a later one would say nothing of its cost.
    if entries not in pictures:
        raise UnreadableError("it is a TIFF that begins with a thumbnail")
    if number(entries, 262, default=1) == 5:
        raise UnreadableError("it is a TIFF in printing colours (CMYK)")
    offsets, sizes = (numbers(entries, 273), numbers(entries, 279))
    if not offsets:
        offsets, sizes = numbers(entries, 324), numbers(entries, 325)
    ends = [offset + size for offset, size in zip(offsets, sizes, strict=False)]
    short = max(ends, default=0) - len(content)
    header = Header(
        "tiff",
        width=number(entries, 256, default=0),
        height=number(entries, 257, default=0),
        channels=number(entries, 277, default=1),
        depth_bits=max(numbers(entries, 258) or (8,)),
        missing="" if ends and short <= 0 else f"{max(short, 0) or 'all'} bytes of its pixels",
        pictures=len(pictures),
    )
    header = replace(header, block_bytes=_block_bytes(header, entries))
    return _oriented(header, entries, camera_metadata(content, entries))


def _block_bytes(header: Header, entries: Mapping[int, Entry]) -> int:
    width = number(entries, 322, default=header.width)
    height = number(entries, 323, default=number(entries, 278, default=header.height))
    height = header.height if height == _ALL_ROWS else height
    return width * height * header.channels * -(-header.depth_bits // 8)
