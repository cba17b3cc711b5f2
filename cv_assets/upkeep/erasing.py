"""Erasing what was let go: after the table says so, never before, so that a crash in between only leaves work.

It may be done again at any time. Bytes that another path of a branch in use still names stay: a frame may have been
delivered again since.
"""

from collections.abc import Iterator
from datetime import datetime, timedelta
from typing import Final

import polars as pl

from cv_assets.upkeep.holdings import HASH_IN_NAME
from cv_assets.upkeep.schema import Erasure
from cv_assets.words import counted
from resources.lake import Lake, Leftover
from resources.lake_names import MAIN
from resources.tables import served

GRACE: Final = timedelta(hours=6)
"""Bytes that were written more recently may be those of a publication under way."""

_NEEDED: Final = "A path of a branch in use names the same bytes."


def erase(lake: Lake, let_go: pl.DataFrame, now: datetime, *, dry_run: bool = False) -> pl.DataFrame:
    """Erase the bytes of the rows of LetGo; what was still there, and what became of it: rows of Erasure."""
    rows = [(one.name, one.size_bytes, one.outcome, one.why) for one in _erased(lake, let_go, now, dry_run)]
    found = pl.DataFrame(rows, schema=dict(Erasure.create_empty().schema), orient="row")
    return found.unique("path", keep="last", maintain_order=True).sort("path")


def in_words(rows: pl.DataFrame, let_go: pl.DataFrame) -> str:
    """One sentence."""
    swept, waits, kept = (rows.filter(outcome=one) for one in ("swept", "waits", "kept"))
    gone = let_go["path"].n_unique() - waits.height - kept.height
    why = f" ({kept['why'][0]})" if kept.height else ""
    freed = f"{int(swept['size_bytes'].sum()) / 1e9:,.3f} GB"
    return (
        f"{counted(let_go['path'].n_unique(), 'object')} were let go: the bytes of {gone:,} are gone, of "
        f"{swept.height:,} just now ({freed}); {waits.height:,} wait, {kept.height:,} are kept{why}."
    )


def _erased(lake: Lake, let_go: pl.DataFrame, now: datetime, dry_run: bool) -> Iterator[Leftover]:
    if let_go.is_empty():
        return
    needed = _needed(lake, {*let_go["path"]})
    for (commit,), rows in let_go.group_by("commit", maintain_order=True):
        still = rows.filter(~pl.col("sha256").is_in(sorted(needed)))
        again = rows.filter(pl.col("sha256").is_in(sorted(needed)))
        yield from lake.erase(str(commit), still["path"], now - GRACE, dry_run=dry_run)
        for path, size in again.select("path", "size_bytes").iter_rows():
            yield Leftover("object", path, size, None, _NEEDED, "kept")


def _needed(lake: Lake, let_go: set[str]) -> set[str]:
    """The hashes of the bytes that branches in use name: main by any path, others by a path that was not let go."""
    main = lake.resolve(MAIN)
    paths = {*lake.paths(main)}
    for branch, head in lake.branches().items():
        serves = served(branch)
        if serves is None or serves.kind == "candidate":
            paths |= {change.path for change in lake.diff(main, head) if change.kind != "removed"} - let_go
    names = pl.DataFrame({"path": sorted(paths)}, schema={"path": pl.String})
    return {*names.select(pl.col("path").str.extract(HASH_IN_NAME)).to_series().drop_nulls()}
