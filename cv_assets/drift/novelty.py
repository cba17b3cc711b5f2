"""The novelty of a delivery's frames, by what is stored with the release that judged it: never by a later spec."""

from pathlib import Path, PurePosixPath
from typing import Final

import polars as pl

from cv_assets.reference.novelty import Fetch, NoveltyReference, extractor
from cv_assets.reference.schema import NOVELTY
from cv_assets.training.cache import check_sha256
from cv_assets.training.features import read_image

_SAME_PASS: Final = pl.col("reason") != "preparation_changed"


def novelty_of(
    values: pl.DataFrame, inspections: pl.DataFrame, arrays: str, fetch: Fetch, cache_dir: Path
) -> pl.DataFrame:
    """`values` and the novelty of each capture; null where the frame went through another pass.

    `arrays` is where the novelty reference is in the lake, `fetch` gives a local file for such a path. Raises
    FileNotFoundError or ValueError when what the novelty takes is not there, or is another thing than was stored.
    """
    seen = inspections.filter(_SAME_PASS).select("capture_id", "frame_id", "prepared_path")
    frames = values.select("capture_id").join(seen, on="capture_id", maintain_order="left")
    if frames.is_empty():
        return values.with_columns(pl.lit(None, pl.Float64).alias(NOVELTY))
    reference = _stored(arrays, fetch)
    images = (read_image(fetch(path)) for path in frames["prepared_path"])
    embedded = extractor(reference.features, fetch, cache_dir).embed(images, frames["frame_id"])
    novelty = pl.Series(NOVELTY, reference.novelty(embedded.features)).fill_nan(None)
    return values.join(
        frames.select("capture_id", novelty), on="capture_id", how="left", maintain_order="left"
    )


def _stored(arrays: str, fetch: Fetch) -> NoveltyReference:
    file = fetch(arrays)
    check_sha256(arrays, file, PurePosixPath(arrays).stem.removeprefix(f"{NOVELTY}-"))
    return NoveltyReference.read(file)
