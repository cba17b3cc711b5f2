"""One file of a watched folder, to which others may be writing: what tells its states apart, reading and moving it.

Nothing here follows a link that replaced a file, waits for a pipe, or replaces a file that came meanwhile.
"""

import hashlib
import os
import stat
import uuid
from collections.abc import Callable
from pathlib import Path
from typing import Final, NamedTuple

_CHUNK_BYTES: Final = 1 << 20


class Identity(NamedTuple):
    """What tells one state of a file from another. `changed_ns` also moves when a file is renamed or touched.

    Ten thousands of them are made at every look: a named tuple takes a third of a dataclass's time.
    """

    size: int
    modified_ns: int
    changed_ns: int
    inode: int

    @property
    def file(self) -> tuple[int, int, int]:
        """What stays the same when a file is only renamed."""
        return (self.size, self.modified_ns, self.inode)


def identity_of(file: Path | str) -> Identity | None:
    """The file's state now; None when it is gone or no regular file."""
    try:
        found = os.lstat(file)
    except FileNotFoundError:
        return None
    return _stated(found) if stat.S_ISREG(found.st_mode) else None


def read_unchanged(
    source: Path, is_expected: Callable[[Identity], bool], target: Path | None = None
) -> str | None:
    """The file's sha256 when, before and after it was read, it is what was expected; copied to `target`, if any.

    None when it is gone or another one. Raises OSError when the machine cannot read it.
    """
    try:
        stream = open(source, "rb", opener=_open_file)  # noqa: SIM115  (Path.open takes no opener)
    except (FileNotFoundError, IsADirectoryError):
        return None
    except OSError:
        # Everything else is a fault of the machine, not of the file.
        if source.is_symlink():
            return None
        raise
    with stream, Path(target or os.devnull).open("wb") as copied:
        before = os.fstat(stream.fileno())
        if not stat.S_ISREG(before.st_mode) or not is_expected(_stated(before)):
            return None
        hasher = hashlib.sha256()
        while chunk := stream.read(_CHUNK_BYTES):
            hasher.update(chunk)
            copied.write(chunk)
        return hasher.hexdigest() if _stated(os.fstat(stream.fileno())) == _stated(before) else None


def return_file(source: Path, target: Path) -> bool:
    """Rename without ever replacing: a file that came meanwhile under the name keeps it."""
    try:
        target.hardlink_to(source)
    except OSError:
        return False
    source.unlink()
    return True


def write_atomically(file: Path, content: bytes, *, durably: bool = True) -> None:
    """Write the whole file or none of it: whoever looks sees what was there before, or `content`, complete.

    The folder is made when it is missing. While it is written, the file has a hidden name of its own beside it, so
    that two writers do not mix; a killed writer leaves no more than that. What need not outlive a loss of power is
    not written `durably`: it does not wait for the disk.
    """
    file.parent.mkdir(parents=True, exist_ok=True)
    unfinished = file.with_name(f".{file.name}.{uuid.uuid4().hex[:8]}")
    try:
        with unfinished.open("xb") as stream:
            stream.write(content)
            if durably:
                stream.flush()
                os.fsync(stream.fileno())
        unfinished.replace(file)
    finally:
        unfinished.unlink(missing_ok=True)
    if not durably:
        return
    # A name is only there for good once its folder is on the disk, too.
    folder = os.open(file.parent, os.O_RDONLY)
    try:
        os.fsync(folder)
    finally:
        os.close(folder)


def _open_file(path: str, flags: int) -> int:
    return os.open(path, flags | getattr(os, "O_NOFOLLOW", 0) | getattr(os, "O_NONBLOCK", 0))


def _stated(found: os.stat_result) -> Identity:
    return Identity(found.st_size, found.st_mtime_ns, found.st_ctime_ns, found.st_ino)
