"""Makes the tables and exports that tests of labels need."""

import hashlib
import json
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import polars as pl
import pytest
from by_hand import publish_by_hand

from cv_assets.frames.schema import RawFrames
from cv_assets.labels.entries import BOX, annotation_id
from cv_assets.labels.rules import resolve_frames
from cv_assets.labels.schema import Annotations
from cv_assets.spec.load import load_spec, to_table
from cv_assets.spec.schema import Spec
from resources.tables import Tables, parquet, table_path

START = datetime(2026, 3, 2, 10, tzinfo=UTC)
RECEIVED = datetime(2026, 4, 1, tzinfo=UTC)


def demo_spec() -> Spec:
    """The demo's spec: classes sound and defective, 3 votes, two thirds, guideline 1."""
    return load_spec(Path(__file__).parent.parent / "specs" / "solar_cells.yaml")


def frame(name: str) -> str:
    """A frame id for a short name: its letters, padded to 64 hex digits."""
    return name.encode().hex().ljust(64, "0")


def raw_frames(*names: str, width: int = 300, height: int = 300) -> pl.DataFrame:
    """Frames that arrived, one file `<name>.png` each; of raw_frames only what labels look at."""
    rows = [
        {"frame_id": frame(name), "file_name": f"{name}.png", "width": width, "height": height}
        for name in names
    ]
    schema = {"frame_id": pl.String, "file_name": pl.String, "width": pl.Int64, "height": pl.Int64}
    return pl.DataFrame(rows, schema=schema)


def statement(image: str, annotator: str, *classes: str, **other: Any) -> dict[str, Any]:
    """One row of Annotations; `minute` says when, `boxes` gives corner boxes for the classes."""
    minute, boxes = other.pop("minute", 0), other.pop("boxes", ())
    row: dict[str, Any] = {
        "export": "e1",
        "row": 1,
        "tool": "label_studio",
        "project": "cells",
        "annotation": f"{annotator}@{image}",
        "revision": minute,
        "image": image,
        "objects": [
            {"class": one, **dict(zip(BOX, box or (None,) * 4, strict=True))}
            for one, box in zip(classes, boxes or [None] * len(classes), strict=True)
        ],
        "uncertain": False,
        "retracted": False,
        "annotator": annotator,
        "annotated_at": START + timedelta(minutes=minute),
        "seconds": 3.0,
        "guideline": "1",
        "benchmark": None,
        "verified_by": None,
        "unread": None,
        "evidence": "annotations/e1/00.json",
        "received_at": RECEIVED,
        **other,
    }
    key = annotation_id(row["tool"], row["project"], row["annotation"], row["revision"])
    return {"annotation_id": key, **row}


def annotations(*statements: Mapping[str, Any]) -> pl.DataFrame:
    """The statements as rows of Annotations, numbered in their order unless they say so themselves."""
    rows = [{**one, "row": number} for number, one in enumerate(statements, start=1)]
    return pl.DataFrame(rows, schema=Annotations.create_empty().schema)


def accepted(*statements: Mapping[str, Any], frames: pl.DataFrame) -> pl.DataFrame:
    """The statements as checked rows that broke no rule."""
    return resolve_frames(annotations(*statements), frames).with_columns(
        broken_rule=pl.lit(None, dtype=pl.String)
    )


def coco(
    said: Sequence[tuple[str, str, str | None]], *, info: Mapping[str, Any] | None = None, minute: int = 0
) -> bytes:
    """A COCO export of (image, annotator, class); class None is nothing seen."""
    images = sorted({image for image, _, _ in said})
    classes = sorted({label for _, _, label in said if label})
    document = {
        "info": {"tool": "label_studio", "project": "cells", "guideline": "1", **(info or {})},
        "images": [{"id": number, "file_name": name} for number, name in enumerate(images)],
        "categories": [{"id": number, "name": name} for number, name in enumerate(classes)],
        "annotations": [
            {
                "id": number,
                "image_id": images.index(image),
                "category_id": classes.index(label) if label else None,
                "annotator": annotator,
                "annotated_at": (START + timedelta(minutes=minute)).isoformat(),
            }
            for number, (image, annotator, label) in enumerate(said)
        ],
    }
    return json.dumps(document).encode()


def publish(tables: Tables, *, spec: Spec, frames: Mapping[str, bytes] | None = None) -> None:
    """Put the spec, and one delivery of files when there is one, on the data branch."""
    rows, files = delivered(frames or {})
    content = {table_path("project_spec"): parquet(to_table(spec)), **files}
    if frames:
        content[table_path("raw_frames", "d1")] = parquet(rows)
    publish_by_hand(tables.lake, content)


# Great Expectations imports modules of the standard library that are on their way out.
imports_great_expectations = pytest.mark.filterwarnings("ignore:module 'sre_:DeprecationWarning")


def delivered(content: Mapping[str, bytes], delivery: str = "d1") -> tuple[pl.DataFrame, dict[str, bytes]]:
    """The raw_frames table of a delivery of files, and the bytes by lake path."""
    rows, files = [], {}
    for name, one in content.items():
        sha256 = hashlib.sha256(one).hexdigest()
        path = f"raw_frames/{delivery}/{sha256}.png"
        files[path] = one
        rows.append(
            {
                "capture_id": f"{delivery}-{name}",
                "frame_id": sha256,
                "delivery": delivery,
                "file_name": name,
                "part": name,
                "attributes": "{}",
                "path": path,
                "size_bytes": len(one),
                "width": 300,
                "height": 300,
                "captured_at": START,
                "captured_at_source": "file_time",
                "arrived_at": START,
                "received_at": START,
            }
        )
    return pl.DataFrame(rows, schema=RawFrames.create_empty().schema), files
