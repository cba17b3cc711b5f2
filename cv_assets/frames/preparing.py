"""Preparing a delivery: the one deterministic pass over all of its frames, on every core."""

import hashlib
import os
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Final

import cv2
import polars as pl

from cv_assets.frames.captures import read_file_name
from cv_assets.frames.headers import mapped
from cv_assets.frames.preparation import Image, Prepared, decode, eight_bit_rgb, preparation_digest, prepare
from cv_assets.frames.schema import PreparedFrames
from cv_assets.spec.acquisition import Acquisition, Preparation

_SHOWN: Final = 12
_LOOKED_AT: Final = 60
"""Among so many frames pictures are looked for: a delivery may hold thousands of files that are none."""


@dataclass(frozen=True)
class PreparedDelivery:
    """The rows of `prepared_frames`, and the prepared PNGs by their lake path."""

    rows: pl.DataFrame
    files: Mapping[str, Path]


@dataclass(frozen=True)
class Shown:
    """Some frames, as people look at them: pictures (None: no image) with what to say of each."""

    images: list[Image | None]
    captions: list[str]


def prepare_delivery(
    raw_frames: pl.DataFrame,
    fetch: Callable[[str], Path],
    *,
    preparation: Preparation,
    acquisition: Acquisition,
    folder: Path,
) -> PreparedDelivery:
    """Prepare every capture of `raw_frames`; `fetch` gives a local file for a lake path.

    The PNGs are written to `folder`, which must outlive what is returned. A capture whose file name the spec's
    pattern does not fit is rejected, however good its picture is: nobody knows which part it shows.
    """
    digest = preparation_digest(preparation)

    def prepared(capture: dict[str, Any]) -> dict[str, Any]:
        with mapped(fetch(capture["path"])) as content:
            frame = prepare(content, preparation)
        if frame.accepted and not read_file_name(capture["file_name"], acquisition).matched:
            detail = f"the pattern does not fit {capture['file_name']!r}"
            frame = replace(frame, reason="unknown_name", detail=detail, png=None, prepared=None)
        path = None
        if frame.png is not None:
            path = f"prepared_frames/{capture['delivery']}/{hashlib.sha256(frame.png).hexdigest()}.png"
            # Equal pictures of two captures are one file: each is written under a name of its own, then renamed.
            written = folder / capture["capture_id"]
            written.write_bytes(frame.png)
            written.rename(folder / Path(path).name)
        return _row(capture, frame, digest, path)

    with _one_thread_per_frame(), ThreadPoolExecutor(os.cpu_count()) as threads:
        rows = list(threads.map(prepared, raw_frames.iter_rows(named=True)))
    table = pl.DataFrame(rows, schema=PreparedFrames.create_empty().schema)
    files = {path: folder / Path(path).name for path in table["path"].drop_nulls()}
    return PreparedDelivery(table, files)


def first_frames(raw_frames: pl.DataFrame, fetch: Callable[[str], Path], max_pixels: int) -> Shown:
    """The first frames as they were taken, by their file names, without those that are no picture."""
    shown = Shown([], [])
    for path, file_name in raw_frames.select("path", "file_name").head(_LOOKED_AT).iter_rows():
        if (image := fetch_to_show(fetch, path, max_pixels)) is not None:
            shown.images.append(image)
            shown.captions.append(file_name)
        if len(shown.images) == _SHOWN:
            break
    return shown


def accepted_frames(delivery: PreparedDelivery, raw_frames: pl.DataFrame) -> Shown:
    """Some accepted frames as a model sees them, spread over the delivery."""
    accepted = _with_parts(delivery, raw_frames).filter("accepted")
    some = accepted.gather_every(max(1, -(-accepted.height // _SHOWN)))
    images = [decode_to_show(delivery.files[path], max_pixels=1 << 30) for path in some["path"]]
    return Shown(images, some["part"].to_list())


def rejected_frames(
    delivery: PreparedDelivery, raw_frames: pl.DataFrame, fetch: Callable[[str], Path], max_pixels: int
) -> Shown:
    """The first rejected frames as they were taken, each with the reason and its score."""
    some = _with_parts(delivery, raw_frames).filter(~pl.col("accepted")).head(_SHOWN)
    images = [decode_to_show(fetch(path), max_pixels) for path in some["raw_path"]]
    captions = [
        f"{part}: {reason}" + ("" if score is None else f" {score:.4g}")
        for part, reason, score in some.select("part", "reason", "score").iter_rows()
    ]
    return Shown(images, captions)


def decode_to_show(file: Path, max_pixels: int) -> Image | None:
    """The picture in `file` as people look at it, (H, W, 3) RGB of 8 bits; None when it is none, or too large."""
    with mapped(file) as content:
        image = decode(content, max_pixels)
    return None if image is None else eight_bit_rgb(image)


def fetch_to_show(fetch: Callable[[str], Path], path: str, max_pixels: int) -> Image | None:
    """As `decode_to_show`, the frame at `path` of the lake; None too for one that is there no more: it was let go."""
    try:
        return decode_to_show(fetch(path), max_pixels)
    except FileNotFoundError:
        return None


def rejections(prepared_frames: pl.DataFrame) -> str:
    """One sentence on how many frames are rejected, and why."""
    rejected = prepared_frames.filter(~pl.col("accepted"))
    counts = rejected["reason"].value_counts(sort=True).sort("count", "reason", descending=[True, False])
    reasons = ", ".join(f"{reason} {count}" for reason, count in counts.iter_rows())
    return f"{rejected.height or 'None'} of {prepared_frames.height} rejected" + (
        f": {reasons}" if reasons else ""
    )


def _row(capture: dict[str, Any], frame: Prepared, digest: str, path: str | None) -> dict[str, Any]:
    return {
        "capture_id": capture["capture_id"],
        "frame_id": capture["frame_id"],
        "delivery": capture["delivery"],
        "accepted": frame.accepted,
        "reason": frame.reason,
        "score": frame.score,
        "bound": frame.bound,
        "detail": frame.detail,
        "path": path,
        "preparation": digest,
        "decoded": frame.decoded,
        "prepared": frame.prepared,
    }


@contextmanager
def _one_thread_per_frame() -> Iterator[None]:
    """Frames share the cores; OpenCV dividing each of them further only makes threads wait for each other."""
    before = cv2.getNumThreads()
    cv2.setNumThreads(1)
    try:
        yield
    finally:
        cv2.setNumThreads(before)


def _with_parts(delivery: PreparedDelivery, raw_frames: pl.DataFrame) -> pl.DataFrame:
    parts = raw_frames.select("capture_id", "part", raw_path="path")
    return delivery.rows.join(parts, on="capture_id", maintain_order="left")
