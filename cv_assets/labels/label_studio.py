"""Label Studio's own export (format JSON): a list of tasks, read as rows of the columns that a CSV export has.

What a region says that no column can hold is handed on as it is, for the row to name it as unread.
Source: https://labelstud.io/guide/task_format and https://labelstud.io/tags.
"""

from collections.abc import Iterator, Mapping
from typing import Any, Final

from cv_assets.labels.entries import BOX, as_number

TOOL: Final = "label_studio"
IMAGE: Final = ("frame_id", "path", "image")
"""What names the picture in a task's data, the surest first; the worklist gives all three."""

UNCERTAIN: Final = "uncertain"
"""The control by whose choice an annotator says that they are not sure."""


def rows(task: Mapping[str, Any], annotation: Mapping[str, Any]) -> Iterator[dict[str, object]]:
    """One annotation of a task: a row per class or box. A skipped one takes back what its annotator said before.

    An annotation that names no class is a row without one: it may be a mistake, and no statement that all is well.
    """
    data, by = _fields(task.get("data")), annotation.get("completed_by")
    result = annotation.get("result")
    # What is no region at all is as unreadable as a polygon.
    regions = [_fields(one) or {"type": "labels"} for one in result] if isinstance(result, list) else []
    said = {
        **{name: data.get(name) for name in ("guideline", "benchmark", "verified_by")},
        "tool": TOOL,
        "project": task.get("project"),
        "image": next((data[name] for name in IMAGE if data.get(name)), None),
        "annotator": by.get("email") or by.get("id") if isinstance(by, dict) else by,
        "annotated_at": annotation.get("updated_at") or annotation.get("created_at"),
        "annotation": annotation.get("id"),
        "seconds": annotation.get("lead_time"),
        "retracted": annotation.get("was_cancelled"),
        "uncertain": any(one.get("from_name") == UNCERTAIN for one in regions),
    }
    # What a skipped annotation marked is taken back with it, whatever it is.
    skipped = annotation.get("was_cancelled") is True
    objects = [] if skipped else [one for region in regions for one in _objects(region)]
    for one in objects or [{}]:
        yield {**said, **one}


def _objects(region: Mapping[str, Any]) -> list[dict[str, object]]:
    kind, value = region.get("type"), _fields(region.get("value"))
    if region.get("from_name") == UNCERTAIN:
        return []
    if kind == "choices":
        return [{"class": one} for one in _list(value.get("choices"))]
    if kind == "rectanglelabels":
        return [{"class": one, **_box(region, value)} for one in _list(value.get("rectanglelabels"))]
    # Polygons and brushes mark something too; a comment or a rating does not.
    return [{"class": {"type": kind}}] if str(kind).endswith("labels") else []


def _box(region: Mapping[str, Any], value: Mapping[str, Any]) -> dict[str, object]:
    """The corners in pixels of a rectangle that is given in percent of its picture's width and height."""
    across, down = as_number(region.get("original_width")), as_number(region.get("original_height"))
    x, y, width, height = (as_number(value.get(name)) for name in ("x", "y", "width", "height"))
    if None in (across, down, x, y, width, height) or value.get("rotation"):
        return {"x_min": dict(value)}
    corners = (x * across, y * down, (x + width) * across, (y + height) * down)  # type: ignore[operator]
    return dict(zip(BOX, (corner / 100 for corner in corners), strict=True))


def _list(value: object) -> list[Any]:
    return value if isinstance(value, list) and value else [{"unreadable": value}]


def _fields(value: object) -> Mapping[str, Any]:
    return value if isinstance(value, dict) else {}
