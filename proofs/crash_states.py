"""What a reader sees of a lake, in a form that two lakes with the same history agree on: no ids, no times of a run."""

import hashlib
import io
import re
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Final

import polars as pl

from cv_assets.upkeep.schema import LakeSweep
from cv_assets.upkeep.sweeping import sweep
from resources.git_lake import GitLake
from resources.lake import Lake

_VOLATILE: Final = ("concluded_at", "requested_at", "run")
_ID: Final = re.compile(r"\b[0-9a-f]{12,64}\b")

Contents = dict[str, str]
"""A digest by path."""


@dataclass(frozen=True)
class State:
    """The publications since the seed, oldest first, by data branch; what each tag names; what was refused.

    `left` is what dead processes left behind: branches and files.
    """

    branches: dict[str, list[tuple[str, Contents]]]
    tags: dict[str, str]
    refused: list[Contents]
    left: dict[str, list[str]]


def history(lake: Lake) -> dict[str, str]:
    """A name for each commit on a data branch: the branch and its place on it, from the first on."""
    names: dict[str, str] = {}
    for branch in sorted(filter(_holds_data, lake.branches()), reverse=True):  # main before its candidates
        for place, commit in enumerate(reversed(list(lake.log(branch)))):
            names.setdefault(commit.id, f"{branch}-{place}")
    return names


def read_state(lake: Lake, seeded: set[str]) -> State:
    """Read everything that was published after the commits `seeded`. Raises when anything cannot be read."""
    names, heads = history(lake), lake.branches()
    refused = [head for branch, head in heads.items() if branch.startswith("refused-")]
    return State(
        branches={
            branch: [
                (_without_ids(commit.message, names), _contents(lake, commit.id, names))
                for commit in reversed(list(lake.log(branch)))
                if commit.id not in seeded
            ]
            for branch in filter(_holds_data, heads)
        },
        tags={tag: names.get(commit, commit) for tag, commit in lake.tags().items()},
        refused=[_contents(lake, head, names) for head in refused if head not in names],
        left={
            "work branches": [branch for branch in heads if branch.startswith("work-")],
            "empty refused branches": [head for head in refused if head in names],
            "files": _files_left(lake),
        },
    )


def sweep_twice(lake: Lake, cache: Path) -> None:
    """As on two nights: what a sweep sees today and finds unmoved a day later is nobody's."""
    today = datetime.now(UTC)
    seen: pl.DataFrame = LakeSweep.create_empty()
    for now in (today, today + timedelta(days=1)):
        seen = sweep(lake, "main", cache, seen, lambda _: "ended", now, dry_run=False)


def other_branches(lake: Lake) -> list[str]:
    """Branches that nobody should have made."""
    return [
        branch
        for branch in lake.branches()
        if not _holds_data(branch) and not branch.startswith(("work-", "refused-"))
    ]


def _holds_data(branch: str) -> bool:
    return branch == "main" or branch.startswith("candidate-")


def _contents(lake: Lake, commit: str, names: dict[str, str]) -> Contents:
    return {path: _digest(lake.read(commit, path), path, names) for path in lake.paths(commit)}


def _digest(content: bytes, path: str, names: dict[str, str]) -> str:
    if path.endswith(".parquet"):
        rows = pl.read_parquet(io.BytesIO(content)).drop(_VOLATILE, strict=False).to_dicts()
        content = _without_ids(repr(rows), names).encode()
    return hashlib.sha256(content).hexdigest()[:16]


def _without_ids(text: str, names: dict[str, str]) -> str:
    """With the names of commits in the place of their ids, short ones too."""
    short = {commit[:12]: name for commit, name in names.items()}
    return _ID.sub(lambda found: short.get(found[0][:12], found[0]), text)


def _files_left(lake: Lake) -> list[str]:
    if not isinstance(lake, GitLake):
        return []
    repository: Path = lake.root / "repo.git"
    unfinished = [*(repository / "lfs" / "tmp").glob("*"), *(repository / "refs").rglob("*.lock")]
    return sorted(str(file.relative_to(lake.root)) for file in unfinished)
