"""Makes the tables that the review step looks at: verdicts, their captures, labels and a benchmark."""

from collections.abc import Mapping
from datetime import UTC, datetime, timedelta
from typing import Any

import polars as pl
from make_labels import frame

from cv_assets.frames.schema import RawFrames
from cv_assets.inspection.schema import REASONS, Inspections
from cv_assets.labels.schema import BenchmarkFrames, LabelTable

NOON = datetime(2026, 3, 2, 12, tzinfo=UTC)


def minutes(number: float) -> datetime:
    """So many minutes after noon."""
    return NOON + timedelta(minutes=number)


def capture(
    name: str, of: str = "", *, delivery: str = "d1", minute: float = 0, **other: Any
) -> dict[str, Any]:
    """A row of RawFrames: the capture `name` of the frame `of`, by default one of the same name."""
    row = {
        "capture_id": name,
        "frame_id": frame(of or name),
        "delivery": delivery,
        "file_name": f"{name}.png",
        "part": f"part {name}",
        "attributes": "{}",
        "path": f"raw_frames/{delivery}/{frame(of or name)}.png",
        "size_bytes": 1,
        "captured_at": minutes(minute),
        "captured_at_source": "file_name",
        "arrived_at": minutes(minute),
        "received_at": minutes(minute),
    }
    return {**row, **other}


def verdict(
    captured: Mapping[str, Any], reason: str, *, audit: bool = False, minute: float = 0
) -> dict[str, Any]:
    """A row of Inspections: the verdict on a capture, given at that minute. One automatic verdict in ten is audited."""
    given = {
        "verdict": REASONS[reason],
        "reason": reason,
        "why": f"because of {reason}",
        "audit": audit,
        "review_probability": 1.0 if REASONS[reason] == "REVIEW" else 0.1,
        "decided_at": minutes(minute),
        "raw_path": captured["path"],
        "preparation": "p",
    }
    if reason in ("below_lower", "above_upper", "low_confidence"):
        by_model = {
            "defect_score": 0.5,
            "release": "v1.0.0",
            "lower": 0.2,
            "upper": 0.8,
            "weights_sha256": "w",
        }
        given |= {**by_model, "scores": [0.5, 0.5], "classes": ["sound", "defective"], "prepared_path": "p"}
    known = ("capture_id", "part", "captured_at", "attributes", "delivery", "frame_id")
    return {**{name: captured[name] for name in known}, **given}


def label(of: str, *annotators: str, agreed: str | None = None, minute: float = 0) -> dict[str, Any]:
    """A row of LabelTable: these annotators' votes on the frame `of` agree on a class, or are too few."""
    return {
        "frame_id": frame(of),
        "objects": [],
        "label": agreed,
        "status": "agreed" if agreed else "review",
        "resolution": "unanimous" if agreed else "too_few_votes",
        "disputed": False,
        "votes": len(annotators),
        "agreement": 1.0,
        "annotations": [f"tool/project/{name}@{of}/1" for name in annotators],
        "annotators": list(annotators),
        "labelled_at": minutes(minute),
    }


def verified(of: str, golden: str, *, minute: float = 0) -> dict[str, Any]:
    """A row of BenchmarkFrames: the lead verified the class of the frame `of`."""
    return {
        "frame_id": frame(of),
        "set": "golden",
        "label": golden,
        "objects": [],
        "verified_by": "quality.lead",
        "verified_at": minutes(minute),
        "version": 1,
        "annotation_id": f"tool/golden/lead@{of}/1",
    }


def as_rows(schema: Any, *rows: Mapping[str, Any]) -> pl.DataFrame:
    """The rows as a table of `schema`."""
    return pl.DataFrame(list(rows), schema=schema.create_empty().schema)


def raw_frames(*rows: Mapping[str, Any]) -> pl.DataFrame:
    """Captures as a table."""
    return as_rows(RawFrames, *rows)


def inspections(*rows: Mapping[str, Any]) -> pl.DataFrame:
    """Verdicts as a table."""
    return as_rows(Inspections, *rows)


def labels(*rows: Mapping[str, Any]) -> pl.DataFrame:
    """Labels as a table."""
    return as_rows(LabelTable, *rows)


def benchmark(*rows: Mapping[str, Any]) -> pl.DataFrame:
    """Verified frames as a table."""
    return as_rows(BenchmarkFrames, *rows)
