"""Small pictures for metadata, as people see them in the UI. Images are uint8: (H, W) grey, (H, W, 3) RGB."""

import base64
import io
import math
from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, Any, Final

import dagster as dg
import numpy as np
from numpy.typing import NDArray

if TYPE_CHECKING:
    from matplotlib.figure import Figure
    from PIL import Image

Picture = NDArray[np.uint8]

MAX_BYTES: Final = 110_000
"""Metadata is kept with every event for good: a picture there stays below this, which as text is below 150 KB."""

_TILE: Final = 128
_CAPTION_HEIGHT: Final = 14
_GAP: Final = 4
_SMALLEST_TILE: Final = 16
_DOTS_PER_INCH: Final = (100, 80, 60, 40)
_MISSING: Final = 64
_JPEG: Final = b"\xff\xd8"


def montage(images: Sequence[Picture | None], captions: Sequence[str], columns: int = 6) -> bytes:
    """The images as captioned square tiles, row by row, as a JPEG of at most `MAX_BYTES`.

    An image keeps its proportions; None (bytes that are no image) is drawn as a dark tile. A caption is one line,
    whatever it holds. Tiles shrink until the sheet is small enough. Raises ValueError when there is no image or not one
    caption for each.
    """
    if not images or len(images) != len(captions):
        raise ValueError(f"a montage needs one caption per image, got {len(captions)} for {len(images)}")
    return _smallest_needed(
        _jpeg(_sheet(images, captions, columns, tile)) for tile in range(_TILE, _SMALLEST_TILE - 1, -16)
    )


def figure_png(figure: "Figure") -> bytes:
    """A matplotlib figure as a PNG of at most `MAX_BYTES`.

    Make it with `matplotlib.figure.Figure`: pyplot keeps every figure in process-wide state.
    """
    return _smallest_needed(_drawn(figure, dpi) for dpi in _DOTS_PER_INCH)


def as_markdown(drawn: bytes, alt: str) -> str:
    """A PNG or JPEG as Markdown that needs no server, for `dg.MetadataValue.md`; `alt` says what it shows."""
    text = alt.translate(str.maketrans("[]\n", "() "))
    kind = "jpeg" if drawn.startswith(_JPEG) else "png"
    return f"![{text}](data:image/{kind};base64,{base64.b64encode(drawn).decode()})"


def picture(drawn: bytes, alt: str) -> dg.MarkdownMetadataValue:
    """A PNG or JPEG as metadata of a materialization."""
    return dg.MetadataValue.md(as_markdown(drawn, alt))


def _smallest_needed(attempts: Iterator[bytes]) -> bytes:
    drawn = b""
    for drawn in attempts:
        if len(drawn) <= MAX_BYTES:
            break
    return drawn


def _sheet(
    images: Sequence[Picture | None], captions: Sequence[str], columns: int, tile: int
) -> "Image.Image":
    from PIL import Image, ImageDraw, ImageFont

    columns = min(columns, len(images))
    width, height = tile + _GAP, tile + _CAPTION_HEIGHT + _GAP
    sheet = Image.new(
        "RGB", (columns * width + _GAP, math.ceil(len(images) / columns) * height + _GAP), "white"
    )
    draw = ImageDraw.Draw(sheet)
    font = ImageFont.load_default(size=10)
    for place, (image, caption) in enumerate(zip(images, captions, strict=True)):
        x, y = _GAP + place % columns * width, _GAP + place // columns * height
        sheet.paste(_tile(image, tile), (x, y))
        line = " ".join(caption.split())
        draw.text((x, y + tile + 1), _fitting(line, draw, font, tile), fill="black", font=font)
    return sheet


def _tile(image: Picture | None, side: int) -> "Image.Image":
    from PIL import Image

    square = Image.new("RGB", (side, side), (_MISSING, _MISSING, _MISSING))
    if image is not None:
        drawn = Image.fromarray(image).convert("RGB")
        drawn.thumbnail((side, side))
        square.paste(drawn, ((side - drawn.width) // 2, (side - drawn.height) // 2))
    return square


def _fitting(caption: str, draw: Any, font: Any, width: int) -> str:
    text = caption
    while text and draw.textlength(text if text == caption else text + "…", font=font) > width:
        text = text[:-1]
    return text if text == caption else text + "…"


def _jpeg(image: "Image.Image") -> bytes:
    # Photographs as PNG take twice the bytes and a hundred times the time.
    stream = io.BytesIO()
    image.save(stream, format="JPEG", quality=90, subsampling=0)
    return stream.getvalue()


def _drawn(figure: "Figure", dpi: int) -> bytes:
    from matplotlib.backends.backend_agg import FigureCanvasAgg

    # The same bytes as `savefig` gives, which draws everything twice.
    stream = io.BytesIO()
    figure.set_dpi(dpi)
    FigureCanvasAgg(figure).print_png(stream, metadata={"Software": None})  # type: ignore[no-untyped-call]
    return stream.getvalue()
