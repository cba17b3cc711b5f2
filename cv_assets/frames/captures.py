"""Captures: what a file's name, time and header say about the moment a camera saw a part. Times are UTC."""

import hashlib
import json
import os
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from functools import cached_property
from pathlib import PurePath
from typing import Any, Final

import polars as pl

from cv_assets.frames.files import Identity
from cv_assets.frames.headers import Bytes, UnreadableError, read_header
from cv_assets.spec.acquisition import CAPTURE_FIELDS, Acquisition

_SUFFIX: Final = re.compile(r"\.[a-z0-9]{1,8}")
_LAST_SECOND: Final = datetime(9999, 12, 31, tzinfo=UTC)


@dataclass(frozen=True)
class FileName:
    """What a file name says by the spec's pattern; `matched` is false when the pattern does not fit.

    `time` is the text of the time it states, `time_format` how to read it.
    """

    matched: bool
    part: str
    station: str | None = None
    camera: str | None = None
    group: str | None = None
    count: int | None = None
    time: str | None = None
    time_format: str | None = None
    attributes: Mapping[str, str] = field(default_factory=dict)

    @cached_property
    def captured_at(self) -> datetime | None:
        """None when the name holds no time, or none that the spec's format reads.

        Read when it is asked for: it takes longer than all the rest of the name.
        """
        return _time(self.time, self.time_format)


def read_file_name(name: str, acquisition: Acquisition) -> FileName:
    """Read a file name. One that does not match the pattern is its own part, so that nothing is lost."""
    match = re.fullmatch(acquisition.file_name, name)
    if match is None or not match["part"]:
        return FileName(matched=False, part=readable(name))
    groups = {key: readable(value) for key, value in match.groupdict().items() if value is not None}
    return FileName(
        matched=True,
        part=groups["part"],
        station=groups.get("station"),
        camera=groups.get("camera"),
        group=groups.get("group"),
        count=_whole_number(groups.get("count")),
        time=groups.get("time"),
        time_format=acquisition.time_format,
        attributes={key: value for key, value in groups.items() if key not in CAPTURE_FIELDS},
    )


def readable(name: str) -> str:
    """A name as text that any table can hold: a byte that is no UTF-8 becomes U+FFFD."""
    return name if name.isascii() else os.fsencode(name).decode(errors="replace")


def capture_id(name: str, frame_id: str, file: FileName, captured_at: datetime) -> str:
    """What makes a capture the same capture: station, camera, part, time, file name and content.

    A time that only the file system knows is left out: the same file dropped again has another.
    """
    said = captured_at.isoformat() if file.captured_at else None
    key = json.dumps([file.station, file.camera, file.part, said, os.fsencode(name).hex(), frame_id])
    return hashlib.sha256(key.encode()).hexdigest()[:32]


def capture_row(
    name: str,
    *,
    content: Bytes,
    frame_id: str,
    identity: Identity,
    delivery: str,
    received_at: datetime,
    acquisition: Acquisition,
) -> dict[str, Any]:
    """The row of `raw_frames` for one file, which had this `identity` in the inbox."""
    file = read_file_name(name, acquisition)
    captured_at = file.captured_at or file_time(identity.modified_ns)
    return {
        "capture_id": capture_id(name, frame_id, file, captured_at),
        "frame_id": frame_id,
        "delivery": delivery,
        "file_name": readable(name),
        "station": file.station,
        "camera": file.camera,
        "part": file.part,
        "group": file.group,
        "attributes": json.dumps(file.attributes, sort_keys=True),
        "path": lake_path(delivery, frame_id, name),
        "size_bytes": len(content),
        **_header_facts(content),
        "captured_at": captured_at,
        "captured_at_source": "file_name" if file.captured_at else "file_time",
        "arrived_at": file_time(identity.changed_ns),
        "received_at": received_at,
    }


def lake_path(delivery: str, frame_id: str, name: str) -> str:
    """Where a raw frame's bytes are in the lake: named by their content, with the file's own suffix."""
    suffix = PurePath(readable(name)).suffix.lower()
    return f"raw_frames/{delivery}/{frame_id}{suffix if _SUFFIX.fullmatch(suffix) else ''}"


def file_time(nanoseconds: int) -> datetime:
    """A time of the file system, since 1970, to the microsecond; one outside the calendar becomes its nearest end."""
    try:
        return datetime.fromtimestamp(nanoseconds // 1_000_000_000, UTC).replace(
            microsecond=nanoseconds % 1_000_000_000 // 1000
        )
    except (OverflowError, ValueError, OSError):
        return _LAST_SECOND if nanoseconds > 0 else datetime.fromtimestamp(0, UTC)


def miscounted(raw_frames: pl.DataFrame, rows: pl.DataFrame) -> pl.DataFrame:
    """Captures that have no row, or several, in a table of one row per capture; and those that no camera took."""
    counted = rows.group_by("capture_id").agg(rows=pl.len())
    both = raw_frames.select("capture_id", raw=1).join(counted, on="capture_id", how="full", coalesce=True)
    return both.filter(pl.col("rows").ne_missing(1) | pl.col("raw").is_null()).select("capture_id", "rows")


def _header_facts(content: Bytes) -> dict[str, Any]:
    try:
        header = read_header(content)
    except UnreadableError:
        return {name: None for name in ("width", "height", "channels", "depth_bits", "camera_metadata")}
    return {
        "width": header.width,
        "height": header.height,
        "channels": header.channels,
        "depth_bits": header.depth_bits,
        "camera_metadata": json.dumps(header.camera, sort_keys=True) if header.camera else None,
    }


def _whole_number(text: str | None) -> int | None:
    return int(text) if text and text.isascii() and text.isdigit() and len(text) <= 9 else None


def _time(text: str | None, time_format: str | None) -> datetime | None:
    if text is None or time_format is None:
        return None
    try:
        time = datetime.strptime(text, time_format)  # noqa: DTZ007  (the next line gives it its zone)
    except ValueError:
        return None
    try:
        return time.astimezone(UTC) if time.tzinfo else time.replace(tzinfo=UTC)
    except OverflowError:
        return None


def attribute(name: str) -> pl.Expr:
    """One attribute of each row, read from its column `attributes`; null where a file name does not state it."""
    return pl.col("attributes").str.json_path_match(f"$.{name}")
