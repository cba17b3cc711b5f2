"""What the lake let go of by the spec's retention: rows still name it, its bytes are gone.

The table `let_go` of the main branch says so for every branch. A path that main lists again came back, and so did one
that a branch in use wrote anew.
"""

import os
from collections.abc import Collection, Container, Iterable, Iterator
from contextlib import contextmanager
from typing import Final

import dagster as dg
import polars as pl

from resources.lake import Lake
from resources.lake_names import MAIN

LET_GO: Final = "tables/let_go.parquet"
"""Where it is written; the contract is the upkeep step's."""


class LetGoError(dg.Failure, FileNotFoundError):
    """The bytes were let go: no damage, and no retry brings them back."""

    def __init__(self, path: str, words: str) -> None:
        super().__init__(
            f"{path} was {words}: its bytes are in the lake no more. What tables say of it stays.",
            allow_retries=False,
        )


def let_go(lake: Lake, paths: Iterable[str] | None = None) -> dict[str, str]:
    """Those of `paths` that were let go, or all that were, each with when and by which rule, in words."""
    main = lake.resolve(MAIN)
    try:
        rows = pl.scan_parquet(lake.fetch(main, LET_GO))
    except FileNotFoundError:
        return {}
    if paths is not None:
        rows = rows.filter(pl.col("path").is_in(list(paths)))
    found = rows.select("path", "let_go_at", "rule").collect()
    back = {*lake.sizes(main, found["path"])}
    if away := {*found["path"]} - back:
        back |= written_beside(lake, away)
    return {
        path: f"let go on {when:%Y-%m-%d} by the rule `{rule}`"
        for path, when, rule in found.iter_rows()
        if path not in back
    }


def written_beside(lake: Lake, among: Collection[str] = ()) -> set[str]:
    """What branches in use wrote since they left main and still list: all, or at least what of it is `among` these.

    What a branch lists since it was cut, only, is not its own. Those of candidates are in use until their checkpoints
    are let go.
    """
    prefix = os.path.commonpath(among) if among else ""
    if not (heads := _in_use(lake)):
        return set()
    trunk = {commit.id for commit in lake.log(MAIN)}
    return {path for head in heads for path in _written(lake, trunk, head, prefix)}


def _written(lake: Lake, trunk: Container[str], head: str, prefix: str) -> list[str]:
    cut = next((commit.id for commit in lake.log(head) if commit.id in trunk), None)
    if cut is None:
        return lake.paths(head, prefix)
    return [change.path for change in lake.diff(cut, head, prefix) if change.kind != "removed"]


def _in_use(lake: Lake) -> set[str]:
    """The heads of data branches beside main and of candidates whose checkpoints are not let go."""
    from resources.tables import served  # it imports this module

    found = {(branch, head, served(branch)) for branch, head in lake.branches().items() if branch != MAIN}
    gone = _candidates_let_go(lake) if found else set()
    return {
        head
        for _, head, serves in found
        if serves is None or (serves.kind == "candidate" and (serves.data_branch, serves.name) not in gone)
    }


def _candidates_let_go(lake: Lake) -> set[tuple[str, str]]:
    """Each as a branch serves it: candidates of main."""
    try:
        rows = pl.scan_parquet(lake.fetch(lake.resolve(MAIN), LET_GO))
    except FileNotFoundError:
        return set()
    names = rows.filter(kind="checkpoint").select("belongs_to").collect()["belongs_to"]
    return {(MAIN, name) for name in names}


@contextmanager
def told(lake: Lake, paths: Iterable[str]) -> Iterator[None]:
    """Around reading `paths`: of bytes that are not there because they were let go, that is said."""
    try:
        yield
    except OSError as error:
        # A table that is not there is an everyday question, and no table is ever let go.
        asked = [path for path in paths if not path.startswith("tables/")]
        for path, words in (let_go(lake, asked) if asked else {}).items():
            raise LetGoError(path, words) from error
        raise
