"""The lake: one repository of commits, branches and tags over tables and bytes.

A *ref* is a branch, a tag or a commit id. A *path* is a key such as `tables/label_table.parquet`: relative,
`/` between segments, no empty, `.` or `..` segment; `a` and `a/b` never exist together. A branch name is
`[A-Za-z0-9_-]+`; a tag may hold dots too; one name is never both, nor looks like a commit id. Reads name a
commit, so nothing that moves can change what was read.
"""

from collections.abc import Collection, Iterable, Iterator, Mapping
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Literal, Protocol

Content = Path | bytes
"""What is written under a path: a local file (not modified, not kept) or the bytes themselves."""


class LakeError(RuntimeError):
    """What the lake cannot do now, in a sentence that says what a person can do."""


class LakeUnreachableError(LakeError):
    """The server does not answer, or not in time. Nothing is half done that a repetition would not finish."""


class CrossedMergeError(LakeError):
    """Both histories took in the same commits beside their base: no single common ancestor tells who changed what."""

    def __init__(self, source: str, branch: str) -> None:
        self.branch = branch
        super().__init__(
            f"commit {source[:12]} and {branch} took in the same commits by different merges, so that a merge could "
            f"lose an update: cut a new branch from {branch}, write the changes there and merge that"
        )


class DamagedError(LakeError, OSError):
    """The stored bytes are not those that were written, or are lost: as from a disk that cannot read them."""


class RefNotFoundError(LookupError):
    """There is no such branch, tag or commit."""


class RefExistsError(ValueError):
    """A branch or tag of that name exists and points elsewhere, or the name is of the other kind."""


class MergeConflictError(RuntimeError):
    """Both sides changed the same paths since they parted; nothing was merged."""

    def __init__(self, branch: str, paths: Iterable[str]) -> None:
        self.branch = branch
        self.paths = tuple(sorted(paths))
        super().__init__(f"{branch} changed meanwhile: {', '.join(self.paths) or 'unknown paths'}")


@dataclass(frozen=True)
class Commit:
    """One state of the whole lake."""

    id: str
    parents: tuple[str, ...]
    message: str
    metadata: Mapping[str, str]
    created_at: datetime


ChangeKind = Literal["added", "changed", "removed"]
"""How a path, or a row of a table, of one state differs from another's."""


@dataclass(frozen=True)
class Change:
    """How one path differs between two refs."""

    path: str
    kind: ChangeKind


LeftoverKind = Literal[
    "work branch", "refused branch", "unfinished file", "lock", "object", "repository", "uncommitted", "cache"
]
"""What a killed process left; `uncommitted` is a change that is staged on `main`."""

Outcome = Literal["swept", "would go", "waits", "kept"]
"""What a sweep made of a thing: it is gone, a dry run would take it, a later sweep decides, no sweep takes it."""


@dataclass(frozen=True)
class Leftover:
    """What a killed process left in a lake's own storage, where no ref shows it, and what a sweep made of it."""

    kind: LeftoverKind
    name: str
    size_bytes: int
    changed_at: datetime | None
    why: str
    outcome: Outcome


class Lake(Protocol):
    """What every lake does. Each implementation passes tests/resources/test_lake.py."""

    def init(self) -> list[str]:
        """Make the lake and lock `main` as far as not done yet; a sentence for each thing done.

        Every first use makes the lake too; only this installs what needs a merge of its own.
        """
        ...

    def check(self) -> None:
        """Raises DamagedError when the lake's own records are cut short: reading them might never end."""
        ...

    def resolve(self, ref: str) -> str:
        """The commit id that `ref` names now. Raises RefNotFoundError."""
        ...

    def read(self, commit: str, path: str) -> bytes:
        """The object at `path` as of `commit`. Raises FileNotFoundError, RefNotFoundError."""
        ...

    def fetch(self, commit: str, path: str) -> Path:
        """A local, read-only file with the object at `path` as of `commit`: to be mapped, never changed or moved.

        Raises DamagedError when the bytes are lost or cut short, FileNotFoundError, RefNotFoundError.
        """
        ...

    def fetch_all(self, commit: str, paths: Iterable[str]) -> list[Path]:
        """As `fetch`, for each of `paths` in their order: of thousands, much sooner than one by one."""
        ...

    def sha256(self, commit: str, path: str) -> str:
        """The hash of the object at `path` as of `commit`, its stored bytes read anew, past any cache.

        Raises DamagedError when they are not what was written, FileNotFoundError, RefNotFoundError.
        """
        ...

    def sizes(self, commit: str, paths: Iterable[str]) -> dict[str, int]:
        """The size in bytes that was written, of those of `paths` that `commit` lists. Raises RefNotFoundError."""
        ...

    def paths(self, commit: str, prefix: str = "") -> list[str]:
        """Every path as of `commit` that starts with `prefix`, sorted."""
        ...

    def branches(self, prefix: str = "") -> dict[str, str]:
        """The commit each branch stands at, by name, for names that start with `prefix`."""
        ...

    def create_branch(self, name: str, source: str) -> None:
        """Cut `name` at `source`. A branch already standing exactly there is left as it is.

        Raises RefExistsError when it stands elsewhere or a tag has that name, RefNotFoundError for `source`,
        ValueError for a bad name.
        """
        ...

    def delete_branch(self, name: str) -> None:
        """Forget the branch; its commits stay readable. Raises RefNotFoundError."""
        ...

    def commit(
        self,
        branch: str,
        files: Mapping[str, Content],
        message: str,
        metadata: Mapping[str, str],
        removed: Collection[str] = (),
    ) -> str:
        """Write all `files` onto `branch` in one commit and return its id; all of them or none.

        The same commit no longer lists the paths `removed`; earlier ones do. A path that is not there is no mistake.

        Raises RefNotFoundError, ValueError for a bad path, one both in `files` and in `removed`, or an empty `files`,
        PermissionError for `main`, which only takes merges.
        """
        ...

    def merge(self, source: str, branch: str, message: str, metadata: Mapping[str, str]) -> str:
        """Merge the commit `source` into `branch` as one merge commit and return its id.

        A source that brings nothing new changes nothing and returns the branch's head, so that a merge whose
        answer was lost can be repeated. Raises MergeConflictError when both sides changed a path differently,
        CrossedMergeError when the two histories have more than one newest common ancestor.
        """
        ...

    def tag(self, name: str, commit: str) -> None:
        """Name a commit for good; the same again is no change.

        Raises RefExistsError when it names another or a branch has that name.
        """
        ...

    def delete_tag(self, name: str) -> None:
        """Forget the tag of an experiment; its commit stays readable. Raises RefNotFoundError."""
        ...

    def tags(self, prefix: str = "") -> dict[str, str]:
        """The commit of each tag, by name, for names that start with `prefix`."""
        ...

    def diff(self, base: str, ref: str, prefix: str = "") -> list[Change]:
        """What `ref` holds otherwise than `base`, path by path (two dots: the states, not their ancestor), sorted."""
        ...

    def log(self, ref: str, path: str = "") -> Iterator[Commit]:
        """Commits from `ref` back along first parents, newest first; with `path`, those that changed the object there.

        Raises RefNotFoundError.
        """
        ...

    def sweep(self, older_than: datetime, *, dry_run: bool = False) -> list[Leftover]:
        """Remove what killed processes left in storage, beside branches, and last changed before `older_than`.

        What commits hold stays, also of those that no branch reaches. A dry run removes nothing. What only a person
        can remove is said too.
        """
        ...

    def erase(
        self, commit: str, paths: Iterable[str], older_than: datetime, *, dry_run: bool = False
    ) -> list[Leftover]:
        """Erase for good the bytes that `paths` name as of `commit`, whoever else may name them; again changes nothing.

        Only what is still there is in the answer, under its path: what goes, what waits because it was written since
        `older_than`, perhaps by somebody who needs it, and what is not in our power. Commits go on listing the paths.
        """
        ...

    def url(self, commit: str, path: str = "") -> str:
        """Where a person looks at that state, or at one object of it."""
        ...


def chunks(content: Content, size: int) -> Iterator[bytes]:
    """The content piece by piece: a file in pieces of at most `size` bytes, bytes as they are."""
    if isinstance(content, bytes):
        yield content
        return
    with content.open("rb") as stream:
        while chunk := stream.read(size):
            yield chunk
