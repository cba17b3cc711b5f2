"""A disk that can be filled: a file system in memory, mounted for a proof. Only root may mount."""

import os
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Final

PAGE: Final = 4096
"""Bytes in which such a disk gives room."""

_BALLAST: Final = ".ballast"


class NoMountError(RuntimeError):
    """This process may not mount."""


@contextmanager
def small_disk(folder: Path, mebibytes: int) -> Iterator[Path]:
    """The empty folder as a disk of its own. Raises NoMountError."""
    folder.mkdir(parents=True)
    options = ("-o", f"size={mebibytes}m,mode=700")
    try:
        tried = subprocess.run(("mount", "-t", "tmpfs", *options, "tmpfs", str(folder)), capture_output=True)
    except FileNotFoundError:
        raise NoMountError("There is no program `mount` on this machine.") from None
    if tried.returncode:
        raise NoMountError("Only root may mount a small disk to fill: run it as root on Linux.")
    try:
        yield folder
    finally:
        # Lazily: a file that is still open must not keep the disk.
        subprocess.run(("umount", "-l", str(folder)), check=True)


def fill(disk: Path, leave: int) -> None:
    """Leave room for `leave` bytes more."""
    make_room(disk)
    found = os.statvfs(disk)
    taken = found.f_bavail * found.f_frsize - leave
    if taken > 0:
        with (disk / _BALLAST).open("wb") as stream:
            os.posix_fallocate(stream.fileno(), 0, taken)


def make_room(disk: Path) -> None:
    """As a person does, who deletes what fills the disk."""
    (disk / _BALLAST).unlink(missing_ok=True)
