"""The names every lake accepts: the narrower of Git's and lakeFS's rules, so that data can move over."""

import re
from collections.abc import Iterable
from pathlib import PurePosixPath

# lakeFS refuses a leading dash, and so does plain Git.
_BRANCH = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_-]*")
_TAG = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_-]*(\.[A-Za-z0-9_-]+)*")
# Git cannot hold them, under any of the spellings that Windows and macOS read as `.git`.
_GIT_OWN = re.compile(r"\.git[ .]*|git~[0-9]+", re.IGNORECASE)
_CONTROL = re.compile(r"[\x00-\x1f\x7f]")
# Of the embedded lake, of lakeFS.
_COMMIT_ID = re.compile(r"[0-9a-f]{40}|[0-9a-f]{64}")
MAIN = "main"
"""The branch that a new lake starts with."""

_LONGEST_NAME = 200
_LONGEST_PATH = 1024


def check_branch(name: str) -> None:
    """Raises ValueError unless `name` can name a branch."""
    if not _BRANCH.fullmatch(name) or len(name) > _LONGEST_NAME:
        raise ValueError(
            f"a branch name is 1 to {_LONGEST_NAME} of [A-Za-z0-9_-] and starts with no dash, got {name!r}"
        )
    _check_no_commit_id("branch", name)


def check_writable(branch: str) -> None:
    """Raises PermissionError for `main`, which lakeFS protects: it only takes merges."""
    if branch == MAIN:
        raise PermissionError(f"{MAIN} only takes merges: commit on a branch and merge that")


def check_tag(name: str) -> None:
    """Raises ValueError unless `name` can name a tag."""
    if not _TAG.fullmatch(name) or len(name) > _LONGEST_NAME or name.endswith(".lock"):
        raise ValueError(
            f"a tag name is 1 to {_LONGEST_NAME} of [A-Za-z0-9_.-], dots between letters, got {name!r}"
        )
    _check_no_commit_id("tag", name)


def check_paths(paths: Iterable[str], removed: Iterable[str] = ()) -> None:
    """Raises ValueError unless `paths` is some paths that can stand in one commit together, none of them removed."""
    known = set(paths)
    if both := known.intersection(removed):
        raise ValueError(f"{sorted(both)} are written and removed in one commit: do one of both")
    if not known:
        raise ValueError("a commit holds at least one file, got none")
    for path in known:
        _check_path(path)
        if both := known.intersection(folders(path)):
            raise ValueError(f"{path!r} lies under {both.pop()!r}, which is a file")


def folders(path: str) -> list[str]:
    """The folders that `path` lies in, outermost last: `a/b` and `a` for `a/b/c`."""
    return [str(folder) for folder in PurePosixPath(path).parents][:-1]


def _check_no_commit_id(kind: str, name: str) -> None:
    if _COMMIT_ID.fullmatch(name):
        raise ValueError(f"a {kind} name does not look like a commit id, got {name!r}")


def _check_path(path: str) -> None:
    """A lone surrogate has no UTF-8 form and raises UnicodeEncodeError, a ValueError."""
    segments = path.split("/")
    if any(segment in {"", ".", ".."} or _GIT_OWN.fullmatch(segment) for segment in segments):
        raise ValueError(f"a path is relative, without empty, '.', '..' or '.git' segments, got {path!r}")
    if _CONTROL.search(path):
        raise ValueError(f"a path holds no control characters, got {path!r}")
    if len(path.encode()) > _LONGEST_PATH:
        raise ValueError(f"a path is at most {_LONGEST_PATH} bytes of UTF-8, got {len(path.encode())}")
