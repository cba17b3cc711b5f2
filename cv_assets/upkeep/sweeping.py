"""What dead processes left behind, and when it may go: branches of publications, unfinished files, the cache.

A publication that lives takes seconds to minutes. No lake knows how old a branch is, so a sweep remembers what it saw:
a work branch whose head has not moved for the grace period, and that no run in flight writes, is nobody's.
"""

import contextlib
import shutil
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from itertools import takewhile
from pathlib import Path
from typing import Final, Literal

import polars as pl

from cv_assets.upkeep.schema import LakeSweep
from cv_assets.words import counted, moment
from resources.lake import Commit, Lake, Leftover, Outcome, RefNotFoundError
from resources.tables import served

GRACE: Final = timedelta(hours=6)
"""So long nothing may have moved before a sweep takes it."""

PATIENCE: Final = timedelta(days=2)
"""What waits longer needs a person."""

_CLOCKS_APART: Final = timedelta(hours=1)

RunState = Literal["in flight", "ended", "unknown"]


@dataclass(frozen=True)
class WorkBranch:
    """The branch of a publication; `created_at` is its head's. `merged`: what it wrote is on its data branch.

    `run` is empty when nothing says.
    """

    name: str
    head: str
    created_at: datetime
    run: str = ""
    state: RunState = "unknown"
    merged: bool = False


@dataclass(frozen=True)
class Disposal:
    """What becomes of a branch, and why."""

    outcome: Outcome
    why: str


def judge(branch: WorkBranch, first_seen: datetime, now: datetime) -> Disposal:
    """Whether the branch is nobody's; `first_seen` is when a sweep first saw it with this head."""
    if branch.state == "in flight":
        return Disposal(
            "waits",
            f"Its run {branch.run[:8]} is in flight. If that run's process is gone, end the run in Dagster.",
        )
    if branch.merged and branch.state == "ended":
        return Disposal("swept", "What it brought is published, and its run ended.")
    if now - first_seen >= GRACE:
        return Disposal(
            "swept", f"It has not moved since {moment(first_seen)}, and no run in flight writes it."
        )
    return Disposal(
        "waits",
        f"It may be of a publication under way. If it does not move, the first sweep after "
        f"{moment(first_seen + GRACE)} takes it.",
    )


def unmoved_since(remembered: datetime | None, created_at: datetime, now: datetime) -> datetime:
    """Since when a branch has had its head, for all that clocks may have been wrong when a sweep first saw it.

    Never before the head was made and never in the future, so that a time too early takes nothing that is young, and
    one too late keeps nothing for good.
    """
    return min(max(remembered or now, created_at), now)


def sweep(
    lake: Lake, data_branch: str, cache: Path, earlier: pl.DataFrame, run_state: Callable[[str], RunState],
    now: datetime, *, dry_run: bool,
) -> pl.DataFrame:  # fmt: skip
    """Sweep, and say of each thing what became of it: rows of LakeSweep. `earlier` is what the last sweep said."""
    seen = {
        (name, what): when for name, what, when in earlier.select("name", "what", "first_seen").iter_rows()
    }
    rows = [
        *_swept_branches(lake, data_branch, seen, run_state, now, dry_run),
        *_refused(lake, data_branch),
        *(_row_of(one, now, seen) for one in lake.sweep(now - GRACE, dry_run=dry_run)),
        *(_row_of(one, now, seen) for one in unfinished(cache, now - GRACE, dry_run=dry_run)),
    ]
    return pl.DataFrame(rows, schema=dict(LakeSweep.create_empty().schema), orient="row").sort("kind", "name")


def work_branches(lake: Lake, data_branch: str, run_state: Callable[[str], RunState]) -> list[WorkBranch]:
    """The branches of publications onto `data_branch`, and of those onto its candidates."""
    heads = _branches(lake, data_branch, "work")
    newest = {name: commit for name, head in heads.items() if (commit := next(lake.log(head), None))}
    since = min((commit.created_at for commit in newest.values()), default=None)
    published = _published(lake, data_branch, since - _CLOCKS_APART) if since else []
    merged = {parent for commit in published for parent in commit.parents[1:]}
    cut_from = {commit.id for commit in published}
    return [
        _work_branch(name, commit, commit.id in merged, cut_from, run_state)
        for name, commit in newest.items()
    ]


def unfinished(cache: Path, older_than: datetime, *, dry_run: bool) -> Iterator[Leftover]:
    """What killed steps left in the cache folder: files with a hidden name, and folders of frames."""
    for found in [*cache.rglob(".*"), *cache.glob("frames-*")]:
        with contextlib.suppress(FileNotFoundError):
            changed_at = _changed_at(found)
            if changed_at >= older_than:
                continue
            size = sum(file.lstat().st_size for file in [found, *found.rglob("*")] if not file.is_dir())
            if not dry_run:
                shutil.rmtree(found) if found.is_dir() else found.unlink()
            why = "A step was killed while it wrote this."
            yield Leftover(
                "cache",
                str(found.relative_to(cache)),
                size,
                changed_at,
                why,
                "would go" if dry_run else "swept",
            )


def waiting_too_long(rows: pl.DataFrame, now: datetime) -> pl.DataFrame:
    """What only a person can end: it waits for longer than PATIENCE."""
    return rows.filter(pl.col("outcome") == "waits", pl.col("first_seen") < now - PATIENCE)


def in_words(rows: pl.DataFrame) -> str:
    """One sentence for each outcome and for what was refused."""
    refused = rows.filter(kind="refused branch")
    swept, waits = rows.filter(outcome="swept").height, rows.filter(outcome="waits").height
    oldest = f", the oldest of {moment(refused['first_seen'].min())}" if refused.height else ""  # type: ignore[arg-type]
    held = f"{counted(refused.height, 'refused table')} kept readable{oldest}"
    return f"{counted(swept, 'thing')} swept, {waits} waiting; {held}."


def _swept_branches(
    lake: Lake, data_branch: str, seen: Mapping[tuple[str, str], datetime], run_state: Callable[[str], RunState],
    now: datetime, dry_run: bool,
) -> Iterator[tuple[object, ...]]:  # fmt: skip
    for branch in work_branches(lake, data_branch, run_state):
        first_seen = unmoved_since(seen.get((branch.name, branch.head)), branch.created_at, now)
        judged = judge(branch, first_seen, now)
        if judged.outcome == "swept" and dry_run:
            judged = Disposal("would go", judged.why)
        elif judged.outcome == "swept" and not _deleted(lake, branch):
            continue
        yield "work branch", branch.name, branch.head, first_seen, judged.outcome, judged.why


def _deleted(lake: Lake, branch: WorkBranch) -> bool:
    """Whether it is gone by us: not when it moved just now, or its own run was quicker."""
    with contextlib.suppress(RefNotFoundError):
        if lake.resolve(branch.name) == branch.head:
            lake.delete_branch(branch.name)
            return True
    return False


def _refused(lake: Lake, data_branch: str) -> Iterator[tuple[object, ...]]:
    for name, head in _branches(lake, data_branch, "refused").items():
        commit = next(lake.log(head))
        why = "Refused data stays readable. Who needs it no more deletes the branch."
        yield "refused branch", name, head, commit.created_at, "kept", why


def _branches(lake: Lake, data_branch: str, kind: str) -> dict[str, str]:
    """Name and head of the branches of a kind that serve the data branch."""
    every = {name: (served(name), head) for name, head in lake.branches().items()}
    return {
        name: head
        for name, (serves, head) in every.items()
        if serves and serves.data_branch == data_branch and serves.kind == kind
    }


def _published(lake: Lake, data_branch: str, since: datetime) -> list[Commit]:
    """The newest commits of the data branch and of its candidates."""
    heads = [lake.resolve(data_branch), *_branches(lake, data_branch, "candidate").values()]
    logs = (takewhile(lambda commit: commit.created_at >= since, lake.log(head)) for head in heads)
    return [commit for log in logs for commit in log]


def _work_branch(
    name: str, head: Commit, merged: bool, cut_from: Iterable[str], run_state: Callable[[str], RunState]
) -> WorkBranch:
    # Where nothing is written yet the head is of the data branch, and its run is another one.
    run = "" if head.id in cut_from else head.metadata.get("run_id", "")
    return WorkBranch(name, head.id, head.created_at, run, run_state(run) if run else "unknown", merged)


def _row_of(
    leftover: Leftover, now: datetime, seen: Mapping[tuple[str, str], datetime]
) -> tuple[object, ...]:
    what = f"{leftover.size_bytes} bytes"
    first_seen = leftover.changed_at or seen.get((leftover.name, what), now)
    return leftover.kind, leftover.name, what, first_seen, leftover.outcome, leftover.why


def _changed_at(found: Path) -> datetime:
    """Of a folder, when anything in it changed last."""
    times = [file.lstat().st_mtime for file in [found, *found.rglob("*")]]
    return datetime.fromtimestamp(max(times), UTC)
