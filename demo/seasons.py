"""The plant's calendar: a season is a week, whenever the demo runs."""

from datetime import UTC, datetime, timedelta
from typing import Final

import polars as pl

OPENING: Final = datetime(2026, 3, 2, 6, tzinfo=UTC)
"""When the plant's first module is imaged."""

SEASON: Final = timedelta(days=7)


def opening(season: int) -> datetime:
    """When the first module of a season is imaged; the first season is 1."""
    return OPENING + (season - 1) * SEASON


def captured_in(season: int, column: str = "captured_at") -> pl.Expr:
    """Does the time in `column` lie in the season?"""
    return pl.col(column).is_between(opening(season), opening(season + 1), closed="left")
