"""The embedded lake: a bare Git repository of Git LFS pointers, with the bytes beside it in Git LFS's layout.

Plain Git may read the repository (`git log`, `git show`); only this module writes it. Nothing is visible
before a branch moves, and a branch moves only when all that it names is on disk.
"""

import ctypes
import errno
import hashlib
import json
import os
import re
import shutil
import sys
import threading
import uuid
import zlib
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import IO, Any

import pygit2
from filelock import FileLock
from pygit2.enums import ObjectType

from resources import git_trees
from resources.git_leftovers import Sweep, object_file
from resources.lake import (
    Change,
    Commit,
    Content,
    CrossedMergeError,
    DamagedError,
    LakeError,
    Leftover,
    MergeConflictError,
    RefExistsError,
    RefNotFoundError,
    chunks,
)
from resources.lake_names import MAIN, check_branch, check_paths, check_tag, check_writable

_BRANCHES = "refs/heads/"
_TAGS = "refs/tags/"
_COMMIT_ID = re.compile(r"[0-9a-f]{40}")
_METADATA = "\n\nLake-Metadata: "
_AUTHOR = ("cv-assets", "cv-assets@localhost")
_POINTER = "version https://git-lfs.github.com/spec/v1\noid sha256:{sha256}\nsize {size}\n"
_READ_ONLY = 0o444
_COPY_BYTES = 1 << 20
_LOCK_SECONDS = 300
_FEW_FILES = 100
_WRITERS = 4
# libgit2 keeps no tree over 4 KB in its cache, which makes reads by path from a large folder slow.
_CACHED_TREE_BYTES = 4 << 20

# A handle must cross neither threads nor a fork: one per thread, and within it per process.
_handles = threading.local()


@dataclass(frozen=True)
class GitLake:
    """The lake under the folder `root`, made on first use. Cheap to create, to copy and to pickle."""

    root: Path

    def init(self) -> list[str]:
        """Make the repository; a sentence when it was not there yet."""
        return [f"Made the embedded lake in {self.root}."] if self._ensure_repository() else []

    def check(self) -> None:
        """Raises DamagedError when a file of Git's own is cut short: libgit2 would wait for its end for ever."""
        self._repo()
        for file in self._git_dir.glob("objects/??/*"):
            if _is_cut_short(file.read_bytes()):
                raise DamagedError(f"{file} is cut short: restore it from a copy of the lake")

    def resolve(self, ref: str) -> str:
        """The commit id that `ref` names now. Raises RefNotFoundError."""
        return str(self._find(ref).id)

    def read(self, commit: str, path: str) -> bytes:
        """The object at `path` as of `commit`. Raises as `fetch` does."""
        return self.fetch(commit, path).read_bytes()

    def fetch(self, commit: str, path: str) -> Path:
        """The stored file itself, read-only.

        Raises FileNotFoundError, RefNotFoundError, and DamagedError when the stored file is lost or cut short.
        """
        sha256, size = self._pointer(commit, path)
        file = object_file(self._git_dir, sha256)
        if not file.is_file() or file.stat().st_size != size:
            raise _damaged(commit, path, file)
        return file

    def fetch_all(self, commit: str, paths: Iterable[str]) -> list[Path]:
        """The stored files themselves. Raises as `fetch` does."""
        return [self.fetch(commit, path) for path in paths]

    def sha256(self, commit: str, path: str) -> str:
        """The hash of the stored file, computed anew. Raises as `fetch` does, DamagedError for other bytes too."""
        file = self.fetch(commit, path)
        with file.open("rb") as stream:
            found = hashlib.file_digest(stream, "sha256").hexdigest()
        if found != self._pointer(commit, path)[0]:
            raise _damaged(commit, path, file)
        return found

    def sizes(self, commit: str, paths: Iterable[str]) -> dict[str, int]:
        """The size in bytes that was written, of those of `paths` that `commit` lists."""
        return {path: size for path, (_, size) in self._pointers(commit, paths).items()}

    def paths(self, commit: str, prefix: str = "") -> list[str]:
        """Every path as of `commit` that starts with `prefix`, sorted."""
        with self._intact():
            return git_trees.paths_in(self._repo(), self._find(commit).tree, prefix)

    def branches(self, prefix: str = "") -> dict[str, str]:
        """The commit each branch stands at, by name, for names that start with `prefix`."""
        return self._refs(_BRANCHES, prefix)

    def create_branch(self, name: str, source: str) -> None:
        """Cut `name` at `source`. A branch already standing exactly there is left as it is.

        Raises RefExistsError when it stands elsewhere, RefNotFoundError for `source`, ValueError for a bad
        name or one that differs from another branch's only by case.
        """
        check_branch(name)
        self._name_commit(_BRANCHES, name, self._find(source))

    def delete_branch(self, name: str) -> None:
        """Forget the branch; its commits stay readable. Raises RefNotFoundError, ValueError for `main`."""
        if name == MAIN:
            raise ValueError(f"{MAIN} is not deleted")
        self._head(name)
        with self._locked(_BRANCHES + name):
            self._head(name)
            self._repo().lookup_reference(_BRANCHES + name).delete()

    def commit(
        self,
        branch: str,
        files: Mapping[str, Content],
        message: str,
        metadata: Mapping[str, str],
        removed: Collection[str] = (),
    ) -> str:
        """Write all `files` onto `branch` in one commit, without `removed`, and return its id; all of it or nothing.

        Raises RefNotFoundError, ValueError for a bad path, one below or above a file, or an empty `files`,
        PermissionError for `main`.
        """
        check_paths(files, removed)
        check_writable(branch)
        self._head(branch)
        with self._room():
            written = self._store(files)
        with self._locked(_BRANCHES + branch):
            head = self._head(branch)
            tree = git_trees.put(self._repo(), head.tree, written)
            if removed:
                tree = git_trees.without(self._repo(), self._repo()[tree].peel(pygit2.Tree), removed)
            return self._advance(branch, tree, [head.id], message, metadata)

    def merge(self, source: str, branch: str, message: str, metadata: Mapping[str, str]) -> str:
        """Merge the commit `source` into `branch` as one merge commit and return its id.

        A source that brings nothing new changes nothing and returns the branch's head.

        Raises RefNotFoundError, MergeConflictError when both sides changed a path differently or one made a
        folder of the other's file, CrossedMergeError when both took in the same commits beside their base.
        """
        repo, theirs = self._repo(), self._find(source)
        self._head(branch)
        with self._locked(_BRANCHES + branch):
            ours = self._head(branch)
            base = repo[repo.merge_base(ours.id, theirs.id)].peel(pygit2.Commit)
            if _has_crossed(repo, ours.id, theirs.id, base.id):
                raise CrossedMergeError(str(theirs.id), branch)
            tree, conflicts = git_trees.merge(repo, base.tree, ours.tree, theirs.tree)
            if conflicts:
                raise MergeConflictError(branch, conflicts)
            if tree == ours.tree_id:
                return str(ours.id)
            return self._advance(branch, tree, [ours.id, theirs.id], message, metadata)

    def tag(self, name: str, commit: str) -> None:
        """Name a commit for good; the same again is no change.

        Raises RefExistsError when it names another, RefNotFoundError for `commit`, ValueError for a bad name.
        """
        check_tag(name)
        self._name_commit(_TAGS, name, self._find(commit))

    def delete_tag(self, name: str) -> None:
        """Forget the tag; its commit stays readable. Raises RefNotFoundError."""
        self._must_have_tag(name)
        with self._locked(_TAGS + name):
            self._must_have_tag(name)
            self._repo().lookup_reference(_TAGS + name).delete()

    def tags(self, prefix: str = "") -> dict[str, str]:
        """The commit of each tag, by name, for names that start with `prefix`."""
        return self._refs(_TAGS, prefix)

    def diff(self, base: str, ref: str, prefix: str = "") -> list[Change]:
        """What `ref` holds otherwise than `base`, path by path, sorted."""
        with self._intact():
            return git_trees.compare(self._repo(), self._find(base).tree, self._find(ref).tree, prefix)

    def log(self, ref: str, path: str = "") -> Iterator[Commit]:
        """Commits from `ref` back along first parents, newest first.

        With `path`, those that changed the object there. Raises RefNotFoundError.
        """
        return self._history(self._find(ref), path)

    def sweep(self, older_than: datetime, *, dry_run: bool = False) -> list[Leftover]:
        """Remove what killed writers left in the folder and last changed before `older_than`."""
        repo = self._repo()

        def is_pointed_to(sha256: str, size: int) -> bool:
            return pygit2.hash(_pointer_to(sha256, size)) in repo

        sweep = Sweep(self.root, self._git_dir, self._lock, self._locked, is_pointed_to, older_than, dry_run)
        return list(sweep.all())

    def erase(
        self, commit: str, paths: Iterable[str], older_than: datetime, *, dry_run: bool = False
    ) -> list[Leftover]:
        """Erase the stored files of `paths` as of `commit`; what was written since `older_than` waits."""
        sweep = Sweep(
            self.root, self._git_dir, self._lock, self._locked, lambda *_: False, older_than, dry_run
        )
        named = self._pointers(commit, paths).items()
        return [found for path, (sha256, _) in named for found in sweep.erase(path, sha256)]

    def url(self, commit: str, path: str = "") -> str:
        """The stored file of one object, or the repository with the commit id behind `#`."""
        if path:
            return self.fetch(commit, path).resolve().as_uri()
        return f"{self._git_dir.resolve().as_uri()}#{self.resolve(commit)}"

    @property
    def _git_dir(self) -> Path:
        return self.root / "repo.git"

    def _repo(self) -> pygit2.Repository:
        opened: dict[tuple[int, Path], pygit2.Repository] = _handles.__dict__.setdefault("opened", {})
        key = (os.getpid(), self.root)
        if key not in opened:
            self._ensure_repository()
            pygit2.settings.cache_object_limit(ObjectType.TREE, _CACHED_TREE_BYTES)
            opened[key] = pygit2.Repository(str(self._git_dir))
        return opened[key]

    def _ensure_repository(self) -> bool:
        """Whether it was made: under another name and renamed, so that nobody opens half a repository."""
        if self._git_dir.is_dir():
            return False
        with self._room(), self._lock("create"):
            if self._git_dir.is_dir():
                return False
            unfinished = self.root / "unfinished.git"
            shutil.rmtree(unfinished, ignore_errors=True)
            _create_repository(unfinished)
            _sync(unfinished)
            unfinished.rename(self._git_dir)
            return True

    def _pointer(self, commit: str, path: str) -> tuple[str, int]:
        """The sha256 and the size in bytes that were written."""
        with self._intact():
            pointer = git_trees.object_at(self._find(commit).tree, path)
            if pointer is None:
                raise FileNotFoundError(f"{commit} holds no object at {path!r}")
            return _parse_pointer(pointer.data)

    def _pointers(self, commit: str, paths: Iterable[str]) -> dict[str, tuple[str, int]]:
        """As `_pointer`, by path; without those that are not there."""
        with self._intact():
            tree = self._find(commit).tree
            found = ((path, git_trees.object_at(tree, path)) for path in paths)
            return {path: _parse_pointer(pointer.data) for path, pointer in found if pointer}

    def _history(self, newest: pygit2.Commit, path: str) -> Iterator[Commit]:
        with self._intact():
            yield from _history(newest, path)

    @contextmanager
    def _intact(self) -> Iterator[None]:
        """Around reads of what Git stores itself: that one of its files is rotten or lost is said, with its name."""
        try:
            yield
        except (pygit2.GitError, KeyError) as error:
            raise DamagedError(
                f"{_damaged_file(self._git_dir, str(error))} is damaged or lost ({error}): restore it from a copy of "
                "the lake"
            ) from error

    def _find(self, ref: str) -> pygit2.Commit:
        with self._intact():
            if _COMMIT_ID.fullmatch(ref) and isinstance(commit := self._repo().get(ref), pygit2.Commit):
                return commit
        named = self._target(_BRANCHES + ref) or self._target(_TAGS + ref)
        if named is None:
            raise RefNotFoundError(f"no branch, tag or commit {ref!r} in {self.root}")
        return named

    def _head(self, branch: str) -> pygit2.Commit:
        head = self._target(_BRANCHES + branch)
        if head is None:
            raise RefNotFoundError(f"no branch {branch!r} in {self.root}")
        return head

    def _must_have_tag(self, name: str) -> None:
        if self._target(_TAGS + name) is None:
            raise RefNotFoundError(f"no tag {name!r} in {self.root}")

    def _refs(self, kind: str, prefix: str) -> dict[str, str]:
        # By their text: a commit that cannot be read is no reason to show no branch.
        with self._intact():
            references = self._repo().references.iterator()
            found = {ref.name: str(ref.target) for ref in references if ref.name.startswith(kind + prefix)}
        return {name.removeprefix(kind): commit for name, commit in sorted(found.items())}

    def _target(self, ref: str) -> pygit2.Commit | None:
        repo = self._repo()
        try:
            commit = repo.lookup_reference(ref).target
        except (KeyError, ValueError):  # ValueError: no ref can have that name
            return None
        except pygit2.GitError as error:
            raise DamagedError(
                f"{self._git_dir / ref} is damaged ({error}): write the id of its newest commit into it"
            ) from error
        with self._intact():
            return repo[commit].peel(pygit2.Commit)

    def _name_commit(self, kind: str, name: str, commit: pygit2.Commit) -> None:
        other_kind = _TAGS if kind == _BRANCHES else _BRANCHES
        # Both, and in one order: one name is never a branch and a tag.
        with self._locked(_BRANCHES + name), self._locked(_TAGS + name):
            if self._target(other_kind + name):
                raise RefExistsError(f"{name} names a {'tag' if kind == _BRANCHES else 'branch'} already")
            standing = self._refs(kind, "")
            # A file system that ignores case would keep both in one file.
            if alike := [
                other for other in standing if other != name and other.casefold() == name.casefold()
            ]:
                raise ValueError(f"{name!r} differs from {alike[0]!r} only by case")
            if standing.get(name, str(commit.id)) != str(commit.id):
                raise RefExistsError(f"{name} stands at {standing[name]}, not at {commit.id}")
            if name not in standing:
                self._move(kind + name, commit.id)

    def _advance(
        self,
        branch: str,
        tree: pygit2.Oid,
        parents: list[pygit2.Oid],
        message: str,
        metadata: Mapping[str, str],
    ) -> str:
        commit = _write_commit(self._repo(), tree, parents, message, metadata)
        self._move(_BRANCHES + branch, commit)
        return str(commit)

    def _move(self, ref: str, commit: pygit2.Oid) -> None:
        """Git's own way to write a ref, by hand: libgit2 would sync every single object or not even the ref.

        The caller holds the ref's lock. What the commit holds is on disk before the ref names it.
        """
        file = self._git_dir / ref
        unfinished = file.with_name(f"{file.name}.lock")
        try:
            with unfinished.open("x") as stream:
                stream.write(f"{commit}\n")
            _sync(self._git_dir)
            unfinished.replace(file)
        except BaseException:
            unfinished.unlink(missing_ok=True)
            raise
        _sync_names(file.parent)

    def _lock(self, name: str) -> FileLock:
        """The kernel frees it when its holder dies. One per call, so that threads exclude each other."""
        folder = self.root / "locks"
        folder.mkdir(parents=True, exist_ok=True)
        return FileLock(
            folder / f"{name}.lock", timeout=_LOCK_SECONDS, poll_interval=0.005, fallback_to_soft=False
        )

    @contextmanager
    def _locked(self, ref: str) -> Iterator[None]:
        with self._room(), self._lock(ref.replace("/", "-").casefold()):
            # Git's own lock, left behind by a killed holder, would stop everybody for good.
            (self._git_dir / f"{ref}.lock").unlink(missing_ok=True)
            yield

    @contextmanager
    def _room(self) -> Iterator[None]:
        """Around writing: that the disk is full is said in a sentence."""
        try:
            yield
        except (OSError, pygit2.GitError) as error:
            if not _is_full(error):
                raise
            raise LakeError(
                f"The disk of the lake in {self.root} is full: make room there, then re-execute the run from failure. "
                "Nothing is half published."
            ) from error

    def _store(self, files: Mapping[str, Content]) -> dict[str, pygit2.Oid]:
        """The pointer to each content, by path."""
        repo, folder = self._repo(), self._git_dir / "lfs" / "tmp"
        folder.mkdir(parents=True, exist_ok=True)
        with _in_turn_or_together(len(files)) as mapped:
            kept = mapped(lambda content: self._keep(content, folder / uuid.uuid4().hex), files.values())
            return {path: repo.create_blob(_pointer_to(*one)) for path, one in zip(files, kept, strict=True)}

    def _keep(self, content: Content, unfinished: Path) -> tuple[str, int]:
        """The sha256 and the size. Known bytes are written again, which heals a damaged file and makes it look new."""
        try:
            with open(unfinished, "xb", opener=_open_read_only) as stream:
                sha256, size = _copy(content, stream)
            _move_into(object_file(self._git_dir, sha256), unfinished)
        except BaseException:
            unfinished.unlink(missing_ok=True)
            raise
        return sha256, size


def _create_repository(folder: Path) -> None:
    repo = pygit2.init_repository(str(folder), bare=True, initial_head=MAIN)
    # Git's own clean-up would drop what no branch reaches, and refused data is to stay readable.
    repo.config["gc.auto"] = 0
    first = _write_commit(repo, repo.TreeBuilder().write(), [], "Empty lake", {})
    repo.create_reference_direct(_BRANCHES + MAIN, first, False)


def _write_commit(
    repo: pygit2.Repository,
    tree: pygit2.Oid,
    parents: list[pygit2.Oid],
    message: str,
    metadata: Mapping[str, str],
) -> pygit2.Oid:
    """Metadata is a line of JSON for `git log --format='%(trailers:key=Lake-Metadata,valueonly)'`."""
    author = pygit2.Signature(*_AUTHOR)
    text = f"{message.strip()}{_METADATA}{json.dumps(dict(metadata), sort_keys=True)}\n"
    return repo.create_commit(None, author, author, text, tree, parents)


def _parse_commit(commit: pygit2.Commit) -> Commit:
    # libgit2 leaves out leading newlines, which an empty message makes.
    message, _, metadata = f"\n\n{commit.message}".rpartition(_METADATA)
    return Commit(
        id=str(commit.id),
        parents=tuple(str(parent) for parent in commit.parent_ids),
        message=message.strip(),
        metadata=json.loads(metadata),
        created_at=datetime.fromtimestamp(commit.commit_time, UTC),
    )


def _history(newest: pygit2.Commit, path: str) -> Iterator[Commit]:
    commit: pygit2.Commit | None = newest
    while commit:
        parent = commit.parents[0] if commit.parents else None
        if not path or _object_id(commit, path) != _object_id(parent, path):
            yield _parse_commit(commit)
        commit = parent


def _has_crossed(repo: pygit2.Repository, ours: pygit2.Oid, theirs: pygit2.Oid, base: pygit2.Oid) -> bool:
    """Whether they have a common ancestor that is not behind `base`."""
    if base in {ours, theirs}:
        return False
    since = ({commit.id for commit in _since(repo, tip, base)} for tip in (ours, theirs))
    # A walk goes by time, and may pass a hidden commit where clocks differ.
    return any(not repo.descendant_of(base, common) for common in set.intersection(*since))


def _since(repo: pygit2.Repository, tip: pygit2.Oid, base: pygit2.Oid) -> Iterator[pygit2.Commit]:
    walker = repo.walk(tip)
    walker.hide(base)
    return iter(walker)


def _object_id(commit: pygit2.Commit | None, path: str) -> pygit2.Oid | None:
    found = git_trees.object_at(commit.tree, path) if commit else None
    return found.id if found else None


def _is_full(error: OSError | pygit2.GitError) -> bool:
    """libgit2 keeps the number of an error to itself, and gives its words."""
    full = (errno.ENOSPC, errno.EDQUOT)
    return getattr(error, "errno", None) in full or any(os.strerror(one) in str(error) for one in full)


def _damaged_file(git_dir: Path, said: str) -> Path:
    """The file of the object that libgit2 names in what it said; the folder of all where it names none."""
    found = re.search("[0-9a-f]{40}", said)
    return git_dir / "objects" / found[0][:2] / found[0][2:] if found else git_dir / "objects"


def _damaged(commit: str, path: str, file: Path) -> DamagedError:
    return DamagedError(
        f"the bytes of {path!r} as of {commit} are damaged or lost: restore {file} from a copy of the lake, or "
        "write the same bytes again"
    )


def _pointer_to(sha256: str, size: int) -> bytes:
    return _POINTER.format(sha256=sha256, size=size).encode()


def _is_cut_short(compressed: bytes) -> bool:
    stream = zlib.decompressobj()
    try:
        stream.decompress(compressed)
    except zlib.error:  # other damage, which libgit2 tells
        return False
    return not stream.eof


def _parse_pointer(pointer: bytes) -> tuple[str, int]:
    fields = dict(line.split(" ", 1) for line in pointer.decode().splitlines())
    return fields["oid"].removeprefix("sha256:"), int(fields["size"])


def _copy(content: Content, stream: IO[bytes]) -> tuple[str, int]:
    """Copies into `stream`. The sha256 and the number of bytes."""
    digest, size = hashlib.sha256(), 0
    for chunk in chunks(content, _COPY_BYTES):
        stream.write(chunk)
        digest.update(chunk)
        size += len(chunk)
    return digest.hexdigest(), size


@contextmanager
def _in_turn_or_together(count: int) -> Iterator[Callable[..., Iterator[Any]]]:
    """A `map`: of many files, a few are on their way at once, as each mostly waits for the disk."""
    if count <= _FEW_FILES:
        yield map
        return
    with ThreadPoolExecutor(_WRITERS) as pool:
        yield pool.map


def _open_read_only(path: str, flags: int) -> int:
    """For others: who makes the file may write as long as it is open."""
    return os.open(path, flags, _READ_ONLY)


def _move_into(place: Path, file: Path) -> None:
    try:
        file.replace(place)
    except FileNotFoundError:  # the first one of its folder
        place.parent.mkdir(parents=True, exist_ok=True)
        file.replace(place)


def _sync(folder: Path) -> None:
    """Put all that was written to the folder's file system on disk; on Windows, which cannot, nothing."""
    if sys.platform != "linux":
        if hasattr(os, "sync"):
            os.sync()
        return
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        if ctypes.CDLL(None, use_errno=True).syncfs(descriptor):
            raise OSError(ctypes.get_errno(), "syncfs failed", str(folder))
    finally:
        os.close(descriptor)


def _sync_names(folder: Path) -> None:
    """Put what was renamed in the folder on disk: a small part of what `_sync` waits for, where others write too."""
    if sys.platform != "linux":
        return _sync(folder)
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
