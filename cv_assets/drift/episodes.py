"""Episodes of drift: what one delivery shows is a warning, what several in a row show is a change.

Deliveries follow one another as they were captured at their station, not as they arrived: what is computed here is the
same whenever and in whatever order they were measured. A delivery without a verdict is looked past.
"""

import itertools
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Final

import polars as pl

NEEDED: Final = (
    "delivery",
    "statistic",
    "role",
    "station",
    "captured_from",
    "release",
    "release_number",
    "rank",
    "verdict",
    "measured_at",
)
"""The columns of drift_metrics that are read here."""

SLOW_LIMIT: Final = 1.0
"""A sum beyond it is slow drift: five of the most unusual deliveries in a row, or more of less unusual ones."""

_USUAL: Final = 0.75
"""Three of four ordinary deliveries have a lower rank; the sum falls with them."""

_HIGHEST: Final = SLOW_LIMIT + 1 - _USUAL
"""The sum stops here, so that few ordinary deliveries end a drift, however long it was."""

_JUDGED: Final = ("ok", "drifted")
_SERIES: Final = ("release_number", "station", "statistic")
_ORDER: Final = (*_SERIES, "captured_from", "delivery")

_Row = dict[str, Any]


@dataclass(frozen=True)
class Episode:
    """Drifted deliveries in a row, of one statistic at one station under one release."""

    statistic: str
    role: str
    station: str | None
    release: str | None
    release_number: int | None
    deliveries: tuple[str, ...]
    """As they were captured."""
    confirmed: bool
    """`patience` deliveries and more, or slow drift of a statistic that may start a retraining; one is enough for a
    station."""
    confirmed_at: datetime | None
    """When the delivery that confirmed it was measured."""
    standing: bool
    """No ordinary delivery came after it."""
    slow: bool = False
    """Confirmed by the sum of many small steps, each of which may lie inside its level."""


def episodes(metrics: pl.DataFrame, patience: int) -> list[Episode]:
    """All episodes of `metrics`, by release, station and statistic, as they were captured. Reads `NEEDED`.

    Slow drift that a confirmed run of drifted deliveries already shows is not told twice. Raises ValueError unless
    `patience` is 1 or more.
    """
    if patience < 1:
        raise ValueError(f"patience must be 1 or more, got {patience}")
    judged = cumulative(metrics.select(NEEDED).filter(pl.col("verdict").is_in(_JUDGED)))
    found: list[Episode] = []
    for _, rows in itertools.groupby(judged.iter_rows(named=True), _series):
        series = list(rows)
        runs = [_run(run, series, patience) for run in _drifted_runs(series)]
        told = {delivery for run in runs if run.confirmed for delivery in run.deliveries}
        found += runs
        found += (_slow(rising, series) for rising in _slow_rises(series) if not _all_in(rising, told))
    return found


def drifted_deliveries(metrics: pl.DataFrame, patience: int) -> frozenset[str]:
    """Deliveries of confirmed episodes of statistics that may start a retraining; people see all their captures."""
    return frozenset(
        delivery
        for episode in episodes(metrics, patience)
        if episode.confirmed and episode.role == "alarms"
        for delivery in episode.deliveries
    )


def cumulative(metrics: pl.DataFrame) -> pl.DataFrame:
    """`metrics` by release, station, statistic and capture, with `cumulative`: how much lately was unusual, 0 to 1.25.

    Each delivery adds its rank less 0.75, and the sum never falls below 0: a cumulative sum (Page, "Continuous
    inspection schemes", Biometrika 41, 1954) on ranks, which are about uniform on ordinary deliveries whatever the
    statistic. On independent ones it passes `SLOW_LIMIT` once in some 16,000 deliveries (simulated). A delivery without
    a verdict or rank leaves it as it is.
    """
    ordered = metrics.sort(_ORDER)
    counts = pl.col("verdict").is_in(_JUDGED)
    steps = (pl.col("rank").fill_nan(None) - _USUAL).fill_null(0.0)
    with_steps = ordered.select(*_SERIES, step=pl.when(counts).then(steps).otherwise(0.0))
    sums: list[float] = []
    for _, rows in itertools.groupby(with_steps.iter_rows(named=True), _series):
        sums += _sums(row["step"] for row in rows)
    return ordered.with_columns(pl.Series("cumulative", sums, dtype=pl.Float64))


def _series(row: _Row) -> tuple[Any, ...]:
    return tuple(row[name] for name in _SERIES)


def _sums(steps: Iterable[float]) -> Iterator[float]:
    within = itertools.accumulate(steps, lambda sum_, step: min(max(0.0, sum_ + step), _HIGHEST), initial=0.0)
    return itertools.islice(within, 1, None)


def _drifted_runs(series: list[_Row]) -> Iterator[list[_Row]]:
    for verdict, rows in itertools.groupby(series, lambda row: row["verdict"]):
        if verdict == "drifted":
            yield list(rows)


def _slow_rises(series: list[_Row]) -> Iterator[list[_Row]]:
    """From where the sum left 0 to where it last was beyond the limit."""
    for above_zero, rows in itertools.groupby(series, lambda row: row["cumulative"] > 0):
        rise = list(rows)
        beyond = [place for place, row in enumerate(rise) if row["cumulative"] > SLOW_LIMIT]
        if above_zero and beyond:
            yield rise[: beyond[-1] + 1]


def _all_in(rise: list[_Row], told: set[str]) -> bool:
    return all(row["delivery"] in told for row in rise if row["cumulative"] > SLOW_LIMIT)


def _run(run: list[_Row], series: list[_Row], patience: int) -> Episode:
    needed = 1 if run[0]["role"] == "station" else patience
    confirmed = len(run) >= needed
    measured = sorted(row["measured_at"] for row in run)
    return _episode(run, series, measured[needed - 1] if confirmed else None)


def _slow(rise: list[_Row], series: list[_Row]) -> Episode:
    first_beyond = next(place for place, row in enumerate(rise) if row["cumulative"] > SLOW_LIMIT)
    at = max(row["measured_at"] for row in rise[: first_beyond + 1])
    return _episode(rise, series, at if rise[0]["role"] == "alarms" else None, slow=True)


def _episode(
    rows: list[_Row], series: list[_Row], confirmed_at: datetime | None, *, slow: bool = False
) -> Episode:
    first = rows[0]
    return Episode(
        statistic=first["statistic"],
        role=first["role"],
        station=first["station"],
        release=first["release"],
        release_number=first["release_number"],
        deliveries=tuple(row["delivery"] for row in rows),
        confirmed=confirmed_at is not None,
        confirmed_at=confirmed_at,
        standing=rows[-1] is series[-1],
        slow=slow,
    )
