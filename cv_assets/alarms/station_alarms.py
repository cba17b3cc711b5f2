"""Station alarms: rejected or repeated pictures at one station, which no retraining mends."""

import itertools
import re
from collections.abc import Iterable, Iterator
from typing import Final

import polars as pl

from cv_assets.alarms.opening import Opening, rows_judged, series_of
from cv_assets.drift.stretches import Row, Says, Stretch, stretches
from cv_assets.reference.schema import REJECTED
from cv_assets.words import counted, sentence, spanned

_NOT_IN_IDS: Final = re.compile(r"[^A-Za-z0-9_.-]+")


def station_openings(metrics: pl.DataFrame) -> Iterator[Opening]:
    """One per stretch of one statistic at one station, under whatever releases; the first ordinary delivery ends it.

    A reason for rejections has no alarm of its own where that of all rejections began with it and lasts as long. Reads
    `DRIFT_NEEDED`.
    """
    rows = sorted(rows_judged(metrics, "station"), key=series_of)
    found = [one for _, series in itertools.groupby(rows, key=series_of) for one in _stretches(list(series))]
    whole = [one.shown for one in found if one.shown[0]["statistic"] == REJECTED]
    yield from (_station_alarm(one) for one in found if not _is_told_by(one, whole))


def _stretches(judged: list[Row]) -> list[Stretch]:
    said: list[Says] = ["shows" if row["verdict"] == "drifted" else "ordinary" for row in judged]
    return stretches(judged, said, 1)


def _is_told_by(stretch: Stretch, whole: Iterable[tuple[Row, ...]]) -> bool:
    """Whether the stretch is a reason for rejections, and one of all rejections tells of it."""
    shown = [row["delivery"] for row in stretch.shown]
    if not stretch.shown[0]["statistic"].startswith(f"{REJECTED}."):
        return False
    others = ([row["delivery"] for row in one] for one in whole)
    return any(names[0] == shown[0] and set(shown) <= set(names) for names in others)


def _station_alarm(stretch: Stretch) -> Opening:
    first, last = stretch.shown[0], stretch.shown[-1]
    names = [row["delivery"] for row in stretch.shown]
    place = first["station"] or "unknown"
    opened_at, ended_by = min(row["measured_at"] for row in stretch.shown), next(iter(stretch.ended_by), None)
    what = f"{first['statistic']} at station {place} is unusual in {counted(len(names), 'delivery', 'deliveries')}"
    return Opening(
        alarm_id=_NOT_IN_IDS.sub("_", f"{first['statistic']}-{place}-{first['delivery']}"),
        kind="station",
        statistic=first["statistic"],
        stations=(first["station"],),
        release=first["release"],
        release_number=first["release_number"],
        deliveries=tuple(names),
        why=f"{sentence(f'{what} ({spanned(names)})')} {sentence('in ' + last['delivery'] + ': ' + last['why'])}",
        opened_at=opened_at,
        ended=f"it ended by itself: {ended_by['delivery']} is ordinary" if ended_by else None,
        ended_at=max(opened_at, ended_by["measured_at"]) if ended_by else None,
    )
