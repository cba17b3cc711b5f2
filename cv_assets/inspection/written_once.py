"""Written once: what would be another than it was, if a delivery that has its verdicts were inspected again."""

from collections.abc import Iterable, Mapping, Sequence
from typing import Any, Final

import numpy as np
import polars as pl

from cv_assets.inspection.schema import Inspections

TOLERANCE: Final = 1e-6
"""Scores that differ by no more than this are the same: other processors round in other places."""

_SCORES: Final = ("defect_score", "scores")
_DRAW: Final = frozenset({"audit", "review_probability"})
_RELEASED: Final = ("candidate", "model", "lower", "upper")
_SHOWN: Final = 3
_NO_RELEASE: Final = "no release"

_ONCE: Final = "A verdict is written once, and those that were given stay as they are."
_REPLAY: Final = (
    "To see what another operating band would have given, run the job `replay_thresholds` (asset "
    "`threshold_replay`)."
)
_NOT_TOLD: Final = (
    "The line was not told of those yet: to tell it, materialize `outbox` of this delivery alone."
)


def differences(before: pl.DataFrame, now: pl.DataFrame) -> pl.DataFrame:
    """The captures of which `now` says another thing than `before`, both rows of `Inspections`.

    Columns: part, before and now (the verdicts with their reasons, null where there is none), differs (the columns
    that do, or `capture` where only one of the two has it), capture_id. What is volatile may differ, and so may the row
    of releases while candidate, model and band agree: a rollback puts the same release in force again.
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


def refusal(before: pl.DataFrame, now: pl.DataFrame, found: pl.DataFrame, *, told: bool) -> str:
    """Why `now` may not take the place of `before`: what would be another, since what, and what to do instead.

    `found` are the `differences`; `told`: does the line know `before`?
    """
    lone = pl.col("differs") == "capture"
    captures, others = found.filter(lone), found.filter(~lone)
    changed = others.filter(pl.col("before") != pl.col("now"))
    differing = {name for one in others["differs"] for name in one.split(", ")}
    another = sorted(differing - _DRAW)
    said = []
    if captures.height:
        said.append(_captures(captures))
    if changed.height:
        count = len({*before["capture_id"], *now["capture_id"]})
        verdicts = "1 verdict" if count == 1 else f"{count} verdicts"
        said.append(f"{changed.height} of {verdicts} would be others: {_changes(changed)}.")
    elif another:
        said.append(
            f"The verdicts would be the same, but {others.height} of them with another {' and '.join(another)}."
        )
    elif differing:
        said.append(
            "The verdicts would be the same, but captures would be drawn for the audit by another share, which counts "
            "for deliveries to come."
        )
    if another:
        said.append(_since(before, now))
    said.append(_ONCE)
    if another:
        said.append(_REPLAY)
    if not told:
        said.append(_NOT_TOLD)
    return " ".join(said)


def _captures(found: pl.DataFrame) -> str:
    kinds = {
        "gone": found.filter(pl.col("now").is_null())["part"].to_list(),
        "new": found.filter(pl.col("before").is_null())["part"].to_list(),
    }
    told = [f"{len(parts)} {kind} ({_first(parts)})" for kind, parts in kinds.items() if parts]
    return f"The captures themselves are others: {', '.join(told)}. Find out what changed raw_frames."


def _changes(changed: pl.DataFrame) -> str:
    rows = changed.select("part", "before", "now").iter_rows()
    return _first([f"{part} {was} → {is_now}" for part, was, is_now in rows])


def _first(told: Sequence[str]) -> str:
    more = len(told) - _SHOWN
    return ", ".join(told[:_SHOWN]) + (f" and {more} more" if more > 0 else "")


def _since(before: pl.DataFrame, now: pl.DataFrame) -> str:
    was, is_now = _releases(before["release"]), _releases(now["release"])
    if was != is_now:
        does = "decides" if is_now == _NO_RELEASE else "is in force"
        return f"They were given under {was}; {is_now} {does} now."
    if set(before["preparation"]) != set(now["preparation"]):
        return f"They were given under {was}, too, but the frames were prepared anew by another pass."
    return f"They were given under {was}, too."


def _releases(versions: Iterable[str | None]) -> str:
    return " and ".join(sorted({version or _NO_RELEASE for version in versions})) or _NO_RELEASE


def _told(row: Mapping[str, Any] | None) -> str | None:
    return None if row is None else f"{row['verdict']} ({row['reason']})"


def _differing(was: Mapping[str, Any], is_now: Mapping[str, Any]) -> list[str]:
    columns = [
        name for name, column in Inspections.columns().items() if not (column.metadata or {}).get("volatile")
    ]
    if was["weights_sha256"] and is_now["weights_sha256"]:
        # Their words hold figures of what the model gave, which may differ within the tolerance.
        columns.remove("why")
    if all(was[name] == is_now[name] for name in _RELEASED):
        columns.remove("release_number")
    return [name for name in columns if not _same(name, was[name], is_now[name])]


def _same(name: str, was: Any, is_now: Any) -> bool:
    if name in _SCORES and was is not None and is_now is not None:
        one, other = np.atleast_1d(was), np.atleast_1d(is_now)
        return one.shape == other.shape and bool((np.abs(one - other) <= TOLERANCE).all())
    return bool(was == is_now)
