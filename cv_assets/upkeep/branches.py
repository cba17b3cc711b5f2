"""A data branch beside main: where it was cut, and what its tables hold otherwise."""

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Final

import polars as pl

from cv_assets.upkeep.changes import CHANGES, SAID, Difference, difference
from cv_assets.upkeep.contracts import key_and_volatile
from cv_assets.words import counted, moment
from resources.lake import Lake
from resources.lake_names import MAIN
from resources.tables import table_of

COMPARISON: Final = "branch_changes"
"""The table that holds a comparison is not compared."""

ROWS_KEPT: Final = 1000
"""Of each table, so many changed rows are kept with a comparison; all are counted."""

_TABLES: Final = "tables/"


@dataclass(frozen=True)
class Cut:
    """The newest commit of main that a branch grew from, and how many commits main made since."""

    commit: str
    created_at: datetime
    main_since: int

    def __str__(self) -> str:
        """In a sentence."""
        since = f"{counted(self.main_since, 'commit')} since" if self.main_since else "no commit since"
        at = moment(self.created_at)
        return f"It was cut from {MAIN} at commit {self.commit[:12]} of {at}; {MAIN} made {since}."


def cut(lake: Lake, branch: str) -> Cut:
    """Where `branch` left main. Raises RefNotFoundError, LookupError when it never was on main."""
    places = {commit.id: number for number, commit in enumerate(lake.log(MAIN))}
    found = next((commit for commit in lake.log(branch) if commit.id in places), None)
    if found is None:
        raise LookupError(f"{branch} was not cut from {MAIN}: they share no commit")
    return Cut(found.id, found.created_at, places[found.id])


def has_table(lake: Lake, commits: Iterable[str], asset: str) -> bool:
    """Whether one of the commits holds a table of `asset`, or a partition of it."""
    paths = (path for commit in commits for path in lake.paths(commit, f"{_TABLES}{asset}"))
    return any(table_of(path)[0] == asset for path in paths)


def differences(lake: Lake, base: str, ref: str, asset: str = "") -> Iterator[Difference]:
    """How each table that differs between two commits changed, or only those of `asset`; sorted by name.

    Tables that differ in volatile columns only are left out.
    """
    prefix = f"{_TABLES}{asset}"
    for change in lake.diff(base, ref, prefix):
        name, partition = table_of(change.path)
        if name == COMPARISON or (asset and name != asset):
            continue
        before = pl.DataFrame() if change.kind == "added" else pl.read_parquet(lake.fetch(base, change.path))
        after = pl.DataFrame() if change.kind == "removed" else pl.read_parquet(lake.fetch(ref, change.path))
        key, volatile = key_and_volatile(name)
        found = difference(name, partition, before, after, key, volatile)
        # A table without rows that comes or goes is a change too.
        if not found.is_empty or change.kind != "changed":
            yield found


def other_files(lake: Lake, base: str, ref: str) -> str:
    """How many files beside the tables differ, in a sentence; empty when none does."""
    kinds = [change.kind for change in lake.diff(base, ref) if not change.path.startswith(_TABLES)]
    told = [f"{kinds.count(kind)} {kind}" for kind in CHANGES if kind in kinds]
    return f"Files beside the tables: {', '.join(told)}." if told else ""


def summary(found: Iterable[Difference]) -> pl.DataFrame:
    """One row per table: how many rows were added, changed and removed, and which columns differ."""
    rows = [
        (
            one.title,
            *(one.count(change) for change in CHANGES),
            ", ".join([*(f"{name} ({rows:,})" for name, rows in one.columns.items()), *one.reshaped]),
        )
        for one in found
    ]
    schema = {"table": pl.String, **dict.fromkeys(CHANGES, pl.Int64), "columns that differ": pl.String}
    return pl.DataFrame(rows, schema=schema, orient="row")


def in_words(found: Sequence[Difference]) -> str:
    """How many rows of how many tables differ, in a sentence."""
    rows = sum(one.rows.height for one in found)
    return f"{counted(rows, 'row')} of {counted(len(found), 'table')} differ." if found else "No row differs."


def as_rows(found: Iterable[Difference]) -> pl.DataFrame:
    """The changed rows of all tables as BranchChanges: of each table the first ROWS_KEPT."""
    rows = [(one.asset, one.partition, *row) for one in found for row in _told(one.rows.head(ROWS_KEPT))]
    names = ("asset", "partition", "key", "change", "differs", "before", "after")
    frame = pl.DataFrame(rows, schema=dict.fromkeys(names, pl.String), orient="row")
    return frame.with_row_index("number", offset=1).cast({"number": pl.Int64})


def _told(rows: pl.DataFrame) -> Iterator[tuple[str, ...]]:
    keys = [name for name in rows.columns if name not in SAID]
    for row in rows.iter_rows(named=True):
        key = ", ".join(f"{name}={row[name]}" for name in keys)
        yield key, row["change"], ", ".join(row["columns"]), row["before"], row["after"]
