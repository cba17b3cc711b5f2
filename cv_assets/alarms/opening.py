"""What opens an alarm and what ends it by itself: the one thing that drift, KPI and station alarms share.

Deliveries follow one another as they were captured, not as they arrived; a delivery that nothing can be said of is
looked past.
"""

import re
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Final

import polars as pl

from cv_assets.drift.episodes import CAPTURED, NEEDED
from cv_assets.drift.schema import JUDGED
from cv_assets.drift.stretches import Row
from cv_assets.reference.schema import NOVELTY
from cv_assets.requests.policy import Requested

DRIFT_NEEDED: Final = (*NEEDED, "why")
"""The columns of drift_metrics that are read here."""

_ID: Final = re.compile(r"(?P<kind>drift|kpi)-r(?P<number>\d+)(?:-(?P<metric>.+))?")


@dataclass(frozen=True)
class Opening:
    """What the tables show of one alarm, before anybody acts on it.

    `opened_at` is None for a warning. `ended` says in words what ended it by itself, and `ended_at` when; None while
    it stands. `stations` are those where it shows, None standing for a delivery of an unknown or of several stations;
    empty: all of them.
    """

    alarm_id: str
    kind: str
    statistic: str
    stations: tuple[str | None, ...]
    release: str | None
    release_number: int | None
    deliveries: tuple[str, ...]
    why: str
    opened_at: datetime | None
    ended: str | None = None
    ended_at: datetime | None = None

    @property
    def confirmed(self) -> bool:
        """It is more than a warning."""
        return self.opened_at is not None

    @property
    def station(self) -> str | None:
        """The one station where it shows."""
        return self.stations[0] if len(self.stations) == 1 else None


def rows_judged(metrics: pl.DataFrame, role: str) -> list[dict[str, Any]]:
    """The rows of drift metrics of that role that have a verdict, as they were captured. Reads `DRIFT_NEEDED`."""
    of = metrics.filter(pl.col("role") == role, pl.col("verdict").is_in(JUDGED)).select(DRIFT_NEEDED)
    return of.sort(CAPTURED, "delivery", "statistic").to_dicts()


def series_of(row: Row) -> tuple[bool, str, str]:
    """What a row of drift metrics continues: one statistic at one station, an unknown one last."""
    return row["station"] is None, row["station"] or "", row["statistic"]


def names_an_alarm(evidence: str) -> bool:
    """Whether the evidence of a request is the name of a drift or KPI alarm."""
    named = _ID.fullmatch(evidence)
    return named is not None and (named["kind"] == "kpi") == bool(named["metric"])


def vanished(request: Requested, releases: pl.DataFrame) -> Opening | None:
    """What is left of an alarm that a training was asked for by, and that the tables no longer show.

    None when the request's evidence is no name of an alarm.
    """
    named = _ID.fullmatch(request.evidence)
    if named is None or not names_an_alarm(request.evidence):
        return None
    number = int(named["number"])
    of = releases.filter(number=number)
    return Opening(
        alarm_id=request.evidence,
        kind=named["kind"],
        statistic=named["metric"] or NOVELTY,
        stations=(),
        release=None if of.is_empty() else of["version"][0],
        release_number=number,
        deliveries=(),
        why=f"Candidate {request.candidate} was requested for it; no delivery shows it any more.",
        opened_at=request.requested_at,
        ended="what it was about is measured otherwise now: deliveries, answers or the spec changed since",
        ended_at=request.requested_at,
    )
