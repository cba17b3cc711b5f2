"""The worklist: what waits for people, as a file of tasks that Label Studio imports (docs/review.md)."""

import json
from collections.abc import Callable
from pathlib import PurePosixPath
from typing import Any, Final

import polars as pl

from cv_assets.review.schema import ReviewWorklist

FILE: Final = "worklist.json"
PICTURES: Final = "pictures"
"""The folder of the tasks' pictures, beside the worklist."""

_SERVED: Final = "/data/local-files/?d="
"""Label Studio's own address of a file below its document root."""


def worklist(waiting: pl.DataFrame, guideline: str) -> pl.DataFrame:
    """The rows of ReviewWorklist: the items that wait for people, in the order of the queue."""
    return (
        waiting.with_row_index("place", offset=1)
        .select(pl.col("place").cast(pl.Int64), pl.exclude("place"), guideline=pl.lit(guideline))
        .select(ReviewWorklist.column_names())
    )


def tasks_json(tasks: pl.DataFrame, link: Callable[[str], str]) -> bytes:
    """The rows of ReviewWorklist as a JSON list; `link` says where a person looks at a lake path.

    The same rows give the same bytes.
    """
    listed = [{"data": _task(task, link)} for task in tasks.iter_rows(named=True)]
    return json.dumps(listed, indent=1, ensure_ascii=False).encode() + b"\n"


def picture_name(path: str) -> str:
    """What the picture at a lake path is called beside the worklist: its frame id, by which exports may name it."""
    return PurePosixPath(path).name


def _task(row: dict[str, Any], link: Callable[[str], str]) -> dict[str, object]:
    return {
        "image": f"{_SERVED}{PICTURES}/{picture_name(row['path'])}",
        "frame_id": row["frame_id"],
        "path": row["path"],
        "link": link(row["path"]),
        "part": row["part"],
        "delivery": row["delivery"],
        "reason": row["reason"],
        "why": row["why"],
        "state": row["state"],
        "answered_by": row["answered_by"],
        "due_at": row["due_at"].isoformat(timespec="seconds"),
        "guideline": row["guideline"],
    }
