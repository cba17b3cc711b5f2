"""A picture without what its file says beside it: pixels, orientation and colour profile stay, to the bit.

A file is kept part by part and never encoded anew. Only parts that are known to make the picture are kept, so what a
camera writes that nobody thought of goes, too. A file whose parts cannot be told apart is withheld as a whole.
Sources: ITU T.81 (JPEG), https://www.w3.org/TR/png-3 (PNG).
"""

import hashlib
import re
import struct
import zlib
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

from cv_assets.frames.headers import JPEG_MARKER, Bytes, Header, UnreadableError, mapped, read_header

WITHHELD: Final = b"withheld: "
"""How the note begins that is kept in place of a file that cannot be stripped."""

_CHUNK_BYTES: Final = 1 << 20
_JPEG_FILL: Final = re.compile(rb"\xff+")
_JPEG_KEPT: Final = (frozenset(range(0xC0, 0xD0)) - {0xC8}) | {0xDA, 0xDB, 0xDC, 0xDD}
_JPEG_APPS: Final = frozenset({*range(0xE0, 0xF0), 0xFE})
_PNG_CRITICAL: Final = {b"IHDR": 13, b"PLTE": 768, b"IDAT": (1 << 31) - 1}
_MAX_PROFILE: Final = 16 << 20
_PNG_COLOURS: Final = {
    b"iCCP": _MAX_PROFILE,
    b"tRNS": 256,
    b"gAMA": 4,
    b"cHRM": 32,
    b"sRGB": 1,
    b"sBIT": 4,
    b"cICP": 4,
    b"mDCV": 24,
    b"cLLI": 8,
    b"bKGD": 6,
    b"pHYs": 9,
}
"""Chunks that say what the pixels' numbers mean, and how long they are at most: a longer one says something else."""
_BMP_INFOS: Final = (40, 52, 56, 108, 124)
_BMP_OWN_PROFILES: Final = (b"DEBM", b"KNIL")


@dataclass
class _Kept:
    """What is kept of a file, in order: ranges of its bytes, and bytes that are made anew."""

    parts: list[bytes | range] = field(default_factory=list)

    def keep(self, start: int, stop: int) -> None:
        last = self.parts[-1] if self.parts else b""
        if isinstance(last, range) and last.stop == start:
            self.parts[-1] = range(last.start, stop)
        else:
            self.parts.append(range(start, stop))

    def add(self, made: bytes) -> None:
        self.parts.append(made)

    def pieces(self, content: Bytes) -> Iterator[bytes]:
        for part in self.parts:
            if isinstance(part, bytes):
                yield part
            else:
                yield from _pieces(content, part.start, part.stop)


def strip(file: Path, sha256: str) -> str:
    """Replace the file by its picture alone, and return the new sha256; `sha256` is that of the file as it came.

    One that cannot be stripped becomes a note of a line that says why. The same file always gives the same bytes.
    """
    stripped, hasher = file.with_name(f"{file.name}.stripped"), hashlib.sha256()
    with mapped(file) as content, stripped.open("wb") as stream:
        for piece in _picture_or_note(content, sha256):
            hasher.update(piece)
            stream.write(piece)
    stripped.replace(file)
    return hasher.hexdigest()


def picture_alone(content: Bytes) -> Iterator[bytes]:
    """The file without its metadata, piece by piece. Raises UnreadableError, before any piece, when it cannot be."""
    try:
        header = read_header(content)
    except UnreadableError:
        # What is wrong may quote the file, which is not to be kept.
        raise UnreadableError("it is no picture whose header can be read") from None
    if header.missing or header.pictures > 1:
        raise UnreadableError("it ends too early" if header.missing else "it holds more than one picture")
    if header.format not in _FORMATS:
        # Its tags point all over the file: to leave some out is to write it anew.
        raise UnreadableError(
            "it is a TIFF: have the camera write PNG, or let `acquisition.metadata` be `keep`"
        )
    kept = _Kept()
    try:
        _FORMATS[header.format](content, header, kept)
    except (struct.error, IndexError) as error:
        raise UnreadableError("it ends within one of its parts") from error
    return kept.pieces(content)


def _picture_or_note(content: Bytes, sha256: str) -> Iterator[bytes]:
    try:
        return picture_alone(content)
    except UnreadableError as error:
        said = f"its metadata cannot be stripped, for {error}; the file that came has the sha256 {sha256}"
        return iter([WITHHELD + said.encode() + b"\n"])


def _jpeg(content: Bytes, header: Header, kept: _Kept) -> None:
    kept.add(b"\xff\xd8")
    seen: set[str] = set()
    at = 2
    while (kind := content[(at := _jpeg_segment(content, at)) + 1]) != 0xD9:
        after = at + 2 + struct.unpack_from(">H", content, at + 2)[0]
        if after < at + 4 or after > len(content):
            raise UnreadableError("one of its segments has no proper length")
        if kind in _JPEG_KEPT:
            kept.keep(at, after)
        elif kind in _JPEG_APPS:
            _jpeg_application(content, range(at, after), header, kept, seen)
        else:
            raise UnreadableError(f"it has a segment {kind:02X} that is not known")
        at = after if kind != 0xDA else _after_scan(content, after, kept)
    kept.add(b"\xff\xd9")


def _jpeg_segment(content: Bytes, at: int) -> int:
    """Where the next segment begins: fill bytes may stand before it, and nothing else."""
    fill = _JPEG_FILL.match(content, at)
    if fill is None:
        raise UnreadableError("there is something between its segments")
    return fill.end() - 1


def _after_scan(content: Bytes, at: int, kept: _Kept) -> int:
    found = JPEG_MARKER.search(content, at)
    if found is None:
        raise UnreadableError("it ends within its pixels")
    kept.keep(at, found.start())
    return found.start()


def _jpeg_application(content: Bytes, segment: range, header: Header, kept: _Kept, seen: set[str]) -> None:
    """Of the segments of applications those stay that decoders read: what the numbers mean, which way is up."""
    kind, start = content[segment.start + 1], content[segment.start + 4 : segment.start + 18]
    if kind == 0xE0 and start[:5] == b"JFIF\x00" and len(segment) >= 18 and "JFIF" not in seen:
        seen.add("JFIF")
        # Its last two numbers are the size of a thumbnail.
        kept.add(b"\xff\xe0\x00\x10" + start[:12] + b"\x00\x00")
    elif kind == 0xE1 and start[:6] == b"Exif\x00\x00" and "Exif" not in seen:
        seen.add("Exif")
        if header.orientation != 1:
            kept.add(b"\xff\xe1\x00\x22Exif\x00\x00" + _exif(header.orientation))
    elif kind == 0xE2 and start[:12] == b"ICC_PROFILE\x00":
        kept.keep(segment.start, segment.stop)
    elif kind == 0xEE and start[:5] == b"Adobe" and len(segment) >= 16:
        kept.add(b"\xff\xee\x00\x0eAdobe\x00\x64\x00\x00\x00\x00" + start[11:12])


def _exif(orientation: int) -> bytes:
    """An EXIF block that says which way is up, and nothing else."""
    return b"II*\x00" + struct.pack("<IHHHIHHI", 8, 1, 274, 3, 1, orientation, 0, 0)


def _png(content: Bytes, header: Header, kept: _Kept) -> None:
    kept.keep(0, 8)
    seen: set[bytes] = set()
    for kind, chunk in _chunks(content):
        if kind == b"iCCP" and kind not in seen:
            kept.add(_chunk(kind, _profile(content[chunk.start + 8 : chunk.stop - 4])))
        elif kind in _PNG_CRITICAL or (kind in _PNG_COLOURS and kind not in seen):
            kept.keep(chunk.start, chunk.stop)
        if kind == b"IHDR" and header.orientation != 1:
            kept.add(_chunk(b"eXIf", _exif(header.orientation)))
        seen.add(kind)
    kept.add(_chunk(b"IEND", b""))


def _chunks(content: Bytes) -> Iterator[tuple[bytes, range]]:
    """The chunks that make the picture, each with its place."""
    at = 8
    while (kind := content[at + 4 : at + 8]) != b"IEND":
        (length,) = struct.unpack_from(">I", content, at)
        chunk = range(at, at + 12 + length)
        most = {**_PNG_CRITICAL, **_PNG_COLOURS}.get(kind)
        if kind in _PNG_CRITICAL and length > _PNG_CRITICAL[kind]:
            raise UnreadableError("one of its chunks is too long")
        if most is None and (kind[:1].isupper() or kind == b"acTL"):
            raise UnreadableError("it has a chunk that the picture may need and that is not known")
        if most is not None and length <= most:
            _check_sum(content, chunk)
            yield kind, chunk
        at = chunk.stop


def _check_sum(content: Bytes, chunk: range) -> None:
    found = 0
    for piece in _pieces(content, chunk.start + 4, chunk.stop - 4):
        found = zlib.crc32(piece, found)
    if struct.unpack_from(">I", content, chunk.stop - 4)[0] != found:
        raise UnreadableError("one of its chunks is damaged")


def _profile(said: bytes) -> bytes:
    """What an iCCP chunk says of the colours, without the profile's name and what follows the profile."""
    compressed = said.partition(b"\x00")[2][1:]
    unpacking = zlib.decompressobj()
    try:
        unpacking.decompress(compressed, _MAX_PROFILE)
    except zlib.error:
        raise UnreadableError("its colour profile is damaged") from None
    if not unpacking.eof:
        raise UnreadableError("its colour profile is damaged or too large")
    return b"profile\x00\x00" + compressed[: len(compressed) - len(unpacking.unused_data)]


def _chunk(kind: bytes, data: bytes) -> bytes:
    return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))


def _bmp(content: Bytes, header: Header, kept: _Kept) -> None:
    start, info = struct.unpack_from("<II", content, 10)
    bits, compression = struct.unpack_from("<HI", content, 28)
    (colours,) = struct.unpack_from("<I", content, 46)
    masks = 12 if compression == 3 and info == 40 else 0
    palette = 4 * (colours or 1 << bits) if bits <= 8 else 0
    ends = 14 + info + masks + palette
    if info not in _BMP_INFOS or compression not in (0, 3) or (bits > 8 and colours) or ends > start:
        raise UnreadableError("it is a BMP of an uncommon kind")
    if info >= 108 and content[70:74] in _BMP_OWN_PROFILES:
        raise UnreadableError("it is a BMP with a colour profile of its own")
    pixels = (header.width * bits + 31) // 32 * 4 * header.height
    kept.add(b"BM" + struct.pack("<III", ends + pixels, 0, ends))
    kept.keep(14, ends)
    kept.keep(start, start + pixels)


def _pieces(content: Bytes, start: int, stop: int) -> Iterator[bytes]:
    for at in range(start, stop, _CHUNK_BYTES):
        yield content[at : min(at + _CHUNK_BYTES, stop)]


_FORMATS: Final[dict[str, Callable[[Bytes, Header, _Kept], None]]] = {
    "png": _png,
    "jpeg": _jpeg,
    "bmp": _bmp,
}
