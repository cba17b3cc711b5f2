"""Statistics of captures: what is measured of each accepted frame, and of all captures of a delivery."""

from typing import Final

import polars as pl

from cv_assets.frames.schema import REASONS, STATISTICS
from cv_assets.reference.schema import REJECTED, REPEATED

PLAIN: Final = tuple(f"{image}.{name}" for image in ("decoded", "prepared") for name in STATISTICS)
"""Statistics of the image before and after the pass, as their columns are named."""

SHARES: Final = (REJECTED, *(f"{REJECTED}.{reason}" for reason in REASONS), REPEATED)
"""Shares of the captures of a delivery, in the order of the reference."""


def frame_values(prepared_frames: pl.DataFrame) -> pl.DataFrame:
    """Columns capture_id, delivery and `PLAIN` of each accepted capture, in the order given; NaN becomes null."""
    measured = [
        pl.col(image).struct.field(name).cast(pl.Float64).fill_nan(None).alias(f"{image}.{name}")
        for image, name in (one.split(".") for one in PLAIN)
    ]
    return prepared_frames.filter(pl.col("accepted")).select("capture_id", "delivery", *measured)


def station_shares(raw_frames: pl.DataFrame, prepared_frames: pl.DataFrame) -> dict[str, float]:
    """`SHARES` of one delivery's captures, each from 0 to 1; all 0 when there is no capture.

    `repeated` counts a capture when another one of the delivery has the same bytes.
    """
    reasons = prepared_frames.filter(~pl.col("accepted"))["reason"]
    rejected = {f"{REJECTED}.{reason}": int((reasons == reason).sum()) for reason in REASONS}
    counts = {REJECTED: len(reasons), **rejected}
    shares = {name: count / max(prepared_frames.height, 1) for name, count in counts.items()}
    repeated = int(raw_frames["frame_id"].is_duplicated().sum()) if raw_frames.height else 0
    return {**shares, REPEATED: repeated / max(raw_frames.height, 1)}
