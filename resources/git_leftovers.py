"""What killed processes leave in the folder of the embedded lake, and how it is removed while others write there.

Nothing of it is visible in any commit. What is younger than a grace period may belong to a writer at work and is
passed over. Bytes of commits that no branch reaches any more are no leftovers: they stay readable.
"""

import contextlib
import hashlib
import shutil
from collections.abc import Callable, Iterable, Iterator
from contextlib import AbstractContextManager
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Final

from filelock import FileLock, Timeout

from resources.lake import Leftover, LeftoverKind, Outcome

_OBJECT_NAME: Final = "[0-9a-f]" * 64
_ASIDE: Final = "swept-"


def object_file(git_dir: Path, sha256: str) -> Path:
    """Where Git LFS keeps the bytes of that hash."""
    return git_dir / f"lfs/objects/{sha256[:2]}/{sha256[2:4]}/{sha256}"


@dataclass(frozen=True)
class Sweep:
    """One sweep of the lake in `root`. `lock` gives a lock by its name, `locked` holds the lock of a ref.

    `is_pointed_to` tells it of an object, from its sha256 and its size in bytes. What last changed before `older_than`
    is removed; a dry run removes nothing.
    """

    root: Path
    git_dir: Path
    lock: Callable[[str], FileLock]
    locked: Callable[[str], AbstractContextManager[None]]
    is_pointed_to: Callable[[str, int], bool]
    older_than: datetime
    dry_run: bool

    def all(self) -> Iterator[Leftover]:
        """Each leftover, when it is removed."""
        yield from self.unfinished_files()
        yield from self.unfinished_repository()
        yield from self.ref_locks()
        yield from self.lock_files()
        yield from self.set_aside()
        yield from self.objects()

    def unfinished_files(self) -> Iterator[Leftover]:
        """Files on their way into the lake, by our hand or by libgit2's."""
        for pattern in ("lfs/tmp/*", "objects/tmp_*", "objects/*/tmp_*"):
            why = "A file on its way into the lake, whose writer was killed."
            found = (file for file in self.git_dir.glob(pattern) if not file.name.startswith(_ASIDE))
            yield from self._remove("unfinished file", found, why, Path.unlink)

    def unfinished_repository(self) -> Iterator[Leftover]:
        """A lake that was never finished, beside the finished one."""
        why = "A repository whose maker was killed; another has made the lake since."
        yield from self._remove("repository", self.root.glob("unfinished.git"), why, self._remove_repository)

    def ref_locks(self) -> Iterator[Leftover]:
        """Git's own locks; only who holds ours takes them, so that under ours they are nobody's."""
        why = "Git's lock of a ref, whose holder was killed."
        yield from self._remove("lock", (self.git_dir / "refs").rglob("*.lock"), why, self._remove_ref_lock)

    def lock_files(self) -> Iterator[Leftover]:
        """The files that our locks are held on, as one: every branch and tag that there ever was has two."""
        files = list(self._old((self.root / "locks").glob("*.lock")))
        if self.dry_run or any([self._remove_lock_file(file) for file in files]):
            why = f"{len(files)} lock files; one is made again when it is needed."
            yield from [self._leftover("lock", self.root / "locks", why)] if files else []

    def set_aside(self) -> Iterator[Leftover]:
        """Objects that a sweep was looking at when it was killed: perhaps the only bytes of what is pointed to."""
        for file in self.git_dir.glob(f"lfs/tmp/{_ASIDE}*"):
            with contextlib.suppress(FileNotFoundError):  # another sweep was quicker
                leftover = self._leftover(
                    "object", file, "A sweep was killed while it had these bytes aside; they go back.", "kept"
                )
                if not self.dry_run:
                    file.replace(object_file(self.git_dir, file.name.removeprefix(_ASIDE)))
                yield leftover

    def objects(self) -> Iterator[Leftover]:
        """Stored bytes that were never pointed to: their writer was killed just before it wrote the pointer."""
        found = self._old((self.git_dir / "lfs" / "objects").glob(f"*/*/{_OBJECT_NAME}"))
        lost = [file for file in found if not self._is_pointed_to(file.name, file)]
        damaged = [file for file in lost if _sha256(file) != file.name]
        for file in damaged:
            why = "Its bytes are not those of its name: `lake verify` says which rows point to it."
            yield self._leftover("object", file, why, "kept")
        sound = sorted(set(lost) - set(damaged))
        why = "Bytes that no commit ever pointed to, whose writer was killed."
        yield from self._remove("object", sound, why, self._remove_object)

    def erase(self, path: str, sha256: str) -> Iterator[Leftover]:
        """The bytes behind `path`, if they are there; what was written since `older_than` waits."""
        file = object_file(self.git_dir, sha256)
        with contextlib.suppress(FileNotFoundError):
            is_young = _changed_at(file) >= self.older_than
            why = "Let go." if not is_young else "Let go, but written again since: a later run looks again."
            leftover = self._leftover("object", file, why, "waits" if is_young else None)
            if leftover.outcome == "swept":
                self._take(file, lambda _: False)
            yield replace(leftover, name=path)

    def _old(self, found: Iterable[Path]) -> Iterator[Path]:
        for file in found:
            with contextlib.suppress(FileNotFoundError):
                if _changed_at(file) < self.older_than:
                    yield file

    def _remove(
        self, kind: LeftoverKind, found: Iterable[Path], why: str, remove: Callable[[Path], object]
    ) -> Iterator[Leftover]:
        for file in self._old(found):
            with contextlib.suppress(FileNotFoundError):  # its own writer, or another sweep, was quicker
                leftover = self._leftover(kind, file, why)
                if not self.dry_run:
                    remove(file)
                yield leftover

    def _leftover(self, kind: LeftoverKind, file: Path, why: str, outcome: Outcome | None = None) -> Leftover:
        name, size = str(file.relative_to(self.root)), 0 if file.is_dir() else file.stat().st_size
        outcome = outcome or ("would go" if self.dry_run else "swept")
        return Leftover(kind, name, size, _changed_at(file), why, outcome)

    def _remove_repository(self, folder: Path) -> None:
        with self.lock("create"):
            shutil.rmtree(folder)

    def _remove_ref_lock(self, file: Path) -> None:
        with self.locked(file.relative_to(self.git_dir).as_posix().removesuffix(".lock")):
            file.unlink(missing_ok=True)

    def _remove_lock_file(self, file: Path) -> bool:
        """Whether nobody holds it. Who waits for it meanwhile finds its file gone, and makes another."""
        try:
            with self.lock(file.stem).acquire(timeout=0):
                file.unlink(missing_ok=True)
        except Timeout:
            return False
        return True

    def _remove_object(self, file: Path) -> None:
        self._take(file, lambda aside: self._is_pointed_to(file.name, aside))

    def _take(self, file: Path, is_needed: Callable[[Path], bool]) -> None:
        """Aside first: a writer may bring the same bytes at this very moment, and is to find them."""
        aside = self.git_dir / "lfs" / "tmp" / f"{_ASIDE}{file.name}"
        file.rename(aside)
        if _changed_at(aside) < self.older_than and not is_needed(aside):
            aside.unlink()
        else:
            aside.replace(file)

    def _is_pointed_to(self, sha256: str, file: Path) -> bool:
        return self.is_pointed_to(sha256, file.stat().st_size)


def _changed_at(file: Path) -> datetime:
    return datetime.fromtimestamp(file.lstat().st_mtime, UTC)


def _sha256(file: Path) -> str:
    with file.open("rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()
