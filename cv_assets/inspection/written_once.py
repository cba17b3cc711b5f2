"""Written once: what would be another than it was, if a delivery that has its verdicts were inspected again."""

from collections.abc import Iterable, Mapping
from typing import Any, Final

import numpy as np
import polars as pl

from cv_assets.inspection.schema import Inspections

TOLERANCE: Final = 1e-6
"""Scores that differ by no more than this are the same: other processors round in other places."""

_SCORES: Final = ("defect_score", "scores")
_SHOWN: Final = 3

_REPLAY: Final = (
    "A verdict is written once, and those that were given stay as they are. To see what another operating band would "
    "have given, run the job `replay_thresholds` (asset `threshold_replay`)."
)


def differences(before: pl.DataFrame, now: pl.DataFrame) -> pl.DataFrame:
    """The captures of which `now` says another thing than `before`, both rows of `Inspections`.

    Columns: part, before and now (the verdicts with their reasons, null where there is none), differs (the columns
    that do), capture_id. What is volatile may differ.
    """
    old, new = ({row["capture_id"]: row for row in rows.iter_rows(named=True)} for rows in (before, now))
    found = []
    for capture_id in dict.fromkeys([*old, *new]):
        was, is_now = old.get(capture_id), new.get(capture_id)
        columns = _differing(was, is_now) if was and is_now else ["capture"]
        if columns:
            part = (was or is_now or {})["part"]
            found.append((part, _told(was), _told(is_now), ", ".join(columns), capture_id))
    names = ("part", "before", "now", "differs", "capture_id")
    return pl.DataFrame(found, schema=dict.fromkeys(names, pl.String()), orient="row")


def refusal(before: pl.DataFrame, now: pl.DataFrame, found: pl.DataFrame) -> str:
    """Why `now` may not take the place of `before`: which verdicts would be others, since what, what to do instead."""
    changed = found.filter(pl.col("before").ne_missing(pl.col("now")))
    if changed.is_empty():
        names = sorted({name for one in found["differs"] for name in one.split(", ")})
        what = (
            f"The verdicts would be the same, but {found.height} of them with another {' and '.join(names)}."
        )
    else:
        some = [
            f"{part} {was or 'no verdict'} → {is_now or 'no verdict'}"
            for part, was, is_now in changed.select("part", "before", "now").head(_SHOWN).iter_rows()
        ]
        more = changed.height - len(some)
        shown = ", ".join(some) + (f" and {more} more" if more else "")
        verdicts = "1 verdict" if before.height == 1 else f"{before.height} verdicts"
        what = f"{changed.height} of {verdicts} would be others: {shown}."
    return f"{what} {_since(before, now)} {_REPLAY}"


def _since(before: pl.DataFrame, now: pl.DataFrame) -> str:
    was, is_now = _releases(before["release"]), _releases(now["release"])
    if was != is_now:
        return f"They were given under {was}; {is_now} is in force now."
    if set(before["preparation"]) != set(now["preparation"]):
        return f"They were given under {was}, too, but the frames were prepared anew by another pass."
    return f"They were given under {was}, too."


def _releases(versions: Iterable[str | None]) -> str:
    return " and ".join(sorted({version or "no release" for version in versions})) or "no release"


def _told(row: Mapping[str, Any] | None) -> str | None:
    return None if row is None else f"{row['verdict']} ({row['reason']})"


def _differing(was: Mapping[str, Any], is_now: Mapping[str, Any]) -> list[str]:
    columns = [
        name for name, column in Inspections.columns().items() if not (column.metadata or {}).get("volatile")
    ]
    if was["scores"] and is_now["scores"]:
        # Their words hold figures of the scores, which may differ within the tolerance.
        columns.remove("why")
    return [name for name in columns if not _same(name, was[name], is_now[name])]


def _same(name: str, was: Any, is_now: Any) -> bool:
    if name in _SCORES and was is not None and is_now is not None:
        one, other = np.atleast_1d(was), np.atleast_1d(is_now)
        return one.shape == other.shape and bool((np.abs(one - other) <= TOLERANCE).all())
    return bool(was == is_now)
