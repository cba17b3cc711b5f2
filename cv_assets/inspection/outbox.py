"""The outbox: one file of verdicts per delivery, as docs/outbox.md promises it to the line.

A file's content follows from the published tables alone: writing it again writes the same bytes.
"""

import hashlib
import json
from datetime import datetime
from typing import Any, Final

import polars as pl

from cv_assets.inspection.schema import Outbox

CONTRACT: Final = 1
"""The number of the file's contract; a reader that finds another number finds another contract."""

_AS_STORED: Final = (
    "part",
    "verdict",
    "reason",
    "release",
    "defect_score",
    "captured_at",
    "decided_at",
    "station",
    "camera",
    "file_name",
    "capture_id",
)
_TOLD: Final = ("capture_id", "part", "verdict", "reason", "release", "decided_at")


def verdict_file(inspections: pl.DataFrame, raw_frames: pl.DataFrame, delivery: str) -> bytes:
    """The content of a delivery's file: the verdict on every capture, in the order in which they were taken."""
    named = inspections.join(raw_frames.select("capture_id", "file_name"), on="capture_id", how="left")
    ordered = named.sort("captured_at", "file_name", "capture_id")
    entries = ordered.select(_AS_STORED).with_columns(
        pl.col("captured_at", "decided_at").dt.strftime("%Y-%m-%dT%H:%M:%S.%6fZ")
    )
    content = {"contract": CONTRACT, "delivery": delivery, "verdicts": entries.to_dicts()}
    return (json.dumps(content, indent=1, ensure_ascii=False) + "\n").encode()


def told_rows(content: bytes, raw_frames: pl.DataFrame, *, file: str, told_at: datetime) -> pl.DataFrame:
    """What the verdict file `file` with this content tells since `told_at`, as rows of `Outbox`."""
    rows = [_row(entry) for entry in json.loads(content)["verdicts"]]
    schema = Outbox.create_empty().schema
    told = pl.DataFrame(rows, schema={name: schema[name] for name in _TOLD})
    arrived = raw_frames.select("capture_id", "arrived_at")
    waited = pl.lit(told_at, dtype=schema["told_at"]) - pl.col("arrived_at")
    return (
        told.join(arrived, on="capture_id", how="left", maintain_order="left")
        .with_columns(
            file=pl.lit(file),
            file_sha256=pl.lit(hashlib.sha256(content).hexdigest()),
            told_at=pl.lit(told_at, dtype=schema["told_at"]),
            seconds=waited.dt.total_microseconds() / 1e6,
        )
        .select(schema.names())
    )


def differing(told: pl.DataFrame, inspections: pl.DataFrame) -> pl.DataFrame:
    """The verdicts that only one of the two knows, with which: rows of `Outbox` and of `Inspections`."""
    in_file, in_table = told.select(_TOLD), inspections.select(_TOLD)
    only_in_file = in_file.join(in_table, on=_TOLD, how="anti", nulls_equal=True)
    only_in_table = in_table.join(in_file, on=_TOLD, how="anti", nulls_equal=True)
    return pl.concat(
        [
            only_in_file.with_columns(only_in=pl.lit("the file")),
            only_in_table.with_columns(only_in=pl.lit("inspections")),
        ]
    )


def _row(entry: dict[str, Any]) -> dict[str, Any]:
    return {
        **{name: entry[name] for name in _TOLD},
        "decided_at": datetime.fromisoformat(entry["decided_at"]),
    }
