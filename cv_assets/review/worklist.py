"""The worklist: what waits for people, as a file of tasks that Label Studio imports (docs/review.md)."""

import json
from collections.abc import Callable
from pathlib import PurePosixPath
from typing import Final

import polars as pl

from cv_assets.review.schema import ReviewWorklist

FILE: Final = "worklist.json"
PICTURES: Final = "pictures"
"""The folder of the tasks' pictures, beside the worklist."""

_SERVED: Final = "/data/local-files/?d="
"""Label Studio's own address of a file below its document root."""


def worklist(waiting: pl.DataFrame) -> pl.DataFrame:
    """The rows of ReviewWorklist: the items that wait for people, in the order of the queue."""
    return waiting.with_row_index("place", offset=1).select(ReviewWorklist.column_names())


def tasks_json(waiting: pl.DataFrame, link: Callable[[str], str]) -> bytes:
    """The same items as a JSON list of tasks; `link` says where a person looks at a lake path.

    The same items give the same bytes.
    """
    tasks = [{"data": _task(item, link)} for item in waiting.iter_rows(named=True)]
    return json.dumps(tasks, indent=1, ensure_ascii=False).encode() + b"\n"


def picture_name(path: str) -> str:
    """What the picture at a lake path is called beside the worklist: its frame id, by which exports may name it."""
    return PurePosixPath(path).name


def _task(item: dict[str, object], link: Callable[[str], str]) -> dict[str, object]:
    path = str(item["path"])
    return {
        "image": f"{_SERVED}{PICTURES}/{picture_name(path)}",
        "frame_id": item["frame_id"],
        "path": path,
        "link": link(path),
        "part": item["part"],
        "delivery": item["delivery"],
        "reason": item["reason"],
        "why": item["why"],
        "state": item["state"],
        "answered_by": item["answered_by"],
        "due_at": item["due_at"].isoformat(timespec="seconds"),  # type: ignore[attr-defined]
    }
