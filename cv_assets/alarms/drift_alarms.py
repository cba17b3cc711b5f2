"""Drift alarms: one per release, over all stations, from the statistics that may start a retraining."""

from collections.abc import Iterator, Sequence
from dataclasses import replace

import polars as pl

from cv_assets.alarms.opening import Opening, rows_judged, series_of
from cv_assets.drift.episodes import Episode, episodes
from cv_assets.drift.stretches import Row, Says, Stretch, stretches
from cv_assets.reference.schema import NOVELTY
from cv_assets.reference.words import it_takes
from cv_assets.words import counted, sentence, spanned


def drift_openings(metrics: pl.DataFrame, patience: int) -> Iterator[Opening]:
    """Of each release at most two: its drift alarm, and a warning while a run of drifted deliveries is too short.

    An alarm tells the stretches that stand at any station; when none does, the one that ended last. Reads
    `DRIFT_NEEDED`.
    """
    alarming = [
        one for one in episodes(metrics, patience) if one.role == "alarms" and one.release_number is not None
    ]
    judged = rows_judged(metrics, "alarms")
    for number in sorted({one.release_number for one in alarming if one.release_number is not None}):
        mine = [one for one in alarming if one.release_number == number]
        rows = [row for row in judged if row["release_number"] == number]
        unusual = metrics.filter(role="warns", verdict="drifted", release_number=number)
        confirmed = [one for one in mine if one.confirmed]
        if confirmed:
            yield _drift_alarm(rows, confirmed, unusual, patience)
        if starting := [one for one in mine if one.standing and not one.confirmed]:
            yield _drift_warning(rows, starting, patience)


def blind(version: str, reference: pl.DataFrame) -> str:
    """Why no drift alarm can open for a release by its drift_reference, and what to do; empty when one can."""
    do = "and no drift alarm can open. Release a candidate that"
    if reference.is_empty():
        return f"{version} was released without a drift_reference: deliveries are held against nothing, {do} has one."
    if not reference.filter(pl.col("statistic") == NOVELTY, pl.col("calibrated")).is_empty():
        return ""
    return (
        f"The drift_reference of {version} is made of too few deliveries: how much ordinary ones differ is not known, "
        f"{do} was trained on frames of more deliveries."
    )


def _drift_alarm(
    rows: Sequence[Row], confirmed: Sequence[Episode], unusual: pl.DataFrame, patience: int
) -> Opening:
    by_series: dict[tuple[bool, str, str], list[Episode]] = {}
    for one in confirmed:
        place = (one.station is None, one.station or "", one.statistic)
        by_series.setdefault(place, []).append(one)
    found = [
        _of_series([row for row in rows if series_of(row) == place], mine, patience)
        for place, mine in by_series.items()
    ]
    every = [one for series in found for one in series]
    standing = [one for one in every if one.ended is None]
    if not standing:
        last = max(every, key=lambda one: (one.ended_at, one.deliveries))
        return replace(last, why=f"{last.why}{_also_unusual(unusual, last.deliveries)}")
    places = {row["delivery"]: place for place, row in enumerate(rows)}
    shown = sorted({name for one in standing for name in one.deliveries}, key=places.__getitem__)
    return replace(
        standing[0],
        stations=tuple(dict.fromkeys(station for one in standing for station in one.stations)),
        deliveries=tuple(shown),
        why=" ".join(one.why for one in standing) + _also_unusual(unusual, shown),
        opened_at=min(one.opened_at for one in standing if one.opened_at is not None),
    )


def _of_series(rows: Sequence[Row], confirmed: Sequence[Episode], patience: int) -> list[Opening]:
    """The stretches of one statistic at one station under one release."""
    showing = {name for one in confirmed for name in one.deliveries}
    said: list[Says] = [
        "shows" if row["delivery"] in showing else "doubtful" if row["verdict"] == "drifted" else "ordinary"
        for row in rows
    ]
    return [_drift_stretch(one, confirmed) for one in stretches(rows, said, patience)]


def _drift_stretch(stretch: Stretch, confirmed: Sequence[Episode]) -> Opening:
    first, last = stretch.shown[0], stretch.shown[-1]
    names = tuple(row["delivery"] for row in stretch.shown)
    mine = [one for one in confirmed if one.deliveries[0] in names]
    opened_at = min(one.confirmed_at for one in mine if one.confirmed_at is not None)
    at = f" at {first['station']}" if first["station"] else ""
    many = counted(len(names), "delivery", "deliveries")
    how = (
        f"slow drift of {first['statistic']}{at}: {many} moved away from what {first['release']} was trained on by "
        f"steps that are small each ({spanned(names)})"
        if all(one.slow for one in mine)
        else f"{first['statistic']} drifted{at} in {many} from what {first['release']} was trained on "
        f"({spanned(names)})"
    )
    ended, ended_at = None, None
    if stretch.ended_by:
        ended_at = max(opened_at, *(row["measured_at"] for row in stretch.ended_by))
        calm = [row["delivery"] for row in stretch.ended_by]
        ended = (
            f"it ended by itself: {counted(len(calm), 'ordinary delivery', 'ordinary deliveries')} in a row "
            f"({spanned(calm)})"
        )
    return Opening(
        alarm_id=f"drift-r{first['release_number']}",
        kind="drift",
        statistic=first["statistic"],
        stations=(first["station"],),
        release=first["release"],
        release_number=first["release_number"],
        deliveries=names,
        why=f"{sentence(how)} {sentence('in ' + last['delivery'] + ': ' + last['why'])}",
        opened_at=opened_at,
        ended=ended,
        ended_at=ended_at,
    )


def _drift_warning(rows: Sequence[Row], starting: Sequence[Episode], patience: int) -> Opening:
    known = {row["delivery"]: row for row in rows}
    names = sorted({name for one in starting for name in one.deliveries}, key=list(known).index)
    first, last = known[names[0]], known[names[-1]]
    many = counted(len(names), "delivery", "deliveries")
    takes = f"an alarm takes {it_takes(patience)} at one station"
    how = f"{first['statistic']} drifted in {many} ({spanned(names)}); {takes}"
    return Opening(
        alarm_id=f"drift-r{first['release_number']}",
        kind="drift",
        statistic=first["statistic"],
        stations=tuple(dict.fromkeys(one.station for one in starting)),
        release=first["release"],
        release_number=first["release_number"],
        deliveries=tuple(names),
        why=f"{sentence(how)} {sentence('in ' + last['delivery'] + ': ' + last['why'])}",
        opened_at=None,
    )


def _also_unusual(unusual: pl.DataFrame, deliveries: Sequence[str]) -> str:
    """The statistics that only warn and that drifted in the same deliveries."""
    names = unusual.filter(pl.col("delivery").is_in(deliveries))["statistic"].unique().sort().to_list()
    return f" Beyond their own levels there: {', '.join(names)}." if names else ""
