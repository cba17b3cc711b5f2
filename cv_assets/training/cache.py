"""Files that can be made again, kept between runs.

A file's name ends in the sha256 of its content, so a damaged file is known and made anew, and processes that write
the same thing at once cannot disturb each other: each writes a file of its own and renames it into place.
"""

import hashlib
import uuid
from collections.abc import Callable
from pathlib import Path


def cached_file(folder: Path, key: str, suffix: str, make: Callable[[], bytes]) -> Path:
    """The kept file for `key`; `make` gives its content when there is none, or only damaged ones."""
    for path in sorted(folder.glob(f"{key}.*{suffix}")):
        if is_sound(path):
            return path
    return keep(folder, f"{key}.", suffix, make())


def keep(folder: Path, prefix: str, suffix: str, content: bytes) -> Path:
    """Write `content` to `<prefix><sha256><suffix>` in `folder`, whole or not at all."""
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / f"{prefix}{hashlib.sha256(content).hexdigest()}{suffix}"
    unfinished = folder / f".{uuid.uuid4().hex}"
    unfinished.write_bytes(content)
    return unfinished.replace(path)


def is_sound(path: Path) -> bool:
    """Whether the file still holds the content that its name promises."""
    return path.stem.endswith(sha256_of(path))


def sha256_of(path: Path) -> str:
    """The sha256 of a file's bytes, in hexadecimal."""
    with path.open("rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()


def check_sha256(name: str, path: Path, expected: str) -> None:
    """Raise ValueError, which calls the file by its `name`, when its bytes are others."""
    if (found := sha256_of(path)) != expected:
        raise ValueError(f"{name} should have the sha256 {expected}, the stored bytes have {found}")
