"""A picture without what its file says beside it: pixels, orientation and colour profile stay, to the bit.

A file is kept part by part and never encoded anew. Only parts that are known to make the picture are kept, so what a
camera writes that nobody thought of goes, too. A file whose parts cannot be told apart, or that a decoder would have to
mend, is withheld as a whole.

What is inside a part that is kept stays, to the bit, and nobody looks for anything hidden there: in the pixels and what
lies between them (padding of rows, the end of a JPEG's scan), in tables (palette, quantization, Huffman codes), and in
the texts of a colour profile. Of a BMP no colour profile stays.
Sources: ITU T.81 (JPEG), ICC.1:2022 7.2 and B.4 (profiles), https://www.w3.org/TR/png-3 (PNG).
"""

import hashlib
import re
import struct
import zlib
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from itertools import pairwise
from pathlib import Path
from typing import Final

from cv_assets.frames.headers import JPEG_MARKER, Bytes, Header, UnreadableError, mapped, read_header

WITHHELD: Final = b"withheld: "
"""How the note begins that is kept in place of a file that cannot be stripped."""

_CHUNK_BYTES: Final = 1 << 20
_JPEG_FILL: Final = re.compile(rb"\xff+")
_JPEG_KEPT: Final = (frozenset(range(0xC0, 0xD0)) - {0xC8}) | {0xDA, 0xDB, 0xDC, 0xDD}
_JPEG_APPS: Final = frozenset({*range(0xE0, 0xF0), 0xFE})
_ICC: Final = b"ICC_PROFILE\x00"
_PNG_CRITICAL: Final = {b"IHDR": 13, b"PLTE": 768, b"IDAT": (1 << 31) - 1, b"IEND": 0}
_PNG_ONCE: Final = (b"IHDR", b"PLTE")
_PNG_SAMPLES: Final = {0: 1, 2: 3, 3: 1, 4: 2, 6: 4}
_PNG_TRANSPARENT: Final = {0: 2, 2: 6, 3: 256}
_PALETTED: Final = 3
_ADAM7: Final = (
    (0, 0, 8, 8),
    (4, 0, 8, 8),
    (0, 4, 4, 8),
    (2, 0, 4, 4),
    (0, 2, 2, 4),
    (1, 0, 2, 2),
    (0, 1, 1, 2),
)
"""The passes of an interlaced PNG: where each begins and its steps, across and down."""
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
_BMP_BLANKED: Final = ((24, 32), (36, 40), (56, 124))
"""What a BMP's header says beside the picture: pixels per metre, important colours, and where its colours lie."""


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
    profile: list[bytes] = []
    at = 2
    while (kind := content[(at := _jpeg_segment(content, at)) + 1]) != 0xD9:
        after = at + 2 + struct.unpack_from(">H", content, at + 2)[0]
        said = content[at + 4 : after]
        if (
            after < at + 4
            or after > len(content)
            or (kind in _JPEG_KEPT and len(said) != _stated(kind, said))
        ):
            raise UnreadableError("one of its segments has no proper length")
        if kind == 0xE2 and said.startswith(_ICC):
            profile.append(said[len(_ICC) :])
        if kind in _JPEG_KEPT or (kind == 0xE2 and said.startswith(_ICC)):
            kept.keep(at, after)
        elif kind in _JPEG_APPS:
            _jpeg_application(kind, said, header, kept, seen)
        else:
            raise UnreadableError(f"it has a segment {kind:02X} that is not known")
        at = after if kind != 0xDA else _after_scan(content, after, kept)
    if profile:
        _check_profile(_joined(profile))
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


def _stated(kind: int, said: bytes) -> int:
    """How long a segment is as its own numbers say it: bytes after that are none of the picture's."""
    if kind in (0xC4, 0xDB):
        return _stated_of_tables(kind, said)
    if kind == 0xCC:
        return len(said) // 2 * 2
    if kind in (0xDC, 0xDD):
        return 2
    return 4 + 2 * said[0] if kind == 0xDA else 6 + 3 * said[5]


def _stated_of_tables(kind: int, said: bytes) -> int:
    at = 0
    while at < len(said):
        huffman, quantization = 17 + sum(said[at + 1 : at + 17]), 129 if said[at] >> 4 else 65
        at += huffman if kind == 0xC4 else quantization
    return at


def _jpeg_application(kind: int, said: bytes, header: Header, kept: _Kept, seen: set[str]) -> None:
    """Of the segments of applications those stay that decoders read: what the numbers mean, which way is up."""
    if kind == 0xE0 and said[:5] == b"JFIF\x00" and len(said) >= 14 and "JFIF" not in seen:
        seen.add("JFIF")
        # Its last two numbers are the size of a thumbnail.
        kept.add(b"\xff\xe0\x00\x10" + said[:12] + b"\x00\x00")
    elif kind == 0xE1 and said[:6] == b"Exif\x00\x00" and "Exif" not in seen:
        seen.add("Exif")
        if header.orientation != 1:
            kept.add(b"\xff\xe1\x00\x22Exif\x00\x00" + _exif(header.orientation))
    elif kind == 0xEE and said[:5] == b"Adobe" and len(said) >= 12:
        kept.add(b"\xff\xee\x00\x0eAdobe\x00\x64\x00\x00\x00\x00" + said[11:12])


def _joined(profile: list[bytes]) -> bytes:
    """The colour profile whose parts are there: each begins with its number and how many there are."""
    parts = sorted(profile)
    if [tuple(part[:2]) for part in parts] != [(number, len(parts)) for number in range(1, len(parts) + 1)]:
        raise UnreadableError("its colour profile is not there once and whole")
    return b"".join(part[2:] for part in parts)


def _check_profile(profile: bytes) -> None:
    if profile[36:40] != b"acsp" or int.from_bytes(profile[:4], "big") != len(profile):
        raise UnreadableError("what it has for a colour profile is none")


def _exif(orientation: int) -> bytes:
    """An EXIF block that says which way is up, and nothing else."""
    return b"II*\x00" + struct.pack("<IHHHIHHI", 8, 1, 274, 3, 1, orientation, 0, 0)


def _png(content: Bytes, header: Header, kept: _Kept) -> None:
    kept.keep(0, 8)
    seen: set[bytes] = set()
    pixels: list[range] = []
    for kind, chunk in _chunks(content):
        if kind in seen and kind in _PNG_ONCE:
            raise UnreadableError("it has a chunk twice that may be there once")
        if kind == b"IDAT":
            pixels.append(chunk)
        if kind == b"iCCP" and kind not in seen:
            kept.add(_chunk(kind, _profile(content[chunk.start + 8 : chunk.stop - 4])))
        elif kind in _PNG_CRITICAL or (kind in _PNG_COLOURS and kind not in seen):
            kept.keep(chunk.start, chunk.stop)
        if kind == b"IHDR" and header.orientation != 1:
            kept.add(_chunk(b"eXIf", _exif(header.orientation)))
        seen.add(kind)
    _check_pixels(content, pixels)


def _chunks(content: Bytes) -> Iterator[tuple[bytes, range]]:
    """The chunks that make the picture, each with its place."""
    lengths = _lengths(colour=content[25])
    at, kind = 8, b""
    while kind != b"IEND":
        length, kind = struct.unpack_from(">I4s", content, at)
        chunk = range(at, at + 12 + length)
        if length > _PNG_CRITICAL.get(kind, length):
            raise UnreadableError("one of its chunks is too long")
        # A small third letter is of no PNG yet: what such a chunk means, nobody knows.
        if kind not in _PNG_CRITICAL and (kind[:1].isupper() or kind[2:3].islower() or kind == b"acTL"):
            raise UnreadableError("it has a chunk that the picture may need and that is not known")
        if length <= lengths.get(kind, -1):
            _check_sum(content, chunk)
            yield kind, chunk
        at = chunk.stop


def _lengths(colour: int) -> dict[bytes, int]:
    """The chunks that may make a picture of a colour type, with how long each is at most."""
    lengths = {**_PNG_CRITICAL, **_PNG_COLOURS, b"tRNS": _PNG_TRANSPARENT.get(colour, -1)}
    # Beside colours that are written out, a palette is but a proposal for poor screens.
    return lengths if colour == _PALETTED else {**lengths, b"PLTE": -1}


def _check_sum(content: Bytes, chunk: range) -> None:
    found = 0
    for piece in _pieces(content, chunk.start + 4, chunk.stop - 4):
        found = zlib.crc32(piece, found)
    if struct.unpack_from(">I", content, chunk.stop - 4)[0] != found:
        raise UnreadableError("one of its chunks is damaged")


def _check_pixels(content: Bytes, chunks: list[range]) -> None:
    """Whether the chunks hold the pixels that the header says, one after the other, and nothing else."""
    unpacking, needed, found = zlib.decompressobj(), _pixel_bytes(content), 0
    try:
        for piece in (
            piece for chunk in chunks for piece in _pieces(content, chunk.start + 8, chunk.stop - 4)
        ):
            while piece and found <= needed:
                found += len(unpacking.decompress(piece, _CHUNK_BYTES))
                piece = unpacking.unconsumed_tail
        found += len(unpacking.flush()) if found <= needed else 0
    except zlib.error:
        raise UnreadableError("its pixels are damaged") from None
    apart = any(one.stop != following.start for one, following in pairwise(chunks))
    if apart or found != needed or not unpacking.eof or unpacking.unused_data:
        raise UnreadableError("its pixels are not all there, or not alone")


def _pixel_bytes(content: Bytes) -> int:
    """How many bytes the pixels of a PNG are before compression: each row has one more, which says its filter."""
    width, height, depth, colour, _, _, interlaced = struct.unpack_from(">IIBBBBB", content, 16)
    bits, total = depth * _PNG_SAMPLES[colour], 0
    for left, top, right, down in _ADAM7 if interlaced else ((0, 0, 1, 1),):
        columns, rows = (width - left + right - 1) // right, (height - top + down - 1) // down
        total += rows * (1 + (columns * bits + 7) // 8) if columns > 0 else 0
    return total


def _profile(said: bytes) -> bytes:
    """What an iCCP chunk says of the colours, without the profile's name and what follows the profile."""
    compressed = said.partition(b"\x00")[2][1:]
    unpacking = zlib.decompressobj()
    try:
        profile = unpacking.decompress(compressed, _MAX_PROFILE)
    except zlib.error:
        raise UnreadableError("its colour profile is damaged") from None
    if not unpacking.eof:
        raise UnreadableError("its colour profile is damaged or too large")
    _check_profile(profile)
    return b"profile\x00\x00" + compressed[: len(compressed) - len(unpacking.unused_data)]


def _chunk(kind: bytes, data: bytes) -> bytes:
    return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))


def _bmp(content: Bytes, header: Header, kept: _Kept) -> None:
    start, info = struct.unpack_from("<II", content, 10)
    planes, bits, compression = struct.unpack_from("<HHI", content, 26)
    (colours,) = struct.unpack_from("<I", content, 46)
    most_colours = 1 << bits if bits <= 8 else 0
    masks = 12 if compression == 3 and info == 40 else 0
    palette = 14 + info + masks
    ends = palette + 4 * (colours or most_colours)
    if (
        (info not in _BMP_INFOS or compression not in (0, 3) or planes != 1)
        or colours > most_colours
        or ends > start
    ):
        raise UnreadableError("it is a BMP of an uncommon kind")
    if info >= 108 and content[70:74] in _BMP_OWN_PROFILES:
        raise UnreadableError("it is a BMP with a colour profile of its own")
    pixels = (header.width * bits + 31) // 32 * 4 * header.height
    kept.add(b"BM" + struct.pack("<III", ends + pixels, 0, ends))
    kept.add(_bmp_info(content[14:palette], info, pixels, compression))
    kept.add(_bmp_palette(content[palette:ends]))
    kept.keep(start, start + pixels)


def _bmp_info(said: bytes, info: int, pixels: int, compression: int) -> bytes:
    """The header that says size, depth and masks, and nothing else."""
    made = bytearray(said)
    struct.pack_into("<I", made, 20, pixels)
    for start, stop in (*_BMP_BLANKED, *(() if compression == 3 else ((40, 56),))):
        made[start : min(stop, info)] = bytes(max(0, min(stop, info) - start))
    if info >= 108:
        made[56:60] = b"BGRs"
    return bytes(made)


def _bmp_palette(said: bytes) -> bytes:
    """Blue, green and red of each colour, and none of the fourth bytes that nobody reads."""
    made = bytearray(said)
    made[3::4] = bytes(len(said) // 4)
    return bytes(made)


def _pieces(content: Bytes, start: int, stop: int) -> Iterator[bytes]:
    for at in range(start, stop, _CHUNK_BYTES):
        yield content[at : min(at + _CHUNK_BYTES, stop)]


_FORMATS: Final[dict[str, Callable[[Bytes, Header, _Kept], None]]] = {
    "png": _png,
    "jpeg": _jpeg,
    "bmp": _bmp,
}
