"""The watched folder of label exports: what has settled there, what is new, what has been taken.

What an export is called follows from its name and content, so the same bytes are one export however often they come.
"""

import hashlib
import re
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path, PurePath
from typing import Final, Literal

from cv_assets.frames.files import Identity, identity_of, read_unchanged, return_file
from cv_assets.labels.exports import SUFFIXES, ExportError

TAKEN: Final = "taken"
"""The folder beside new exports that published ones move to."""

MEGABYTE: Final = 1_000_000
"""Bytes of what the spec counts in MB."""


@dataclass(frozen=True)
class ExportFile:
    """One file as it was at a look. `sha256` is of its content, empty while it has not settled.

    A file larger than may be read has a stand-in: it is refused by a run of its own, like any other bad export.
    """

    name: str
    identity: Identity
    sha256: str = ""

    @property
    def key(self) -> str:
        """The partition key of this content under this name."""
        return export_key(self.name, self.sha256)


@dataclass(frozen=True)
class Attempt:
    """The newest run for an export."""

    run_id: str
    state: Literal["in progress", "killed", "failed", "finished"]
    """killed: its process died, and Dagster tries it again."""


@dataclass(frozen=True)
class Plan:
    """What a look leads to: exports to take now, published ones to put away, and why others wait."""

    take: tuple[ExportFile, ...]
    put_away: tuple[ExportFile, ...]
    waiting: tuple[str, ...]


def export_key(name: str, sha256: str) -> str:
    """A readable partition key: the file's stem in `[A-Za-z0-9_-]`, then 8 hex digits of its content."""
    stem = re.sub(r"[^A-Za-z0-9_-]+", "-", PurePath(name).stem).strip("-")[:80]
    return f"{stem or 'export'}-{sha256[:8]}"


def look(folder: Path, before: Sequence[ExportFile], max_bytes: int) -> list[ExportFile]:
    """The exports in `folder` now, sorted by name. One that is as it was `before` has settled and is read.

    One of more than `max_bytes` is never read: it would keep all others waiting.
    """
    known = {file.name: file for file in before}
    found = []
    for path, now in _exports_in(folder):
        earlier = known.get(path.name)
        settled = earlier is not None and earlier.identity == now
        sha256 = _digest(path, earlier, max_bytes) if earlier and settled else ""
        found.append(ExportFile(path.name, now, sha256))
    return found


def plan(
    files: Sequence[ExportFile], published: Collection[str], attempts: Mapping[str, Attempt], at_most: int
) -> Plan:
    """What to do about the files of a look.

    `published` are the sha256 of all content in the lake; `attempts` the newest run of each export by key. Published
    content is put away once its run ended well, for the labels follow after it. An export whose run failed is not
    tried again by itself: it would fail again, and a person has to look. No more than `at_most` exports are in
    progress at once: all of them write the same label table.
    """
    take: dict[str, ExportFile] = {}
    running = sum(attempt.state in ("in progress", "killed") for attempt in attempts.values())
    put_away, waiting = [], []
    for file in files:
        attempt = attempts.get(file.key)
        if not file.sha256:
            waiting.append(f"{file.name} may still be written, or cannot be read")
        elif file.sha256 in published and attempt and attempt.state == "failed":
            waiting.append(
                f"{file.name} is in the lake, but does not count yet: run {attempt.run_id} failed after it was "
                "published. Read why there, then re-execute it from failure"
            )
        elif file.sha256 in published and (attempt is None or attempt.state == "finished"):
            put_away.append(file)
        elif file.sha256 in take:
            waiting.append(f"{file.name} is the same as {take[file.sha256].name}")
        elif attempt:
            waiting.append(_after(file, attempt))
        elif running + len(take) >= at_most:
            waiting.append(f"{file.name} waits its turn")
        else:
            take[file.sha256] = file
    return Plan(tuple(take.values()), tuple(put_away), tuple(waiting))


def put_away(folder: Path, file: ExportFile) -> bool:
    """Move a published file to `taken/`, unless it was written again since it was read; whether it moved."""
    source, target = folder / file.name, folder / TAKEN / f"{file.key}{PurePath(file.name).suffix.lower()}"
    if identity_of(source) != file.identity:
        return False
    target.parent.mkdir(exist_ok=True)
    try:
        source.replace(target)
    except FileNotFoundError:  # another Dagster on this folder put it away
        return False
    if read_unchanged(target, lambda _: True) == file.sha256:
        return True
    # It was written between the last look and the move: it is another export, and goes back.
    return_file(target, source)
    return False


def find_export(folder: Path, key: str, max_bytes: int) -> tuple[str, bytes] | None:
    """Name and content of the file whose partition key is `key`; None when there is none any more.

    Raises ExportError when it has more than `max_bytes`.
    """
    for path, now in _exports_in(folder):
        if export_key(path.name, "") != key[:-8]:
            continue
        if now.size > max_bytes:
            if export_key(path.name, _stand_in(now)) == key:
                raise _too_large(path.name, now.size, max_bytes)
            continue
        with path.open("rb") as stream:
            # A file that grows meanwhile is another export, and is not read to its end.
            content = stream.read(max_bytes + 1)
        if export_key(path.name, hashlib.sha256(content).hexdigest()) == key:
            return path.name, content
    return None


def _too_large(name: str, size: int, max_bytes: int) -> ExportError:
    expected = (
        f"at most {max_bytes / MEGABYTE:g} MB (`labels.max_export_mb` of the spec): split the export, or raise "
        "the limit where the machine has the memory"
    )
    return ExportError(name, f"it has {size / MEGABYTE:.1f} MB", expected)


def _exports_in(folder: Path) -> Iterator[tuple[Path, Identity]]:
    for path in sorted(folder.iterdir()) if folder.is_dir() else []:
        if path.suffix.lower() in SUFFIXES and not path.name.startswith(".") and (now := identity_of(path)):
            yield path, now


def _after(file: ExportFile, attempt: Attempt) -> str:
    match attempt.state:
        case "in progress":
            return f"{file.name} is being taken by run {attempt.run_id}"
        case "killed":
            return f"{file.name} was being taken by run {attempt.run_id}, whose process died: Dagster tries it again"
        case "failed":
            return (
                f"{file.name} was not taken: run {attempt.run_id} failed and says why. Correct the file, or "
                "execute the run again"
            )
        case "finished":
            return f"{file.name} was taken by run {attempt.run_id}, but is not in the lake: execute the run again"


def _digest(path: Path, earlier: ExportFile, max_bytes: int) -> str:
    stand_in = _stand_in(earlier.identity)
    if earlier.identity.size > max_bytes:
        return stand_in
    # The limit may have been raised since.
    is_read = earlier.sha256 not in ("", stand_in)
    return earlier.sha256 if is_read else _sha256(path, earlier.identity)


def _stand_in(identity: Identity) -> str:
    """What tells one state of a file that is too large to be read from another."""
    return hashlib.sha256(f"too large {identity.file}".encode()).hexdigest()


def _sha256(path: Path, expected: Identity) -> str:
    try:
        return read_unchanged(path, expected.__eq__) or ""
    except PermissionError:
        return ""
