"""KPI alarms: one per release and KPI, while the newest window that says anything is beyond its bound."""

import itertools
from collections.abc import Iterator, Mapping, Sequence
from datetime import datetime

import polars as pl

from cv_assets.alarms.opening import Opening
from cv_assets.drift.stretches import Row, Says, Stretch, stretches
from cv_assets.words import sentence


def kpi_openings(kpis: pl.DataFrame, places: Mapping[str, tuple[datetime, str]]) -> Iterator[Opening]:
    """One per release and KPI with a broken window: the newest stretch of such windows.

    A window that says `not_enough` neither opens nor ends one: with every new delivery the answers are still to come.
    `places` orders the deliveries by their captures.
    """

    def place(row: Row) -> tuple[datetime, str]:
        return places.get(row["until"], (row["captured_to"], row["until"]))

    by_series = sorted(kpis.iter_rows(named=True), key=lambda row: (*_of_release(row), place(row)))
    for _, rows in itertools.groupby(by_series, key=_of_release):
        windows = list(rows)
        judged = [row for row in windows if row["verdict"] != "not_enough"]
        said: list[Says] = ["shows" if row["verdict"] == "broken" else "ordinary" for row in judged]
        if found := stretches(judged, said, 1):
            yield _kpi_alarm(found[-1], [row["until"] for row in windows])


def _of_release(row: Row) -> tuple[int, str]:
    return row["release_number"], row["metric"]


def _kpi_alarm(stretch: Stretch, until: Sequence[str]) -> Opening:
    first, last = stretch.shown[0], stretch.shown[-1]
    ends = {name: place + 1 for place, name in enumerate(until)}
    windows = {
        name
        for row in stretch.shown
        for end in [ends[row["until"]]]
        for name in until[max(0, end - row["deliveries"]) : end]
    }
    opened_at, ended_by = _said_at(first), next(iter(stretch.ended_by), None)
    return Opening(
        alarm_id=f"kpi-r{first['release_number']}-{first['metric']}",
        kind="kpi",
        statistic=first["metric"],
        stations=(),
        release=first["release"],
        release_number=first["release_number"],
        deliveries=tuple(name for name in until if name in windows),
        why=f"{sentence(first['metric'] + ' of ' + first['release'] + ' is beyond its bound')} "
        f"{sentence('up to ' + last['until'] + ': ' + last['why'])}",
        opened_at=opened_at,
        ended=f"it ended by itself: up to {ended_by['until']}, {ended_by['why']}" if ended_by else None,
        ended_at=max(opened_at, _said_at(ended_by)) if ended_by else None,
    )


def _said_at(window: Row) -> datetime:
    """When a window's figure was there: with its last capture, or with the newest answer that counts in it."""
    answered_at: datetime | None = window["answered_at"]
    captured_to: datetime = window["captured_to"]
    return captured_to if answered_at is None else max(captured_to, answered_at)
