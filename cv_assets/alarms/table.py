"""The alarms as a table: what opened, what each waits for, what closed it. The same tables give the same rows."""

from collections.abc import Callable, Iterator
from datetime import datetime
from typing import Any, Final

import polars as pl

from cv_assets.alarms.drift_alarms import drift_openings
from cv_assets.alarms.fresh_labels import Labelled, fresh_labels, golden_frames, labelled
from cv_assets.alarms.kpi_alarms import kpi_openings
from cv_assets.alarms.opening import Opening, vanished
from cv_assets.alarms.schema import Alarms
from cv_assets.alarms.station_alarms import station_openings
from cv_assets.alarms.waiting import Closing, History, Waiting, closing, lacking, waiting
from cv_assets.requests.policy import requested
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

    Of `metrics`, rows of drift_metrics, it reads `DRIFT_NEEDED`; of `captures`, rows of inspections, `CAPTURE_FACTS`.
    """
    known = labelled(captures, label_table, benchmark_frames, spec.splits.group_by)
    asked = requested(requests, releases, spec_digest)
    history = History(asked, releases, _known_time(metrics, releases, requests))
    openings = [
        *drift_openings(metrics, spec.drift.patience),
        *kpi_openings(kpis, known.places),
        *station_openings(metrics),
    ]
    rows = [_row(one, history, known, spec, labels_of) for one in _one_each(openings, history)]
    table = pl.DataFrame(_kpis_after_drift(rows), schema=Alarms.create_empty().schema)
    return table.sort("opened_at", "alarm_id", descending=[True, False], nulls_last=False)


def _known_time(*tables: pl.DataFrame) -> datetime | None:
    """The newest time at which something was measured, concluded or requested: now is not before it."""
    columns = ("measured_at", "concluded_at", "requested_at")
    newest = (table[name].max() for table, name in zip(tables, columns, strict=True))
    return max((when for when in newest if isinstance(when, datetime)), default=None)


def _one_each(openings: list[Opening], history: History) -> Iterator[Opening]:
    """One opening per alarm: a warning stands in for an alarm that is over, and what was replaced warns no more."""
    told = {one.alarm_id: one for one in openings if one.confirmed}
    for one in openings:
        before = told.get(one.alarm_id)
        over = before is None or (before.ended is not None and history.pending(one.alarm_id) is None)
        if not one.confirmed and over and history.successor(one.release_number or 0) is None:
            told[one.alarm_id] = one
    for request in history.requests:
        if request.evidence not in told and (left := vanished(request, history.releases)):
            told[left.alarm_id] = left
    yield from told.values()


def _row(
    opening: Opening, history: History, known: Labelled, spec: Spec, labels_of: LabelsOf
) -> dict[str, Any]:
    closed = closing(opening, history)
    acts = closed is None and opening.kind in _RETRAINS
    asked = history.asked_by(opening.alarm_id)
    fresh = known.can_train.clear()
    if acts:
        fresh = fresh_labels(opening, known, labels_of(asked[-1].candidate) if asked else None)
    golden = golden_frames(fresh, known, spec.conditions)
    needed_golden = spec.evaluation.new_condition_frames
    waits = _waits(closed) or waiting(
        opening,
        history,
        fresh=fresh.height,
        golden=golden,
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
        "fresh_labels": fresh.height,
        "needed_labels": spec.retraining.min_new_labels if opening.kind in _RETRAINS else 0,
        "lacking_conditions": lacking(golden, needed_golden),
        "cooldown_until": history.cooldown_until(spec.retraining.cooldown_hours) if acts else None,
        "attempts": len(asked),
        "waits_for": waits.waits_for,
        "waiting": waits.words,
        "closed_by": closed and closed.by,
        "closed_at": closed and closed.at,
    }


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
