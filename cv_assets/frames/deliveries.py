"""Deliveries: which files of the watched inbox belong together, and which of them were taken already.

A clock only ever decides *when* a file is taken. *Whether* it is taken follows from what lies in the inbox, from the
manifests (which files a delivery claims) and from their receipts (what became of each); so a lost tick, a crash or a
lost memory delays a file, and nothing more. Times are seconds since 1970 unless their name says otherwise.
"""

from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cache
from typing import Final, Literal, NamedTuple

from cv_assets.frames.captures import FileName, read_file_name
from cv_assets.frames.files import Identity
from cv_assets.spec.acquisition import Acquisition

DELIVERY_TABLES: Final = ("raw_frames", "prepared_frames", "inspections", "outbox", "drift_metrics")
"""The tables of a delivery, in the order in which its run makes them; while one is missing, it is under way."""

_ROTATIONS: Final = 2


class Sight(NamedTuple):
    """A file as the last looks saw it: unchanged over `looks` of them, under this name `since`."""

    identity: Identity
    looks: int
    since: float


@dataclass(frozen=True)
class Manifest:
    """A closed delivery: the files it claims, by name, and why it closed."""

    key: str
    station: str | None
    group: str | None
    closed_by: str
    closed_at: str
    files: Mapping[str, Identity]


@dataclass(frozen=True)
class Receipt:
    """What became of one claimed file.

    It was taken, it was known from an earlier delivery, or it was gone or rewritten before it could be read.
    `whole` is false for a taken file that ends too early: its writer may not be done.
    """

    outcome: Literal["taken", "repeated", "vanished", "changed"]
    sha256: str | None = None
    whole: bool = True


class Known(NamedTuple):
    """A file that the lake already holds: to be put away, or to be left alone.

    `gone_since` is the rotation in which its name was first missing from the inbox.
    """

    identity: Identity
    sha256: str
    delivery: str
    whole: bool = True
    gone_since: int | None = None


@dataclass(frozen=True)
class Memory:
    """What one look leaves for the next; a lost memory is rebuilt from manifests and receipts.

    `last_name` is where the last look stopped, `rotations` how often the whole inbox was gone through. `watched` are
    files that were put away although they ended too early, by their path below the folder `taken`. `accounted` are
    the deliveries under way whose receipts are in `known`.
    """

    last_name: str = ""
    rotations: int = 0
    sights: Mapping[str, Sight] = field(default_factory=dict)
    known: Mapping[str, Known] = field(default_factory=dict)
    closed_groups: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    watched: Mapping[str, Identity] = field(default_factory=dict)
    accounted: tuple[str, ...] = ()


@dataclass(frozen=True)
class Waiting:
    """A settled file that no delivery claims yet, and what its name says."""

    name: str
    sight: Sight
    file: FileName


def is_takeable(name: str, acquisition: Acquisition) -> bool:
    """Whether a name is that of a finished file, and not hidden or marked as still being written."""
    return not name.startswith(".") and not name.lower().endswith(_lower(acquisition.unfinished))


@cache
def _lower(endings: tuple[str, ...]) -> tuple[str, ...]:
    return tuple(ending.lower() for ending in endings)


def window(names: Sequence[str], after: str, limit: int) -> list[str]:
    """The next names to look at: at most `limit`, in a circle from `after`, so that each gets its turn."""
    ordered = sorted(names)
    start = next((place for place, name in enumerate(ordered) if name > after), 0)
    return (ordered[start:] + ordered[:start])[:limit]


def account(
    memory: Memory, manifests: Iterable[Manifest], receipts: Mapping[str, Mapping[str, Receipt]]
) -> Memory:
    """The memory after the receipts of published deliveries, by key: what the lake holds is known from now on.

    Each receipt is read once: a file that came later under the same name must not be taken for the earlier one.
    """
    known = dict(memory.known)
    published = [manifest for manifest in manifests if manifest.key in receipts]
    for manifest in sorted(published, key=lambda one: one.closed_at):
        if manifest.key not in memory.accounted:
            known.update(_accounted(manifest, receipts[manifest.key]))
    return replace(memory, known=known, accounted=tuple(manifest.key for manifest in published))


def remember(
    memory: Memory,
    present: Collection[str],
    looked_at: Sequence[str],
    seen: Mapping[str, Identity],
    sha256: Callable[[str], str | None],
    now: float,
) -> Memory:
    """The memory after one look: `present` are all names, `seen` what was found of those that were `looked_at`.

    A file that the lake holds is recognised by its identity. One that was renamed or touched since is recognised
    when `sha256`, which reads it, says that its content is the same; it gives None for a file that is gone.
    """
    names, looked = set(present), set(looked_at)
    known = _recognise(memory.known, names, seen, sha256)
    passed_over = names - looked
    unseen = {name: sight for name, sight in memory.sights.items() if name in passed_over}
    fresh = {
        name: _seen_again(memory.sights.get(name), identity, now)
        for name, identity in seen.items()
        if name not in known or known[name].identity != identity
    }
    went_round = len(looked) >= len(names) or looked_at[-1] <= memory.last_name
    rotations = memory.rotations + went_round
    return replace(
        memory,
        last_name=looked_at[-1] if looked_at else "",
        rotations=rotations,
        sights={**unseen, **fresh},
        known=_without_the_long_gone(known, names, rotations),
    )


def waiting(memory: Memory, claims: Iterable[Manifest], acquisition: Acquisition) -> list[Waiting]:
    """The settled files that no unpublished delivery claims, first come first; ties by name.

    Also a renamed file of such a delivery has to wait: whether it was read before is not known yet.
    """
    claimed = [(name, identity) for manifest in claims for name, identity in manifest.files.items()]
    names, files = {name for name, _ in claimed}, {identity.file for _, identity in claimed}
    free = [
        Waiting(name, sight, read_file_name(name, acquisition))
        for name, sight in memory.sights.items()
        if sight.looks >= acquisition.settle_ticks
        and name not in names
        and sight.identity.file not in files
        and not _is_known(memory, name, sight.identity)
    ]
    return sorted(free, key=lambda one: (one.sight.since, one.name))


def _accounted(manifest: Manifest, receipts: Mapping[str, Receipt]) -> dict[str, Known]:
    return {
        name: Known(manifest.files[name], receipt.sha256, manifest.key, receipt.whole)
        for name, receipt in receipts.items()
        if receipt.sha256 and receipt.outcome in ("taken", "repeated") and name in manifest.files
    }


def _recognise(
    known: Mapping[str, Known],
    present: Collection[str],
    seen: Mapping[str, Identity],
    sha256: Callable[[str], str | None],
) -> dict[str, Known]:
    recognised = dict(known)
    renamed = {
        one.identity.file: name
        for name, one in known.items()
        if name not in present or (name in seen and seen[name].file != one.identity.file)
    }
    for name, identity in seen.items():
        here = recognised.get(name)
        if here and here.identity == identity:
            continue
        was = name if here and here.identity.file == identity.file else renamed.get(identity.file)
        if was and was in recognised and sha256(name) == recognised[was].sha256:
            recognised[name] = recognised.pop(was)._replace(identity=identity, gone_since=None)
    return recognised


def _seen_again(before: Sight | None, identity: Identity, now: float) -> Sight:
    if before is None:
        return Sight(identity, looks=1, since=now)
    # A clock that was set back must not keep a file waiting.
    since = min(before.since, now)
    return Sight(identity, before.looks + 1 if before.identity == identity else 1, since)


def _without_the_long_gone(
    known: Mapping[str, Known], present: Collection[str], rotations: int
) -> dict[str, Known]:
    kept = {}
    for name, one in known.items():
        if name in present:
            kept[name] = one if one.gone_since is None else one._replace(gone_since=None)
        elif one.gone_since is None:
            kept[name] = one._replace(gone_since=rotations)
        elif rotations - one.gone_since < _ROTATIONS:
            kept[name] = one
    return kept


def _is_known(memory: Memory, name: str, identity: Identity) -> bool:
    return name in memory.known and memory.known[name].identity == identity
