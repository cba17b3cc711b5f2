"""The alarms as a table: what opened, what each waits for, what closed it. The same tables give the same rows."""

from collections.abc import Callable, Collection, Iterator, Sequence
from dataclasses import replace
from datetime import datetime
from typing import Any, Final

import polars as pl

from cv_assets.alarms.drift_alarms import drift_openings
from cv_assets.alarms.fresh_labels import Labelled, fresh_labels, labelled, labels_left_over
from cv_assets.alarms.kpi_alarms import kpi_openings
from cv_assets.alarms.opening import Opening, vanished
from cv_assets.alarms.schema import Alarms
from cv_assets.alarms.station_alarms import station_openings
from cv_assets.alarms.waiting import Closing, History, Waiting, closing, waiting
from cv_assets.drift.episodes import drifted_deliveries
from cv_assets.evaluation.conditions import lacking
from cv_assets.requests.policy import Requested, requested
from cv_assets.spec.schema import Spec

LabelsOf = Callable[[str], pl.DataFrame]
"""The agreed labels, frame_id and label, that the training of a candidate could see."""

_RETRAINS: Final = ("drift", "kpi")


def alarms(
    *,
    metrics: pl.DataFrame,
    kpis: pl.DataFrame,
    releases: pl.DataFrame,
    requests: pl.DataFrame,
    label_table: pl.DataFrame,
    benchmark_frames: pl.DataFrame,
    captures: pl.DataFrame,
    spec: Spec,
    spec_digest: str,
    labels_of: LabelsOf,
) -> pl.DataFrame:
    """The rows of Alarms, newest first, without their pages; independent of the order of rows.

    Of `metrics`, rows of drift_metrics, it reads `DRIFT_NEEDED`; `captures` are what `fresh_labels.captures` gives.
    """
    known = labelled(captures, label_table, benchmark_frames, spec.splits)
    asked = requested(requests, releases, spec_digest)
    history = History(asked, releases, _known_time(metrics, releases, requests))
    openings = [
        *drift_openings(metrics, spec.drift.patience),
        *kpi_openings(kpis, known.places),
        *station_openings(metrics),
    ]
    drifted = drifted_deliveries(metrics, spec.drift.patience)

    def fresh(opening: Opening) -> int:
        return _fresh(opening, history, known, drifted, spec, labels_of)

    rows = [_row(one, history, known, spec, fresh) for one in _one_each(openings, history)]
    table = pl.DataFrame(_kpis_after_drift(rows), schema=Alarms.create_empty().schema)
    return table.sort("opened_at", "alarm_id", descending=[True, False], nulls_last=False)


def _known_time(*tables: pl.DataFrame) -> datetime | None:
    """The newest time at which something was measured, concluded or requested: now is not before it."""
    columns = ("measured_at", "concluded_at", "requested_at")
    newest = (table[name].max() for table, name in zip(tables, columns, strict=True))
    return max((when for when in newest if isinstance(when, datetime)), default=None)


def _one_each(openings: list[Opening], history: History) -> Iterator[Opening]:
    """One opening per alarm: a warning stands in for an alarm that is over, and what was replaced warns no more.

    An alarm that a candidate was requested for stays an alarm, open or closed, whatever is measured since.
    """
    told = {one.alarm_id: one for one in openings if one.confirmed}
    warnings = {one.alarm_id: one for one in openings if not one.confirmed}
    for request in history.requests:
        if request.evidence not in told and (left := vanished(request, history.releases)):
            warning = warnings.get(left.alarm_id)
            told[left.alarm_id] = replace(left, **_as_warned(request, warning)) if warning else left
    for one in warnings.values():
        before = told.get(one.alarm_id)
        over = before is None or (before.ended is not None and not history.asked_by(one.alarm_id))
        if over and history.successor(one.release_number or 0) is None:
            told[one.alarm_id] = one
    yield from told.values()


def _as_warned(request: Requested, warning: Opening) -> dict[str, Any]:
    """What an alarm says that a candidate was requested for, and that would only be a warning by now."""
    why = f"Candidate {request.candidate} was requested for it; by now it would be a warning: {warning.why}"
    return {"why": why, "deliveries": warning.deliveries, "stations": warning.stations}


def _row(
    opening: Opening, history: History, known: Labelled, spec: Spec, fresh_labels_of: Callable[[Opening], int]
) -> dict[str, Any]:
    closed = closing(opening, history)
    acts = closed is None and opening.kind in _RETRAINS
    asked = history.asked_by(opening.alarm_id)
    fresh = fresh_labels_of(opening) if acts else 0
    needed_golden = spec.evaluation.new_condition_frames
    few = lacking(known.split, spec.conditions, needed_golden) if acts else {}
    waits = _waits(closed) or waiting(
        opening,
        history,
        fresh=fresh,
        lacking=few,
        needed_golden=needed_golden,
        policy=spec.retraining,
        patience=spec.drift.patience,
    )
    return {
        "alarm_id": opening.alarm_id,
        "kind": opening.kind,
        "state": "closed" if closed else "open" if opening.confirmed else "warning",
        "why": opening.why,
        "release": opening.release,
        "release_number": opening.release_number,
        "statistic": opening.statistic,
        "station": opening.station,
        "first_delivery": next(iter(opening.deliveries), None),
        "deliveries": opening.deliveries,
        "opened_at": opening.opened_at,
        "fresh_labels": fresh,
        "needed_labels": spec.retraining.min_new_labels if opening.kind in _RETRAINS else 0,
        "lacking_conditions": list(few),
        "cooldown_until": history.cooldown_until(spec.retraining) if acts else None,
        "attempts": len(asked),
        "waits_for": waits.waits_for,
        "waiting": waits.words,
        "closed_by": closed and closed.by,
        "closed_at": closed and closed.at,
    }


def _fresh(
    opening: Opening,
    history: History,
    known: Labelled,
    drifted: Collection[str],
    spec: Spec,
    labels_of: LabelsOf,
) -> int:
    """How many labels are fresh to the alarm: a training has spent those that it was judged with, or will be."""

    def spent(requests: Sequence[Requested]) -> pl.DataFrame | None:
        newest = next((one.candidate for one in reversed(requests) if one.spends_labels), None)
        return labels_of(newest) if newest else None

    fresh = fresh_labels(opening, known, spent(history.asked_by(opening.alarm_id)))
    if opening.kind == "drift":
        before = labels_left_over(opening, known, drifted, spec.conditions, spent(history.requests))
        fresh = pl.concat([fresh, before]).unique("frame_id")
    return fresh.height


def _waits(closed: Closing | None) -> Waiting | None:
    return Waiting("nothing", "Nothing: it is over.") if closed else None


def _kpis_after_drift(rows: list[dict[str, Any]]) -> Iterator[dict[str, Any]]:
    """A KPI that fell while the data drifted has one cause with it: the drift alarm's retraining comes first."""
    drifting = {
        row["release_number"]: row["alarm_id"]
        for row in rows
        if (row["kind"], row["state"]) == ("drift", "open")
    }
    for row in rows:
        waits = row["kind"] == "kpi" and row["state"] == "open" and row["waits_for"] != "training"
        first = drifting.get(row["release_number"]) if waits else None
        after = f"{first}, which is open for the same release, goes first. After that: {row['waiting']}"
        yield {**row, "waits_for": "drift_alarm", "waiting": after} if first else row
