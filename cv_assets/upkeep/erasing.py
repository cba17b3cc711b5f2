"""Erasing what was let go: after the table says so, never before, so that a crash in between only leaves work.

It may be done again at any time. Bytes that a path of a branch in use still names stay: a frame may have been delivered
again since, or a backbone trained with again. So do those of what became needed while it was let go.
"""

from collections.abc import Iterator
from dataclasses import replace
from datetime import datetime, timedelta
from typing import Final

import polars as pl

from cv_assets.upkeep.holdings import HASH_IN_NAME, needed
from cv_assets.upkeep.retention import bytes_of, with_reason
from cv_assets.upkeep.schema import Erasure
from cv_assets.words import counted
from resources.lake import Lake, Leftover
from resources.lake_names import MAIN
from resources.let_go import written_beside
from resources.tables import Snapshot

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
    judged = with_reason(let_go, _needed(lake))
    for (commit,), rows in judged.group_by("commit", maintain_order=True):
        stays, goes = rows.filter(pl.col("why").is_not_null()), rows.filter(pl.col("why").is_null())
        yield from lake.erase(str(commit), goes["path"], now - GRACE, dry_run=dry_run)
        whys = dict(stays.select("path", "why").iter_rows())
        for one in lake.erase(str(commit), stays["path"], now - GRACE, dry_run=True):
            yield replace(one, outcome="kept", why=whys[one.name])


def _needed(lake: Lake) -> pl.DataFrame:
    """The bytes that branches in use name, main's or written there, and what is needed by now: rows of NEEDED."""
    main = Snapshot(lake, lake.resolve(MAIN))
    names = pl.DataFrame(
        {"path": sorted({*lake.paths(main.commit)} | written_beside(lake))}, schema={"path": pl.String}
    )
    hashes = names.select(sha256=pl.col("path").str.extract(HASH_IN_NAME)).drop_nulls()
    since = needed(main).with_columns(why=pl.format("Needed since: {}.", "why"))
    return pl.concat([bytes_of(hashes, _NEEDED), since])
