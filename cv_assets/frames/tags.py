"""Tag directories, the form of TIFF headers and of EXIF blocks, and the few camera settings that are kept.

Only what explains a picture is kept. Where it was taken, by whom and with which serial number is not: it would
make frames personal data, and no step needs it.
"""

import math
import mmap
import struct
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final

Value = str | int | float | None

KEPT: Final = {
    271: "make",
    272: "model",
    33434: "exposure_seconds",
    33437: "f_number",
    34855: "iso",
    36867: "taken_at",
    37380: "exposure_bias",
    37385: "flash",
    37386: "focal_length_mm",
    41986: "exposure_mode",
    41987: "white_balance",
    41991: "gain_control",
}
"""EXIF tags that are kept, by number, under the name they get."""

_EXIF_DIRECTORY: Final = 34665
_LAYOUT: Final = (254, 256, 257, 258, 262, 273, 274, 277, 278, 279, 322, 323, 324, 325, _EXIF_DIRECTORY)
# Only these are read: a hostile directory may name 65,535 tags that each claim the whole file.
_READ: Final = frozenset(KEPT) | frozenset(_LAYOUT)
_FORMATS: Final = {1: "B", 2: "s", 3: "H", 4: "I", 6: "b", 7: "s", 8: "h", 9: "i", 11: "f", 12: "d", 13: "I"}
_RATIONALS: Final = {5: "I", 10: "i"}
_MAX_DIRECTORIES: Final = 100
_MAX_TEXT: Final = 80


class TagsError(ValueError):
    """The bytes are no tag directory, or one that points outside itself."""


@dataclass(frozen=True)
class Entry:
    """One tag's values: numbers, or one text."""

    values: tuple[Value, ...]


def directories(content: bytes | mmap.mmap) -> list[Mapping[int, Entry]]:
    """The directories of a TIFF or EXIF block, in their order. Raises TagsError."""
    order = {b"II": "<", b"MM": ">"}.get(content[:2])
    if order is None:
        raise TagsError(f"a tag directory starts with II or MM, got {content[:2]!r}")
    found: dict[int, Mapping[int, Entry]] = {}
    try:
        at = struct.unpack_from(order + "I", content, 4)[0]
        # A chain of directories may lead back into itself.
        while at and at not in found and len(found) < _MAX_DIRECTORIES:
            found[at], at = _directory(content, at, order)
    except struct.error as error:
        raise TagsError(str(error)) from error
    if not found:
        raise TagsError("there is no tag directory")
    return list(found.values())


def camera_metadata(content: bytes | mmap.mmap, entries: Mapping[int, Entry]) -> dict[str, str | float]:
    """The kept camera settings of a directory and of the EXIF directory it points to."""
    order = "<" if content[:2] == b"II" else ">"
    at = number(entries, _EXIF_DIRECTORY, default=0)
    try:
        exif = _directory(content, at, order)[0] if at else {}
    except (struct.error, TagsError):
        exif = {}
    kept: dict[str, str | float] = {}
    for tag, name in KEPT.items():
        entry = exif.get(tag) or entries.get(tag) or Entry(())
        value = next(iter(entry.values), None)
        if value is not None and value != "":
            kept[name] = value
    return kept


def number(entries: Mapping[int, Entry], tag: int, *, default: int) -> int:
    """The tag's first value as a whole number; `default` when it is not there or no whole number."""
    return next(iter(numbers(entries, tag)), default)


def numbers(entries: Mapping[int, Entry], tag: int) -> tuple[int, ...]:
    """All whole numbers of the tag."""
    entry = entries.get(tag)
    return tuple(value for value in entry.values if isinstance(value, int)) if entry else ()


def _directory(content: bytes | mmap.mmap, at: int, order: str) -> tuple[dict[int, Entry], int]:
    count = struct.unpack_from(order + "H", content, at)[0]
    entries: dict[int, Entry] = {}
    for place in range(at + 2, at + 2 + 12 * count, 12):
        tag, kind, length = struct.unpack_from(order + "HHI", content, place)
        if tag in _READ and tag not in entries:
            entries[tag] = Entry(_values(content, place + 8, order, kind, length))
    return entries, struct.unpack_from(order + "I", content, at + 2 + 12 * count)[0]


def _values(content: bytes | mmap.mmap, at: int, order: str, kind: int, length: int) -> tuple[Value, ...]:
    code = _FORMATS.get(kind) or (_RATIONALS[kind] * 2 if kind in _RATIONALS else None)
    if code is None:
        return ()
    size = struct.calcsize(order + code) * length
    if size > len(content):
        raise TagsError(f"a tag claims {size} bytes in a block of {len(content)}")
    if size > 4:
        at = struct.unpack_from(order + "I", content, at)[0]
    if code == "s":
        raw = struct.unpack_from(f"{length}s", content, at)[0]
        return (raw.split(b"\x00")[0].decode("ascii", errors="replace").strip()[:_MAX_TEXT],)
    values = struct.unpack_from(order + code[0] * length * len(code), content, at)
    if kind in _RATIONALS:
        values = tuple(
            round(over / under, 9) if under else None
            for over, under in zip(values[::2], values[1::2], strict=True)
        )
    return tuple(None if isinstance(value, float) and not math.isfinite(value) else value for value in values)
