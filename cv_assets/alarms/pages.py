"""Evidently's page on a drift alarm: the reference's frames beside those of the alarm's first deliveries.

Nothing is decided by it. It is made once per alarm and then carried over, so its link never changes.
"""

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import polars as pl

from cv_assets.drift.schema import JUDGED

NEEDED: Final = ("delivery", "statistic", "role", "release_number", "candidate", "values", "verdict")
"""The columns of drift_metrics that are read here."""

MOST: Final = 20
"""So many deliveries of an alarm are compared."""

_KEYS: Final = ("capture_id", "delivery")


@dataclass(frozen=True)
class Compared:
    """What a page is about: an alarm, the candidate whose reference counts, and where its deliveries' values are.

    `ours` says of each statistic whether it drifted in any of these deliveries.
    """

    alarm_id: str
    candidate: str
    values: tuple[str, ...]
    ours: Mapping[str, bool]


def with_pages(rows: pl.DataFrame, before: pl.DataFrame) -> pl.DataFrame:
    """`rows` with the pages that the alarms published `before` have."""
    pages = before.filter(pl.col("page").is_not_null()).select("alarm_id", "page", "page_note")
    return rows.drop("page", "page_note").join(pages, on="alarm_id", how="left", maintain_order="left")


def with_page(rows: pl.DataFrame, alarm_id: str, page: str | None, note: str) -> pl.DataFrame:
    """`rows` with the page of one alarm, or with the note why it has none."""
    mine = pl.col("alarm_id") == alarm_id
    return rows.with_columns(
        page=pl.when(mine).then(pl.lit(page, dtype=pl.String)).otherwise("page"),
        page_note=pl.when(mine).then(pl.lit(note)).otherwise("page_note"),
    )


def to_compare(rows: pl.DataFrame, metrics: pl.DataFrame) -> Iterator[Compared]:
    """The drift alarms that were confirmed and have no page yet. Of `metrics` it reads `NEEDED`."""
    without = rows.filter(
        pl.col("kind") == "drift", pl.col("opened_at").is_not_null(), pl.col("page").is_null()
    )
    stored = metrics.filter(pl.col("candidate").is_not_null(), pl.col("values").is_not_null())
    for alarm_id, number, names in without.select("alarm_id", "release_number", "deliveries").iter_rows():
        first = stored.filter(pl.col("release_number") == number, pl.col("delivery").is_in(names[:MOST]))
        if first.is_empty():
            continue
        judged = first.filter(pl.col("role") != "station", pl.col("verdict").is_in(JUDGED))
        drifted = judged.group_by("statistic").agg((pl.col("verdict") == "drifted").any()).sort("statistic")
        yield Compared(
            alarm_id, first["candidate"][0], tuple(first["values"].unique().sort()), dict(drifted.iter_rows())
        )


def frames_of(paths: tuple[str, ...], fetch: Callable[[str], Path]) -> pl.DataFrame:
    """The values of all frames at these lake paths, one column per statistic."""
    rows = pl.concat([pl.read_parquet(fetch(path)) for path in paths], how="diagonal_relaxed")
    return rows.drop(_KEYS, strict=False)
