"""Episodes of drift: what one delivery shows is a warning, what several show is a change.

Deliveries follow one another as they were captured at their station, not as they arrived: what is computed here is the
same in whatever order they were measured. A delivery without a verdict is looked past.
"""

import itertools
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Final

import polars as pl

from cv_assets.drift.schema import JUDGED
from cv_assets.drift.stretches import Row, Says, Stretch, stretches

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

CAPTURED: Final = pl.min_horizontal("captured_from", "measured_at")
"""When a delivery was captured, by what can be believed: nothing is captured after it was measured, so where a camera's
clock runs ahead, it is when it was measured."""

SLOW_LIMIT: Final = 1.0
"""A sum beyond it is slow drift: five of the most unusual deliveries in a row, or more of less unusual ones."""

_USUAL: Final = 0.75
"""Three of four ordinary deliveries have a lower rank; the sum falls with them."""

_HIGHEST: Final = SLOW_LIMIT + 1 - _USUAL
"""The sum stops here, so that few ordinary deliveries end a drift, however long it was."""

_SERIES: Final = ("release_number", "station", "statistic")
_ORDER: Final = (*_SERIES, CAPTURED, "delivery")

_Row = dict[str, Any]


@dataclass(frozen=True)
class Episode:
    """Drifted deliveries with few ordinary ones in between, of one statistic at one station under one release.

    `patience` ordinary ones in a row end it; one is enough for a station.
    """

    statistic: str
    role: str
    station: str | None
    release: str | None
    release_number: int | None
    deliveries: tuple[str, ...]
    """The drifted ones, as they were captured; of slow drift all from where the sum began to rise."""
    confirmed: bool
    """`patience` of them in a row, `patience` + 1 of any 2 `patience` + 1 judged ones in a row, or slow drift of a
    statistic that may start a retraining; one is enough for a station."""
    confirmed_at: datetime | None
    """When the delivery that confirmed it was measured."""
    standing: bool
    """It has not ended yet."""
    slow: bool = False
    """Confirmed by the sum of many small steps, each of which may lie inside its level."""


def episodes(metrics: pl.DataFrame, patience: int) -> list[Episode]:
    """All episodes of `metrics`, by release, station and statistic, as they were captured. Reads `NEEDED`.

    What counts besides deliveries in a row is for products that alternate and for a late ordinary delivery between two
    drifted ones. It costs little: where 9 % of ordinary deliveries drift falsely and a patience of 2 confirms 73 times
    in 10,000 by those in a row alone, it does so 76 times with 3 of 5 (simulated, independent deliveries).

    Slow drift that a confirmed run of drifted deliveries already shows is not told twice. Raises ValueError unless
    `patience` is 1 or more.
    """
    if patience < 1:
        raise ValueError(f"patience must be 1 or more, got {patience}")
    judged = cumulative(metrics.select(NEEDED).filter(pl.col("verdict").is_in(JUDGED)))
    found: list[Episode] = []
    for _, rows in itertools.groupby(judged.iter_rows(named=True), _series):
        series = list(rows)
        needed = 1 if series[0]["role"] == "station" else patience
        spans = list(_spans(series, needed))
        runs = [_run(one, span, needed) for one, span in spans]
        confirmed = (span for run, (_, span) in zip(runs, spans, strict=True) if run.confirmed)
        told = {row["delivery"] for span in confirmed for row in span}
        found += runs
        found += (_slow(rise, series, needed) for rise in _slow_rises(series) if not _all_in(rise, told))
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
    statistic. On independent ones with exact ranks it passes `SLOW_LIMIT` once in some 16,000 deliveries. Ranks among
    10 reference deliveries are coarse and share that reference's luck: then it does once in 591. Of a statistic that
    drifts upwards only, as the novelty, the rank is 0 on the other side: then once in 24,600. Among 30 deliveries it is
    once in 2,700 and in 178,000 (all simulated). A delivery without a verdict or rank leaves it as it is.
    """
    ordered = metrics.sort(_ORDER)
    counts = pl.col("verdict").is_in(JUDGED)
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


def _slow_rises(series: list[_Row]) -> Iterator[list[_Row]]:
    """From where the sum left 0 to where it last was beyond the limit."""
    for above_zero, rows in itertools.groupby(series, lambda row: row["cumulative"] > 0):
        rise = list(rows)
        beyond = [place for place, row in enumerate(rise) if row["cumulative"] > SLOW_LIMIT]
        if above_zero and beyond:
            yield rise[: beyond[-1] + 1]


def _all_in(rise: list[_Row], told: set[str]) -> bool:
    return all(row["delivery"] in told for row in rise if row["cumulative"] > SLOW_LIMIT)


def _spans(series: list[_Row], needed: int) -> Iterator[tuple[Stretch, list[_Row]]]:
    """The runs of drifted deliveries, and all rows from the first to the last of each."""
    places = {row["delivery"]: place for place, row in enumerate(series)}
    said: list[Says] = ["shows" if row["verdict"] == "drifted" else "ordinary" for row in series]
    for run in stretches(series, said, needed):
        first, last = run.shown[0]["delivery"], run.shown[-1]["delivery"]
        yield run, series[places[first] : places[last] + 1]


def _run(run: Stretch, span: list[_Row], needed: int) -> Episode:
    return _episode(run.shown, _confirmed_at(span, needed), standing=not run.ended_by)


def _confirmed_at(span: list[_Row], needed: int) -> datetime | None:
    """When so much of the run was measured that it was confirmed; None while all of it does not confirm it."""
    if not _confirms(span, needed):
        return None
    times: Iterable[datetime] = sorted({row["measured_at"] for row in span})
    return next(at for at in times if _confirms([row for row in span if row["measured_at"] <= at], needed))


def _confirms(span: list[_Row], needed: int) -> bool:
    places = [place for place, row in enumerate(span) if row["verdict"] == "drifted"]
    in_a_row = any(last - first < needed for first, last in zip(places, places[needed - 1 :], strict=False))
    return in_a_row or any(
        last - first <= 2 * needed for first, last in zip(places, places[needed:], strict=False)
    )


def _slow(rise: list[_Row], series: list[_Row], needed: int) -> Episode:
    first_beyond = next(place for place, row in enumerate(rise) if row["cumulative"] > SLOW_LIMIT)
    at = max(row["measured_at"] for row in rise[: first_beyond + 1])
    alarms = rise[0]["role"] == "alarms"
    return _episode(rise, at if alarms else None, standing=_stands(rise[-1], series, needed), slow=True)


def _stands(last: _Row, series: list[_Row], needed: int) -> bool:
    """Whether no `needed` ordinary deliveries in a row came after this one."""
    after = series[series.index(last) :]
    said: list[Says] = ["doubtful" if row["verdict"] == "drifted" else "ordinary" for row in after]
    return not stretches(after, ["shows", *said[1:]], needed)[0].ended_by


def _episode(
    rows: Sequence[Row], confirmed_at: datetime | None, *, standing: bool, slow: bool = False
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
        standing=standing,
        slow=slow,
    )
