"""Git trees by path: put objects in, list, compare, merge. Never by lines, and only into folders that differ.

A folder's *entries* are what it holds, by name; its path ends in `/`, or is empty for the root.
"""

from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping
from typing import NamedTuple

import pygit2
from pygit2.enums import FileMode

from resources.lake import Change


class _Entry(NamedTuple):
    id: pygit2.Oid
    is_folder: bool


_Entries = dict[str, _Entry]
_Sides = tuple[_Entries, _Entries, _Entries]
_NOTHING: _Entries = {}


def object_at(tree: pygit2.Tree, path: str) -> pygit2.Blob | None:
    """The object at `path`, None for a folder or nothing."""
    try:
        found = tree[path]
    except KeyError:
        return None
    # Git ignores a slash at the end.
    return found if isinstance(found, pygit2.Blob) and not path.endswith("/") else None


def paths_in(repo: pygit2.Repository, tree: pygit2.Tree, prefix: str) -> list[str]:
    """Every path that starts with `prefix`, sorted."""
    return sorted(change.path for change in _changes(repo, _NOTHING, _entries(tree), "", prefix))


def compare(repo: pygit2.Repository, before: pygit2.Tree, after: pygit2.Tree, prefix: str) -> list[Change]:
    """The paths that start with `prefix` and differ, sorted."""
    changes = _changes(repo, _entries(before), _entries(after), "", prefix)
    return sorted(changes, key=lambda change: change.path)


def put(repo: pygit2.Repository, tree: pygit2.Tree, objects: Mapping[str, pygit2.Oid]) -> pygit2.Oid:
    """The tree with `objects` put in by path. Raises ValueError where a file would be a folder too."""
    return _put(repo, _entries(tree), objects, "")


def without(repo: pygit2.Repository, tree: pygit2.Tree, paths: Iterable[str]) -> pygit2.Oid:
    """The tree without the files at `paths`, as far as there are any."""
    return _write(repo, _without(repo, _entries(tree), paths))


def merge(
    repo: pygit2.Repository, base: pygit2.Tree, ours: pygit2.Tree, theirs: pygit2.Tree
) -> tuple[pygit2.Oid, list[str]]:
    """The merged tree, and the paths in conflict: those that both sides changed, and differently."""
    conflicts: list[str] = []
    merged = _merge_folders(repo, (_entries(base), _entries(ours), _entries(theirs)), "", conflicts)
    return merged, conflicts


def _entries(tree: pygit2.Tree) -> _Entries:
    return {str(item.name): _Entry(item.id, isinstance(item, pygit2.Tree)) for item in tree}


def _inside(repo: pygit2.Repository, entry: _Entry | None) -> _Entries:
    """What the entry holds if it is a folder; a file and a missing entry hold nothing."""
    return _entries(repo[entry.id].peel(pygit2.Tree)) if entry and entry.is_folder else _NOTHING


def _write(repo: pygit2.Repository, entries: _Entries) -> pygit2.Oid:
    builder = repo.TreeBuilder()
    for name, entry in entries.items():
        builder.insert(name, entry.id, FileMode.TREE if entry.is_folder else FileMode.BLOB)
    return builder.write()


def _changes(
    repo: pygit2.Repository, before: _Entries, after: _Entries, folder: str, prefix: str
) -> Iterator[Change]:
    for name in before.keys() | after.keys():
        old, new, path = before.get(name), after.get(name), folder + name
        if old == new:
            continue
        inner = f"{path}/"
        if inner.startswith(prefix) or prefix.startswith(inner):
            yield from _changes(repo, _inside(repo, old), _inside(repo, new), inner, prefix)
        was_file, is_file = (bool(entry and not entry.is_folder) for entry in (old, new))
        if path.startswith(prefix) and (was_file or is_file):
            yield Change(path, "changed" if was_file and is_file else "added" if is_file else "removed")


def _put(
    repo: pygit2.Repository, entries: _Entries, objects: Mapping[str, pygit2.Oid], folder: str
) -> pygit2.Oid:
    filled = dict(entries)
    deeper: dict[str, dict[str, pygit2.Oid]] = defaultdict(dict)
    for path, blob in objects.items():
        name, _, rest = path.partition("/")
        if name in entries and entries[name].is_folder != bool(rest):
            raise ValueError(f"{folder}{name} would be a file and a folder with {folder}{path}")
        if rest:
            deeper[name][rest] = blob
        else:
            filled[name] = _Entry(blob, is_folder=False)
    for name, below in deeper.items():
        inner = _put(repo, _inside(repo, entries.get(name)), below, f"{folder}{name}/")
        filled[name] = _Entry(inner, is_folder=True)
    return _write(repo, filled)


def _without(repo: pygit2.Repository, entries: _Entries, paths: Iterable[str]) -> _Entries:
    kept = dict(entries)
    deeper: dict[str, list[str]] = defaultdict(list)
    for path in paths:
        name, _, rest = path.partition("/")
        if name in kept and kept[name].is_folder and rest:
            deeper[name].append(rest)
        elif not rest and not (name in kept and kept[name].is_folder):
            kept.pop(name, None)
    for name, below in deeper.items():
        # Git keeps no empty folders.
        if left := _without(repo, _inside(repo, kept.pop(name)), below):
            kept[name] = _Entry(_write(repo, left), is_folder=True)
    return kept


def _merge_folders(repo: pygit2.Repository, sides: _Sides, folder: str, conflicts: list[str]) -> pygit2.Oid:
    base, ours, theirs = sides
    merged: _Entries = {}
    for name in base.keys() | ours.keys() | theirs.keys():
        entries = (base.get(name), ours.get(name), theirs.get(name))
        if entry := _merge_entries(repo, *entries, folder + name, conflicts):
            merged[name] = entry
    return _write(repo, merged)


def _merge_entries(
    repo: pygit2.Repository,
    base: _Entry | None,
    ours: _Entry | None,
    theirs: _Entry | None,
    path: str,
    conflicts: list[str],
) -> _Entry | None:
    if theirs in {base, ours}:
        return ours
    if ours == base:
        return theirs
    if any(side and not side.is_folder for side in (ours, theirs)):
        conflicts.append(path)
        return ours
    sides = (_inside(repo, base), _inside(repo, ours), _inside(repo, theirs))
    merged = _merge_folders(repo, sides, f"{path}/", conflicts)
    # Git keeps no empty folders.
    return _Entry(merged, is_folder=True) if len(repo[merged].peel(pygit2.Tree)) else None
