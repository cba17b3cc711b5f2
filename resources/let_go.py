"""What the lake let go of by the spec's retention: rows still name it, its bytes are gone.

The table `let_go` of the main branch says so for every branch. A path that main lists again came back.
"""

from collections.abc import Iterable, Iterator
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
    back = lake.sizes(main, found["path"])
    return {
        path: f"let go on {when:%Y-%m-%d} by the rule `{rule}`"
        for path, when, rule in found.iter_rows()
        if path not in back
    }


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
