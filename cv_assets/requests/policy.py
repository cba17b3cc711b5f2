"""Whether an alarm starts a retraining now, and if not, why not in words: one pure function and what it looks at.

Nothing is remembered: what was requested and concluded stands in the lake, Dagster's records only say what is in
flight or failed. Why an alarm has at most one retraining per attempt is said in decision 0015.
"""

from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any, Final, Literal

import polars as pl

from cv_assets.requests.base import base_is_in_force, release_in_force
from cv_assets.spec.drift import Retraining
from cv_assets.words import counted, moment

AUTOMATIC: Final = ("drift", "kpi", "schedule")
"""Reasons of retrainings that nobody asked for by hand."""

_AFTER_DRIFT: Final = ("kpi", "schedule")
"""These wait while a drift alarm of the same release is open: one cause has one retraining."""


@dataclass(frozen=True)
class Requested:
    """A training request as it was published. `run`: the Dagster run that asked; its re-executions share it.

    `decided`: it has its release decision, and only waits to be concluded. `judged`: it was concluded on that decision.
    """

    candidate: str
    reason: str
    evidence: str
    requested_by: str
    requested_at: datetime
    open: bool
    run: str | None = None
    decided: bool = False
    judged: bool = False

    @property
    def spends_labels(self) -> bool:
        """The labels that its training could see are fresh no more: they were, or will be, judged with it."""
        return self.open or self.judged


@dataclass(frozen=True)
class Training:
    """A run of `retrain` together with the runs that re-executed it, and how its newest try stands.

    waiting: it failed, and Dagster tries it again. failed: nobody does by itself. succeeded: one ended well or
    gave way.
    """

    candidate: str
    run: str
    newest: str
    state: Literal["in flight", "waiting", "failed", "succeeded"]
    tries: int
    ended_as: str = ""


@dataclass(frozen=True)
class World:
    """What the lake says at one commit, and what Dagster's records said just before; None when nobody asked them.

    `number` and `version` are those of the row of releases in force, None before the first release.
    """

    alarms: Sequence[Mapping[str, Any]]
    requests: Sequence[Requested]
    number: int | None
    version: str | None
    trainings: Sequence[Training] | None = None


@dataclass(frozen=True)
class Decision:
    """The candidate to request, or none, and why (or why not) in a sentence; `evidence` is the alarm."""

    evidence: str
    candidate: str | None
    why: str


def decide(alarm: Mapping[str, Any], world: World, rules: Retraining, now: datetime) -> Decision:
    """Whether `alarm`, a row of the table alarms or what `scheduled` gives, starts a retraining now."""
    alarm_id = str(alarm["alarm_id"])
    made = [one for one in world.requests if one.evidence == alarm_id]
    candidate = _next_name(alarm_id, len(made), world)
    why_not = (
        _is_no_case(alarm, world)
        or _one_is_open(world)
        or _one_is_trained(world)
        or _it_failed(candidate, world)
        or _is_older(alarm, made)
        or _waits(alarm, world.requests, rules, now)
    )
    if why_not:
        return Decision(alarm_id, None, f"{alarm_id}: {why_not}.")
    labels = int(alarm["fresh_labels"])
    why = f"{str(alarm['why']).rstrip('.')}; {counted(labels, 'fresh label is', 'fresh labels are')} there"
    return Decision(alarm_id, candidate, f"{alarm_id}: {why}.")


def gives_way(asked: Requested, alarm: Mapping[str, Any] | None, world: World, rules: Retraining) -> str:
    """Why the run that makes this request trains nothing, in a sentence; empty when it goes on.

    `world` is that of the commit from which it would be published; `alarm` is its evidence there. What a person asks
    for always goes on, and so does a run whose request is there already.
    """
    if asked.reason not in AUTOMATIC:
        return ""
    first = next((one for one in world.requests if one.candidate == asked.candidate), None)
    if first and first.run not in (None, asked.run) and _same(first, asked):
        return f"Run {first.run} requested {asked.candidate} before this one, and trains it."
    if first:
        return ""
    if alarm is None:
        return (
            f"There is no alarm {asked.evidence!r}. A person who wants a training gives the reason `person`."
        )
    decision = decide(alarm, world, rules, asked.requested_at)
    return "" if decision.candidate else decision.why


def scheduled(
    at: datetime, fresh_labels: int, world: World, lacking_conditions: Sequence[str] = ()
) -> dict[str, Any]:
    """What the schedule's tick for the time `at` (UTC) asks, in the columns of an alarm."""
    alarm_id = f"schedule-{at:%Y%m%dT%H%M}"
    return {
        "alarm_id": alarm_id,
        "kind": "schedule",
        "state": "open",
        "why": f"the schedule asks for {moment(at)}",
        "release": world.version,
        "release_number": world.number,
        "fresh_labels": fresh_labels,
        "lacking_conditions": lacking_conditions,
        "attempts": 0,  # a time comes once
    }


def requested(requests: pl.DataFrame, releases: pl.DataFrame, spec_digest: str) -> tuple[Requested, ...]:
    """All rows of training_request, oldest first; `releases` may lack its columns, `spec_digest` is in force."""
    now = release_in_force(releases)
    concluded = {row["candidate"]: row for row in releases.to_dicts() if row["outcome"] != "rolled_back"}
    told = ("candidate", "reason", "evidence", "requested_by", "requested_at", "run")
    return tuple(
        Requested(
            **{name: row[name] for name in told},
            open=row["candidate"] not in concluded
            and row["spec_digest"] == spec_digest
            and base_is_in_force(row, now),
            judged=_judged(row, concluded.get(row["candidate"])),
        )
        for row in requests.sort("requested_at", "candidate").iter_rows(named=True)
    )


def opened(requests: Iterable[Requested]) -> Requested | None:
    """The candidate that every other training waits for."""
    return next((one for one in requests if one.open), None)


def cooldown(requests: Iterable[Requested], rules: Retraining) -> tuple[Requested, datetime] | None:
    """The newest request that nobody made by hand, and until when none follows it; None when there never was one."""
    automatic = [one for one in requests if one.reason in AUTOMATIC]
    if not automatic:
        return None
    newest = max(automatic, key=lambda one: one.requested_at)
    return newest, newest.requested_at + timedelta(hours=rules.cooldown_hours)


def _judged(request: Mapping[str, Any], concluded: Mapping[str, Any] | None) -> bool:
    # One that was trained by another spec was refused for that, whatever its decision says.
    return (
        concluded is not None
        and concluded["model"] is not None
        and concluded["spec_digest"] == request["spec_digest"]
    )


def _same(first: Requested, asked: Requested) -> bool:
    told = ("reason", "evidence", "requested_by")
    return all(getattr(first, one) == getattr(asked, one) for one in told)


def _next_name(alarm_id: str, made: int, world: World) -> str:
    """The name after those of all requests for this alarm, of runs that gave way, and of whoever took it."""
    published = {one.candidate for one in world.requests}
    gave_way = _gave_way(world.trainings or (), published)
    number = made + 1
    while f"{alarm_id}-{number}" in published | gave_way:
        number += 1
    return f"{alarm_id}-{number}"


def _gave_way(trainings: Sequence[Training], published: Collection[str]) -> set[str]:
    # One that ended well has published its request, or gave way; records are read before the lake.
    ended_well = {one.candidate for one in trainings if one.state == "succeeded"}
    still_there = {one.candidate for one in trainings if one.state != "succeeded"}
    return ended_well - still_there - set(published)


def _is_no_case(alarm: Mapping[str, Any], world: World) -> str:
    """That this alarm is none that starts a retraining, or nothing."""
    if alarm["kind"] == "station":
        return f"a person looks at station {alarm['station'] or 'unknown'}; no retraining mends a station"
    if alarm["state"] == "warning":
        return f"a warning, no alarm yet. {str(alarm['waiting']).rstrip('.')}"
    if alarm["state"] == "closed":
        return f"it is closed ({alarm['closed_by']})"
    if world.number is None:
        return "nothing is released yet; a person asks for the first training (job `retrain`)"
    if alarm["release_number"] != world.number:
        return f"it is about {alarm['release']}, and {world.version} is in force; the next run of `refresh` closes it"
    drifting = [
        str(one["alarm_id"])
        for one in world.alarms
        if (one["kind"], one["state"], one["release_number"]) == ("drift", "open", world.number)
    ]
    if alarm["kind"] in _AFTER_DRIFT and drifting:
        return f"{drifting[0]} is open for the same release and goes first"
    return ""


def _one_is_open(world: World) -> str:
    """That a candidate is requested and not concluded, and what it waits for, or nothing."""
    one = opened(world.requests)
    if one is None:
        return ""
    asked = f"requested {moment(one.requested_at)} by {one.requested_by}"
    return f"candidate {one.candidate} is open ({asked}); one at a time{_how_it_stands(one, world.trainings)}"


def _how_it_stands(asked: Requested, trainings: Sequence[Training] | None) -> str:
    if trainings is None:
        return ""
    if asked.decided:
        return ". It has its release decision and waits to be concluded (job `release`)"
    mine = [one for one in trainings if one.candidate == asked.candidate]
    # Another run under its name gave way; a request of an earlier contract does not say which is its own.
    training = next((one for one in mine if asked.run in (None, one.run)), None)
    if training is None:
        return ". No run of it is on record: a person is called to materialize what follows training_request for it"
    if training.state == "succeeded":
        return (
            f". Its run {training.newest} ended well without a release decision: materialize what is missing"
        )
    return f". {_in_words(training)}"


def _one_is_trained(world: World) -> str:
    """That a run of `retrain` has not ended, or nothing."""
    busy = [one for one in world.trainings or () if one.state in ("in flight", "waiting")]
    return f"one training at a time. {_in_words(busy[0])}" if busy else ""


def _it_failed(candidate: str, world: World) -> str:
    """That the run for this very candidate failed before its request was published, or nothing."""
    failed = [one for one in world.trainings or () if (one.candidate, one.state) == (candidate, "failed")]
    return _in_words(failed[0]) if failed else ""


def _in_words(training: Training) -> str:
    run, candidate = f"Run {training.newest}", training.candidate
    if training.state == "in flight":
        return f"{run} of {candidate} is in flight"
    tries = counted(training.tries, "try", "tries")
    ended = f"{run} of {candidate} ended as {training.ended_as} after {tries}"
    if training.state == "waiting":
        return f"{ended}, and Dagster tries it again from the failed step"
    return (
        f"{ended} and is not tried again by itself: a person is called to read why there, mend it, and re-execute the "
        "run from failure"
    )


def _is_older(alarm: Mapping[str, Any], made: Sequence[Requested]) -> str:
    """That the alarm does not know of all requests for it, so that its labels may be spent, or nothing."""
    if len(made) <= alarm["attempts"]:
        return ""
    if alarm["kind"] == "schedule":
        return f"{made[-1].candidate} was requested for this time already"
    return f"it does not know of candidate {made[-1].candidate} yet and waits for the next run of `refresh`"


def _waits(alarm: Mapping[str, Any], requests: Sequence[Requested], rules: Retraining, now: datetime) -> str:
    """What people and time still have to bring, or nothing."""
    waits = []
    if alarm["fresh_labels"] < rules.min_new_labels:
        waits.append(f"for fresh labels: {alarm['fresh_labels']} of {rules.min_new_labels} are there")
    if alarm["lacking_conditions"]:
        waits.append(f"until the benchmark holds golden frames of {', '.join(alarm['lacking_conditions'])}")
    last = cooldown(requests, rules)
    if last and now < last[1]:
        waits.append(
            f"until {moment(last[1])}: cooldown of {rules.cooldown_hours:g} hours after {last[0].candidate}"
        )
    return f"waits {'; '.join(waits)}" if waits else ""
