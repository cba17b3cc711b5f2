"""The watched inbox on disk: what lies in it, the manifests of deliveries, and where files go afterwards.

    <inbox>/                    where acquisition writes
    <inbox>/../taken/<key>/     files that the lake holds
    <state>/<key>.json          manifests of deliveries that are under way
    <state>/received/<key>.json manifests of finished deliveries, with what became of each file
    <state>/forgotten/<key>.json those of deliveries that an older lake, brought back, does not hold
    <memory>                    what one look leaves for the next; may be deleted

The inbox must lie on one file system whose inode numbers are stable, together with `taken`.
"""

import json
import os
from collections import Counter
from collections.abc import Callable, Collection, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field, replace
from functools import cached_property
from pathlib import Path
from typing import Any, Final, TypeVar

from cv_assets.frames import closing, deliveries
from cv_assets.frames.deliveries import Known, Manifest, Memory, Receipt, Sight, Waiting
from cv_assets.frames.files import Identity, identity_of, read_unchanged, return_file, write_atomically
from cv_assets.spec.acquisition import Acquisition

Receipts = Mapping[str, Receipt]
"""What became of each claimed file of a delivery, by name."""

_Row = TypeVar("_Row", Sight, Known)

_WATCHED: Final = 1000
_WRITERS: Final = 8


@dataclass(frozen=True)
class Published:
    """What the lake knows of a delivery: the receipts of its raw frames, and whether all that follows is there too."""

    receipts: Receipts
    finished: bool


@dataclass(frozen=True)
class Look:
    """What one look found and did."""

    under_way: tuple[Manifest, ...]
    closed: tuple[Manifest, ...] = ()
    waiting: tuple[Waiting, ...] = ()
    unsettled: int = 0
    ignored: Mapping[str, int] = field(default_factory=dict)
    put_away: int = 0
    closed_groups: Mapping[str, tuple[str, ...]] = field(default_factory=dict)


@dataclass(frozen=True)
class Inbox:
    """One inbox and where its deliveries are written down."""

    folder: Path
    state: Path
    memory: Path

    @cached_property
    def taken(self) -> Path:
        """Where files go that the lake holds."""
        return self.folder.parent / "taken"

    def keys_under_way(self) -> list[str]:
        """The keys of the deliveries that are closed and not finished, sorted."""
        return sorted(file.stem for file in self.state.glob("*.json"))

    def keys_received(self) -> list[str]:
        """The keys of the deliveries that are finished, sorted."""
        return sorted(file.stem for file in (self.state / "received").glob("*.json"))

    def under_way(self) -> list[Manifest]:
        """The deliveries that are closed and not finished, by key."""
        return [_manifest(_read_json(self.state / f"{key}.json")) for key in self.keys_under_way()]

    def manifest(self, key: str) -> Manifest:
        """The manifest of one delivery, finished or not. Raises FileNotFoundError."""
        for file in self._manifest_files(key):
            if file.is_file():
                return _manifest(_read_json(file))
        raise FileNotFoundError(
            f"there is no manifest of delivery {key}: expected {self._manifest_files(key)[0]}"
        )

    def claimed(self, key: str) -> Collection[str]:
        """The names of the files of a delivery, finished, under way or forgotten; none where nothing is said of it."""
        for file in (*self._manifest_files(key), self._forgotten(key)):
            if file.is_file():
                return _manifest(_read_json(file)).files
        return ()

    def forget(self, key: str) -> None:
        """Put the manifest of a finished delivery aside: its files are new where they lie in the inbox."""
        self._forgotten(key).parent.mkdir(exist_ok=True)
        self._manifest_files(key)[1].replace(self._forgotten(key))

    def copy(self, manifest: Manifest, name: str, target: Path) -> str | None:
        """Copy a claimed file to `target` and return its sha256.

        None when it is gone, or no longer is what the delivery claims. Raises FileNotFoundError when the inbox itself
        is not there: then nothing can be said of its files.
        """
        claimed = manifest.files[name]
        found = read_unchanged(self.folder / name, claimed.__eq__, target)
        # Putting a file away renames it, and a rename is a change.
        put_away = self.taken / manifest.key / name
        found = found or read_unchanged(put_away, lambda one: one.file == claimed.file, target)
        if found:
            return found
        if not self.folder.is_dir():
            raise FileNotFoundError(f"the inbox {self.folder} is not there")
        return None

    def look(
        self, acquisition: Acquisition, published: Callable[[str], Published | None], now: float
    ) -> Look:
        """Look once: recognise what the lake holds and put it away, close deliveries and write them down.

        `published` says what the lake knows of a delivery. Raises FileNotFoundError when the inbox is not there. Only
        one look may run at a time.
        """
        names, inodes, ignored = self._list(acquisition)
        under_way = self.under_way()
        known = {one.key: found for one in under_way if (found := published(one.key))}
        receipts = {key: found.receipts for key, found in known.items()}
        memory = deliveries.account(self._load() or self._rebuilt(names, inodes), under_way, receipts)
        memory, put_away = self._see(memory, names, acquisition, now)
        claims = [one for one in under_way if one.key not in known]
        waiting = deliveries.waiting(memory, claims, acquisition)
        closed = closing.close(waiting, memory.closed_groups, acquisition, now, self._is_used)
        _write_durably({self.state / f"{one.key}.json": _manifest_values(one) for one in closed})
        memory = replace(memory, closed_groups=closing.note_groups(memory.closed_groups, closed))
        self._save(memory)
        # Only now: until it is in the memory, what became of the files is known from the manifest alone.
        self._finish([one for one in under_way if one.key in known and known[one.key].finished], receipts)
        taken = {name for manifest in closed for name in manifest.files}
        return Look(
            under_way=(
                *(one for one in under_way if one.key not in known or not known[one.key].finished),
                *closed,
            ),
            closed=tuple(closed),
            waiting=tuple(one for one in waiting if one.name not in taken),
            unsettled=sum(sight.looks < acquisition.settle_ticks for sight in memory.sights.values()),
            ignored=ignored,
            put_away=put_away,
            closed_groups=memory.closed_groups,
        )

    def _list(self, acquisition: Acquisition) -> tuple[list[str], set[int], Mapping[str, int]]:
        """Names and inodes of the files that may be taken, and how many of what else there is."""
        names, inodes, ignored = [], set[int](), Counter[str]()
        with os.scandir(self.folder) as entries:
            for entry in entries:
                if entry.is_symlink():
                    ignored["link"] += 1
                elif not entry.is_file(follow_symlinks=False):
                    ignored["folder" if entry.is_dir(follow_symlinks=False) else "special file"] += 1
                elif deliveries.is_takeable(entry.name, acquisition):
                    names.append(entry.name)
                    inodes.add(entry.inode())
        return names, inodes, ignored

    def _see(
        self, memory: Memory, names: list[str], acquisition: Acquisition, now: float
    ) -> tuple[Memory, int]:
        looked_at = deliveries.window(names, memory.last_name, acquisition.files_per_tick)
        seen = {name: identity for name in looked_at if (identity := identity_of(f"{self.folder}/{name}"))}
        memory = deliveries.remember(memory, names, looked_at, seen, self._sha256, now)
        if acquisition.after == "keep":
            return memory, 0
        memory = self._bring_back(memory)
        there = [name for name in seen.keys() & memory.known if memory.known[name].identity == seen[name]]
        return self._put_away(memory, sorted(there)) if there else (memory, 0)

    def _put_away(self, memory: Memory, names: list[str]) -> tuple[Memory, int]:
        # Saved first: a crash while files move must find them known.
        self._save(memory)
        known, watched, moved = dict(memory.known), dict(memory.watched), 0
        for delivery in {known[name].delivery for name in names}:
            (self.taken / delivery).mkdir(parents=True, exist_ok=True)
        for name in names:
            place = self._move(name, known[name])
            if place is None:
                continue
            moved += 1
            one = known.pop(name)
            if not one.whole:
                watched[place] = one.identity
        newest = dict(list(watched.items())[-_WATCHED:])
        return replace(memory, known=known, watched=newest), moved

    def _move(self, name: str, known: Known) -> str | None:
        """Where it is below `taken` now; None when it is gone, or was rewritten meanwhile: then it is new."""
        # Texts: for ten thousand files, making paths would take as long as moving them.
        place = f"{known.delivery}/{name}"
        if os.path.lexists(f"{self.taken}/{place}"):
            place = f"{known.delivery}/{known.sha256[:12]}-{name}"
        source, target = f"{self.folder}/{name}", f"{self.taken}/{place}"
        try:
            os.rename(source, target)  # noqa: PTH104
        except FileNotFoundError:
            return None
        found = identity_of(target)
        if found and found.file == known.identity.file:
            return place
        return_file(Path(target), Path(source))
        return None

    def _bring_back(self, memory: Memory) -> Memory:
        """A file that ended too early and was written to after it was put away is new."""
        watched = {}
        for path, identity in memory.watched.items():
            found = identity_of(self.taken / path)
            if found and (
                found.file == identity.file
                or not return_file(self.taken / path, self.folder / Path(path).name)
            ):
                watched[path] = identity
        return replace(memory, watched=watched)

    def _sha256(self, name: str) -> str | None:
        return read_unchanged(self.folder / name, lambda _: True)

    def _manifest_files(self, key: str) -> tuple[Path, Path]:
        return self.state / f"{key}.json", self.state / "received" / f"{key}.json"

    def _forgotten(self, key: str) -> Path:
        return self.state / "forgotten" / f"{key}.json"

    def _is_used(self, key: str) -> bool:
        return any(file.exists() for file in self._manifest_files(key))

    def _finish(self, manifests: Sequence[Manifest], receipts: Mapping[str, Receipts]) -> None:
        files = [self._manifest_files(one.key) for one in manifests]
        values = [_manifest_values(one, receipts[one.key]) for one in manifests]
        _write_durably({received: one for (_, received), one in zip(files, values, strict=True)})
        for under_way, _ in files:
            under_way.unlink()

    def _load(self) -> Memory | None:
        try:
            return _memory(_read_json(self.memory))
        except (FileNotFoundError, ValueError, LookupError, TypeError, AttributeError):
            # Lost, cut short, or written by another version: it is rebuilt.
            return None

    def _save(self, memory: Memory) -> None:
        # Named tuples are lists in JSON.
        write_atomically(self.memory, json.dumps(vars(memory)).encode(), durably=False)

    def _rebuilt(self, names: Collection[str], inodes: Collection[int]) -> Memory:
        """What every finished delivery says about the files that still lie in the inbox, also under another name."""
        here, received = set(names), sorted((self.state / "received").glob("*.json"))
        # One by one: all that was ever taken does not fit into memory.
        stated = [_only_these(_read_json(file), here, inodes) for file in received]
        stated.sort(key=lambda values: values["closed_at"])
        manifests = [_manifest(values) for values in stated]
        receipts = {values["key"]: read_receipts(values["receipts"]) for values in stated}
        groups = closing.note_groups({}, [*manifests, *self.under_way()])
        watched = {path: one for values in stated for path, one in values["watched"].items()}
        newest = dict(list(watched.items())[-_WATCHED:])
        return deliveries.account(Memory(closed_groups=groups, watched=newest), manifests, receipts)


def read_receipts(values: Mapping[str, Any]) -> dict[str, Receipt]:
    """Receipts from their JSON values."""
    return {name: Receipt(**receipt) for name, receipt in values.items()}


def _read_json(file: Path) -> dict[str, Any]:
    return json.loads(file.read_text("utf-8"))  # type: ignore[no-any-return]


def _write_durably(files: Mapping[Path, Mapping[str, Any]]) -> None:
    """Write each file; the disk makes those that are written at once durable together."""
    with ThreadPoolExecutor(_WRITERS) as threads:
        list(threads.map(lambda file: write_atomically(file, json.dumps(files[file]).encode()), files))


def _only_these(values: dict[str, Any], names: Collection[str], inodes: Collection[int]) -> dict[str, Any]:
    """The manifest of a finished delivery with only those of its files that have one of these names or inodes."""
    files = {
        name: identity
        for name, identity in values["files"].items()
        if name in names or identity["inode"] in inodes
    }
    receipts = {name: receipt for name, receipt in values["receipts"].items() if name in files}
    return {**values, "files": files, "receipts": receipts, "watched": _ended_too_early(values)}


def _ended_too_early(values: dict[str, Any]) -> dict[str, Identity]:
    """The files of a finished delivery whose writer may not be done, by their path below the folder `taken`."""
    return {
        f"{values['key']}/{name}": Identity(**values["files"][name])
        for name, receipt in values["receipts"].items()
        if not receipt.get("whole", True) and name in values["files"]
    }


def _manifest_values(manifest: Manifest, receipts: Receipts | None = None) -> dict[str, Any]:
    files = {name: identity._asdict() for name, identity in manifest.files.items()}
    became = {} if receipts is None else {"receipts": {name: vars(one) for name, one in receipts.items()}}
    return {**vars(manifest), "files": files, **became}


def _manifest(values: Mapping[str, Any]) -> Manifest:
    files = {name: Identity(**identity) for name, identity in values["files"].items()}
    stated = {name: values[name] for name in ("key", "station", "group", "closed_by", "closed_at")}
    return Manifest(**stated, files=files)


def _of_identity(kind: type[_Row], values: Any) -> _Row:
    """Its values by their order, or by their names, as an earlier version wrote them."""
    row, *rest = [values[name] for name in kind._fields] if isinstance(values, dict) else values
    return kind(Identity(*row), *rest)


def _memory(values: dict[str, Any]) -> Memory:
    sights = {name: _of_identity(Sight, one) for name, one in values["sights"].items()}
    known = {name: _of_identity(Known, one) for name, one in values["known"].items()}
    watched = {path: Identity(*row) for path, row in values["watched"].items()}
    groups = {station: tuple(names) for station, names in values["closed_groups"].items()}
    accounted = tuple(values["accounted"])
    return Memory(values["last_name"], values["rotations"], sights, known, groups, watched, accounted)
