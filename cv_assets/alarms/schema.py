"""Contract of the alarms step."""

from typing import Final

import dataframely as dy

KINDS: Final = ("drift", "kpi", "station")
STATES: Final = ("warning", "open", "closed")
WAITS: Final = (
    "patience",
    "fresh_labels",
    "benchmark",
    "training",
    "drift_alarm",
    "cooldown",
    "ready",
    "station",
    "nothing",
)


class Alarms(dy.Schema):
    """One alarm: what happened, what it waits for, and what closed it. Follows from the other tables alone."""

    alarm_id = dy.String(
        primary_key=True,
        regex="^[A-Za-z0-9_.-]+$",
        description="drift-rN and kpi-rN-METRIC (N: the release's row in releases), "
        "STATISTIC-STATION-DELIVERY for a station. A retraining names it as its evidence.",
    )
    kind = dy.String(regex=f"^({'|'.join(KINDS)})$", description="A station alarm never retrains.")
    state = dy.String(
        regex=f"^({'|'.join(STATES)})$",
        description="warning: not confirmed yet. open: somebody or something has to act. closed: over.",
    )
    why = dy.String(description="What happened, in words, with its figures.")
    release = dy.String(nullable=True, description="The version it is about.")
    release_number = dy.Int64(nullable=True, description="Its row in releases.")
    statistic = dy.String(description="The statistic, or the KPI.")
    station = dy.String(nullable=True, description="Where; null when it is unknown, mixed, or all.")
    first_delivery = dy.String(nullable=True, description="The first delivery that shows it.")
    deliveries = dy.List(
        dy.String(), description="All deliveries that show it, in the order of their captures."
    )
    opened_at = dy.Datetime(
        nullable=True,
        time_zone="UTC",
        time_unit="us",
        description="When it was confirmed; null for a warning.",
    )
    fresh_labels = dy.Int64(
        min=0,
        description="Agreed labels of frames since its first delivery that may train and that no judged training asked "
        "for by it has seen; 0 once it is closed. For a drift alarm also those of an earlier release's drifted "
        "deliveries, of the same conditions, that no judged training at all has seen.",
    )
    needed_labels = dy.Int64(min=0, description="So many start a retraining; 0 for a station.")
    lacking_conditions = dy.List(
        dy.String(),
        description="ATTRIBUTE=VALUE of frames that would train by now, where the golden benchmark holds too few: the "
        "gate would refuse a candidate for it.",
    )
    cooldown_until = dy.Datetime(
        nullable=True,
        time_zone="UTC",
        time_unit="us",
        description="Before this no retraining starts by itself.",
    )
    attempts = dy.Int64(min=0, description="Candidates that were requested for it.")
    waits_for = dy.String(
        regex=f"^({'|'.join(WAITS)})$",
        description="patience: another such delivery. fresh_labels, benchmark: people. training: a candidate is not "
        "concluded. drift_alarm: that of its release goes first. cooldown: time, until cooldown_until. ready: the "
        "sensor. station: a person at the station. nothing: it is closed.",
    )
    waiting = dy.String(description="The same in words, with its figures.")
    closed_by = dy.String(
        nullable=True, description="The released candidate, or what else ended it, in words."
    )
    closed_at = dy.Datetime(nullable=True, time_zone="UTC", time_unit="us", description="When it was closed.")
    page = dy.String(
        nullable=True,
        metadata={"volatile": True},
        description="Where Evidently's report on its first deliveries is in the lake; null without one.",
    )
    page_note = dy.String(
        nullable=True, metadata={"volatile": True}, description="Where Evidently's verdict differs, and why."
    )
