"""Closing: when the files that wait become a delivery, and what it is called. Times are seconds since 1970.

Files wait in buckets: one per station, and one for names that the spec's pattern does not fit.
"""

import hashlib
import json
import re
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from functools import partial
from typing import Final

from cv_assets.frames.captures import file_time
from cv_assets.frames.deliveries import Manifest, Waiting
from cv_assets.spec.acquisition import Acquisition

_CLOSED_GROUPS: Final = 1000
_HASH_DIGITS: Final = 6
_GROUPS_SHOWN: Final = 5
_NOT_IN_KEYS: Final = re.compile(r"[^A-Za-z0-9_]+")


@dataclass(frozen=True)
class _Batch:
    files: tuple[Waiting, ...]
    why: str
    group: str | None = None


def close(
    files: Sequence[Waiting],
    closed_groups: Mapping[str, Collection[str]],
    acquisition: Acquisition,
    now: float,
    is_used: Callable[[str], bool],
) -> list[Manifest]:
    """The deliveries that close now. Once they hold `files_per_tick` files, the others close on a later look.

    `files` are sorted first come first; `closed_groups` are the groups of each station that were delivered already,
    whose late files join the station's next delivery. `is_used` says whether a key was given before.
    """
    closed: list[Manifest] = []
    for (_, station), members in _buckets(files).items():
        for batch in _batches(members, closed_groups.get(station, ()), acquisition, now):
            if sum(len(manifest.files) for manifest in closed) >= acquisition.files_per_tick:
                return closed
            closed.append(_manifest(batch, now, is_used))
    return closed


def note_groups(
    closed_groups: Mapping[str, tuple[str, ...]], manifests: Iterable[Manifest]
) -> dict[str, tuple[str, ...]]:
    """The groups that were closed, by station, with those of `manifests` added; the oldest are forgotten."""
    noted = dict(closed_groups)
    for manifest in manifests:
        if manifest.group:
            station = manifest.station or ""
            groups = [group for group in noted.get(station, ()) if group != manifest.group]
            noted[station] = (*groups, manifest.group)[-_CLOSED_GROUPS:]
    return noted


def explain(
    files: Sequence[Waiting],
    unsettled: int,
    closed_groups: Mapping[str, Collection[str]],
    acquisition: Acquisition,
) -> list[str]:
    """Sentences on what waits in the inbox, and for what; `unsettled` files may still be written to."""
    sentences = []
    for (matched, station), members in _buckets(files).items():
        whose = (
            f" for {station}" if station else "" if matched else " with a name that the pattern does not fit"
        )
        states = _states(members, closed_groups.get(station, ())) if acquisition.close.complete_group else ""
        ends = _ends(members[0], acquisition, has_groups=bool(states))
        verb = "waits" if len(members) == 1 else "wait"
        sentences.append(f"{_count(members)} {verb}{whose}: {states}the delivery closes {ends}.")
    if unsettled:
        sentences.append(f"{unsettled} more may still be written to.")
    return sentences


def _buckets(files: Iterable[Waiting]) -> dict[tuple[bool, str], list[Waiting]]:
    buckets: dict[tuple[bool, str], list[Waiting]] = {}
    for one in files:
        buckets.setdefault((one.file.matched, one.file.station or ""), []).append(one)
    return buckets


def _batches(
    files: list[Waiting], late_groups: Collection[str], acquisition: Acquisition, now: float
) -> list[_Batch]:
    """The files of one bucket that close now."""
    batches, rest = [], files
    for rule in (_complete, _counted, partial(_overdue, now=now), _alone):
        batches += rule(rest, acquisition)
        closed = {one.name for batch in batches for one in batch.files}
        rest = [one for one in files if one.name not in closed]
    late = tuple(one for one in rest if one.file.group in late_groups)
    if batches and late:
        first = batches[0]
        why = f"{first.why}; with {_count(late)} that came late"
        batches[0] = replace(first, files=(*first.files, *late), why=why)
    return batches


def _complete(files: Sequence[Waiting], acquisition: Acquisition) -> list[_Batch]:
    if not acquisition.close.complete_group:
        return []
    return [
        _Batch(tuple(members), f"{group} is complete ({len(members)} of {count})", group)
        for group, members in _groups(files).items()
        if (count := _size(members)) is not None and len(members) >= count
    ]


def _counted(files: Sequence[Waiting], acquisition: Acquisition) -> list[_Batch]:
    size = acquisition.close.files
    if size is None:
        return []
    why = "1 file is there" if size == 1 else f"{size} files are there"
    return _slices(files[: len(files) // size * size], size, why)


def _overdue(files: Sequence[Waiting], acquisition: Acquisition, *, now: float) -> list[_Batch]:
    minutes = acquisition.close.minutes
    if minutes is None or not files or now - files[0].sight.since < minutes * 60:
        return []
    return _slices(files, acquisition.files_per_tick, f"its first file has waited for {minutes:g} minutes")


def _alone(files: Sequence[Waiting], acquisition: Acquisition) -> list[_Batch]:
    """Files that no group can complete, when nothing else would ever close them."""
    if acquisition.close.files is not None or acquisition.close.minutes is not None:
        return []
    alone = [one for one in files if one.file.group is None or one.file.count is None]
    return _slices(alone, acquisition.files_per_tick, "they belong to no group")


def _slices(files: Sequence[Waiting], size: int, why: str) -> list[_Batch]:
    return [_Batch(tuple(files[start : start + size]), why) for start in range(0, len(files), size)]


def _groups(files: Iterable[Waiting]) -> dict[str, list[Waiting]]:
    groups: dict[str, list[Waiting]] = {}
    for one in files:
        if one.file.group is not None:
            groups.setdefault(one.file.group, []).append(one)
    return groups


def _size(members: Iterable[Waiting]) -> int | None:
    """How many files the group has, as its file names say."""
    return max((one.file.count for one in members if one.file.count is not None), default=None)


def _manifest(batch: _Batch, now: float, is_used: Callable[[str], bool]) -> Manifest:
    first = batch.files[0].file
    files = {one.name: one.sight.identity for one in batch.files}
    closed_at = datetime.fromtimestamp(now, UTC).isoformat()
    names = (first.station if first.matched else "unknown", batch.group or _earliest(batch))
    readable = "-".join(_slug(name) for name in names if name)
    stated = json.dumps([closed_at, sorted((name, identity.file) for name, identity in files.items())])
    digest = hashlib.sha256(stated.encode()).hexdigest()
    keys = (f"{readable}-{digest[:digits]}" for digits in range(_HASH_DIGITS, len(digest)))
    key = next(key for key in keys if not is_used(key))
    return Manifest(key, first.station, batch.group, batch.why, closed_at, files)


def _earliest(batch: _Batch) -> str:
    times = (one.file.captured_at or file_time(one.sight.identity.modified_ns) for one in batch.files)
    return f"{min(times):%Y%m%dT%H%M%S}"


def _slug(name: str) -> str:
    return _NOT_IN_KEYS.sub("-", name).strip("-")[:40] or "x"


def _states(files: Sequence[Waiting], late: Collection[str]) -> str:
    states = [
        f"{group} has {len(members)} late, for the next delivery"
        if group in late
        else f"{group} has {len(members)} of {_size(members) or 'an unknown number'}"
        for group, members in _groups(files).items()
    ]
    more = len(states) - _GROUPS_SHOWN
    shown = ", ".join(states[:_GROUPS_SHOWN]) + (f" and {more} more groups wait" if more > 0 else "")
    return f"{shown}; " if shown else ""


def _ends(first: Waiting, acquisition: Acquisition, *, has_groups: bool) -> str:
    closing, ends = acquisition.close, []
    if has_groups:
        ends.append("when complete")
    if closing.files is not None:
        ends.append(f"at {closing.files} files")
    if closing.minutes is not None:
        ends.append(f"at {datetime.fromtimestamp(first.sight.since + closing.minutes * 60, UTC):%H:%M} UTC")
    return " or ".join(ends)


def _count(files: Collection[Waiting]) -> str:
    return "1 file" if len(files) == 1 else f"{len(files)} files"
