"""Moving the embedded lake to lakeFS: every commit again as it was, then every branch and tag where it stood.

A commit keeps its parents, words and time, but not its id: the old one goes on to name it. That name is set last, so
that a move which was cut off, or comes after new publications, goes on with the commits that have none yet.
"""

import time
import uuid
from collections.abc import Callable, Collection, Iterable, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from graphlib import TopologicalSorter

from resources.deployments import Deployment, open_lake
from resources.git_lake import GitLake
from resources.lake import Change, Commit, DamagedError, Lake, LakeError, RefNotFoundError
from resources.lake_names import MAIN
from resources.lakefs_lake import HOOKS, LakeFSLake
from resources.lakefs_records import make_bare, must_stand, set_branch, used_meanwhile, write_commit
from resources.let_go import let_go
from resources.tables import served

_THREADS = 8
_TOLD_EVERY = 100


@dataclass(frozen=True)
class Moved:
    """What one move did. Objects and bytes are those sent, each read back and found equal."""

    commits: int
    known: int
    objects: int
    size_bytes: int
    branches: int
    tags: int
    seconds: float

    def __str__(self) -> str:
        """The report for people."""
        return (
            f"Moved {self.commits} commits ({self.known} were there) with {self.objects} objects of "
            f"{self.size_bytes / 1e6:.1f} MB, read back and equal, in {self.seconds:.1f} s; {self.branches} branches "
            f"and {self.tags} tags stand where they stood."
        )


@dataclass(frozen=True)
class Refs:
    """The branches and tags of a lake, and the commits they stand at."""

    branches: Mapping[str, str]
    tags: Mapping[str, str]

    def heads(self) -> set[str]:
        """All the commits."""
        return set(self.named().values())

    def named(self) -> dict[str, str]:
        """The commits by name: no branch is called as a tag is."""
        return {**self.branches, **self.tags}

    def mapped(self, copies: Mapping[str, str]) -> "Refs":
        """The same names at the copies of their commits."""
        return Refs(
            {name: copies[commit] for name, commit in self.branches.items()},
            {name: copies[commit] for name, commit in self.tags.items()},
        )


def embedded(deployment: Deployment) -> GitLake:
    """The lake in the data folder, whatever the environment names. Raises LakeError when there is none."""
    folder = deployment.embedded_lake
    if not folder.is_dir():
        raise LakeError(f"There is no embedded lake {folder}: set CV_DATA to the data folder that has it.")
    return GitLake(folder)


def server(deployment: Deployment) -> LakeFSLake:
    """The lakeFS that the environment names. Raises LakeError when it names none."""
    lake = open_lake(deployment)
    if not isinstance(lake, LakeFSLake):
        raise LakeError("Nothing says where to move to: set LAKEFS_ENDPOINT and the two keys of that lakeFS.")
    return lake


def move(source: Lake, target: LakeFSLake, tell: Callable[[str], None] = lambda _: None) -> Moved:
    """Bring all that the branches and tags of `source` reach to `target`; what is there already is not sent again.

    What retention let go of stays behind: no copied commit lists it. `tell` hears how far it is. Raises LakeError when
    `target` holds work of its own, or gets some meanwhile; DamagedError when an object is lost in `source` or arrives
    otherwise than it was sent.
    """
    started, refs = time.monotonic(), standing(source)
    make_bare(target)
    copies = target.moved()
    known = len(copies)
    checked = standing(target)
    _must_be_a_copy(source, target, checked, copies)
    missing = history(source, refs.heads(), copies)
    gone = let_go(source)
    objects = size_bytes = 0
    for number, commit in enumerate(missing, start=1):
        brought = _bring(source, target, commit, copies, gone)
        objects, size_bytes = objects + len(brought), size_bytes + sum(brought.values())
        if number % _TOLD_EVERY == 0:
            tell(f"{number} of {len(missing)} commits, {time.monotonic() - started:.0f} s")
    _set_refs(target, checked, refs.mapped(copies), set(copies.values()))
    seconds = time.monotonic() - started
    return Moved(len(missing), known, objects, size_bytes, len(refs.branches), len(refs.tags), seconds)


def standing(lake: Lake) -> Refs:
    """All branches and tags of the lake, but for the branches that a step works on and deletes."""
    branches = {name: head for name, head in lake.branches().items() if not _passes(name)}
    return Refs(branches, lake.tags())


def _passes(branch: str) -> bool:
    serving = served(branch)
    return serving is not None and serving.kind == "work"


def history(lake: Lake, heads: Iterable[str], known: Collection[str] = ()) -> list[Commit]:
    """The commits that `heads` reach, parents first; what `known` names is left out, with all behind it."""
    found: dict[str, Commit] = {}
    ahead = sorted(heads)
    while ahead:
        newest = ahead.pop()
        if newest not in found and newest not in known:
            found[newest] = next(lake.log(newest))
            ahead += found[newest].parents
    order = TopologicalSorter({commit.id: commit.parents for commit in found.values()}).static_order()
    return [found[commit] for commit in order if commit in found]


def _must_be_a_copy(source: Lake, target: LakeFSLake, refs: Refs, copies: Mapping[str, str]) -> None:
    """Refuses a repository that somebody worked in: that work would be lost to its branches."""
    old = {copy: commit for commit, copy in copies.items()}
    below = {name: _copy_below(target, head, old) for name, head in refs.branches.items()}
    used = [name for name, commit in below.items() if commit is None]
    used += [name for name, commit in refs.tags.items() if commit not in old]
    main = old.get(below.get(MAIN) or "")
    if used or (main and not _holds(source, main)):
        what = f"others than this lake's commits on {', '.join(sorted(used))}" if used else "another lake"
        raise LakeError(
            f"The repository {target.repository} on {target.endpoint} holds {what}: name an empty one in "
            "LAKEFS_REPOSITORY and move again."
        )


def _copy_below(target: LakeFSLake, ref: str, copies: Collection[str]) -> str | None:
    """The copied commit, or the repository's own first one, that `ref` stands at but for hooks; None when at others."""
    if ref in copies:
        return ref
    below = next(commit.id for commit in target.log(ref) if commit.id in copies or not commit.parents)
    changes = target.diff(below, ref)
    return below if all(change.path.startswith(HOOKS) for change in changes) else None


def _holds(lake: Lake, commit: str) -> bool:
    try:
        return bool(lake.resolve(commit))
    except RefNotFoundError:
        return False


def _bring(
    source: Lake, target: LakeFSLake, commit: Commit, copies: dict[str, str], gone: Collection[str]
) -> dict[str, int]:
    """Copy the commit and enter it in `copies`; the size in bytes of each object that was sent, by path."""
    sent: dict[str, int] = {}
    parent, changes = _nearest(source, commit)
    changes = [change for change in changes if change.kind == "removed" or change.path not in gone]
    state = copies.get(parent)
    if state and changes:
        state, sent = _send(source, target, commit.id, state, changes)
    copy = write_commit(target, commit, [copies[parent] for parent in commit.parents], state)
    target.moved_to(commit.id, copy)
    copies[commit.id] = copy
    return sent


def _nearest(source: Lake, commit: Commit) -> tuple[str, list[Change]]:
    """The parent that the commit differs least from, and how: a merge often not at all from what it took in."""
    differences = [(parent, source.diff(parent, commit.id)) for parent in commit.parents]
    return min(differences, key=lambda difference: len(difference[1]), default=("", []))


def _send(
    source: Lake, target: LakeFSLake, commit: str, parent: str, changes: list[Change]
) -> tuple[str, dict[str, int]]:
    """A commit of `target` with the files of `commit`, which differs from `parent` by `changes`."""
    branch = f"work-move-{uuid.uuid4().hex[:8]}"
    files = {change.path: source.fetch(commit, change.path) for change in changes if change.kind != "removed"}
    removed = [change.path for change in changes if change.kind == "removed"]
    target.create_branch(branch, parent)
    try:
        state = target.commit(branch, files, f"The files of {commit}", {}, removed)
    finally:
        target.delete_branch(branch)
    _must_equal(source, target, commit, state, changes, target.diff(parent, state))
    return state, {path: file.stat().st_size for path, file in files.items()}


def _must_equal(
    source: Lake, target: LakeFSLake, commit: str, copy: str, sent: list[Change], arrived: list[Change]
) -> None:
    # What was let go never arrived, so that nothing is there to be removed.
    sent, arrived = ([one for one in some if one.kind != "removed"] for some in (sent, arrived))
    paths = [change.path for change in sent]
    with ThreadPoolExecutor(_THREADS) as pool:
        before = list(pool.map(lambda path: source.sha256(commit, path), paths))
        after = list(pool.map(lambda path: target.sha256(copy, path), paths))
    if other := [path for path, was, is_now in zip(paths, before, after, strict=True) if was != is_now]:
        raise DamagedError(f"{other[0]!r} of {commit} arrived otherwise than it was sent: move again")
    if sent != arrived:
        raise LakeError(f"{commit} changes {len(sent)} paths, but {len(arrived)} arrived: move again")


def _set_refs(target: LakeFSLake, checked: Refs, wanted: Refs, copies: Collection[str]) -> None:
    """What is gone since an earlier move goes too; `main` comes last, when all that it stands for is there."""
    now = standing(target)
    stale = _stale(target, now, wanted, copies)
    _must_be_as_checked(target, stale, checked.named())
    for name in stale.keys() - (now.branches.keys() & wanted.branches.keys()):
        must_stand(target, name, stale[name])
        (target.delete_tag if name in now.tags else target.delete_branch)(name)
    for name, commit in sorted(wanted.branches.items(), key=lambda ref: ref[0] == MAIN):
        if name in stale or name not in now.branches:
            set_branch(target, name, commit, now.branches.get(name))
    for name, commit in wanted.tags.items():
        target.tag(name, commit)


def _must_be_as_checked(target: LakeFSLake, stale: Mapping[str, str], checked: Mapping[str, str]) -> None:
    for name, head in stale.items():
        if checked.get(name) != head:
            raise used_meanwhile(target, name)


def _stale(target: LakeFSLake, now: Refs, wanted: Refs, copies: Collection[str]) -> dict[str, str]:
    """The commits of the refs that stand otherwise than wanted."""
    goal = wanted.named()
    return {
        name: head
        for name, head in now.named().items()
        if name not in goal or _copy_below(target, head, copies) != goal[name]
    }
