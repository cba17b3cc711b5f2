"""Tell people of failed runs and failed checks, through the channels of `CV_NOTIFY`.

A plain sensor, not one on run status: Dagster moves such a sensor on past a run whose notice could not be sent. The
cursor holds, for each channel, its mark and its place: how far it was told, and what it did not take.
"""

import json
import time
from collections.abc import Iterator, Sequence
from dataclasses import astuple, replace
from typing import Final

import dagster as dg

# Neither is public; there is no other way to ask for the records of one partition.
from dagster._core.event_api import PartitionKeyFilter
from dagster._core.storage.asset_check_execution_record import COMPLETED_ASSET_CHECK_EXECUTION_RECORD_STATUSES

from resources.deployments import Deployment
from resources.notices import Channel, Ended, FailedCheck, Place, after_lost, channels, notice
from resources.partitions import PROJECT
from resources.runs import is_tried_again, number_in

BY_HAND: Final = "__ASSET_JOB"
"""Dagster's name for the job of what somebody materializes without one."""

ENDS: Final = (dg.DagsterEventType.RUN_FAILURE, dg.DagsterEventType.RUN_SUCCESS)

LOOKED_AT: Final = 50
"""Ended runs that one look goes through, per channel."""

LOOK_SECONDS: Final = 20.0
"""No notice is started after this; Dagster gives a tick a minute."""


@dg.sensor(
    minimum_interval_seconds=14,  # every third look of the daemon, which looks every 5 s
    default_status=dg.DefaultSensorStatus.RUNNING,
    description="Tells people, through the channels of CV_NOTIFY, of each run that failed for good and of each check "
    "that failed, unless it failed with the same words the last time. A channel that does not take a notice fails the "
    "ticks and is tried again, ever less often; after an hour the notice is given up. Without a channel nobody is "
    "told.",
)
def notices(
    context: dg.SensorEvaluationContext, deployment: dg.ResourceParam[Deployment]
) -> dg.SensorResult | dg.SkipReason:
    """Tell each channel of the runs that ended since it was last told."""
    listeners = channels(deployment.notify)
    told = _told(context, listeners)
    if not listeners:
        context.update_cursor("[]")
        return dg.SkipReason("Nobody is told of failed runs and checks: CV_NOTIFY names no channel.")
    before, until = list(told), time.monotonic() + LOOK_SECONDS
    said: list[str] = []
    waiting: list[str] = []
    for number, channel in enumerate(listeners):
        if told[number].next_at > time.time():
            waiting.append(told[number].words)
            continue
        for place, sentence in _tell(context, deployment, channel, told[number], until):
            told[number] = place
            said += [sentence] if sentence else []
    if waiting and told == before:
        raise ConnectionError(" ".join(waiting))
    # A failed tick keeps no cursor: one that tried, or told another channel something, only says what was not taken.
    return dg.SensorResult(
        skip_reason=" ".join(said + waiting) or "Nothing to tell: no run failed, and no check did.",
        cursor=json.dumps([[one.mark, *astuple(place)] for one, place in zip(listeners, told, strict=True)]),
    )


def _told(context: dg.SensorEvaluationContext, listeners: Sequence[Channel]) -> list[Place]:
    """The place of each channel. One whose URL was corrected in its place goes on there; a new one starts now."""
    known = [(mark, Place(*place)) for mark, *place in json.loads(context.cursor or "[]")]
    marks = {channel.mark for channel in listeners}
    told = dict(known)
    for channel, (mark, place) in zip(listeners, known, strict=False):
        if mark not in marks:
            told.setdefault(channel.mark, Place(place.end, lost=place.lost))
    now = Place(_newest_end(context.instance))
    return [told.get(channel.mark, now) for channel in listeners]


def _newest_end(instance: dg.DagsterInstance) -> int:
    newest = [instance.fetch_run_status_changes(kind, limit=1).records for kind in ENDS]
    return max((record.storage_id for records in newest for record in records), default=0)


def _tell(
    context: dg.SensorEvaluationContext, deployment: Deployment, channel: Channel, place: Place, until: float
) -> Iterator[tuple[Place, str]]:
    """Tell what there is to tell, up to what the channel does not take; yields each place, with what was done there."""
    for end in _ends(context.instance, place.end):
        told = None
        run = context.instance.get_run_by_id(end.run_id)
        if run and _is_ours(context, run):
            # Not the run's status: it is stored after the event.
            failed = end.event_log_entry.dagster_event_type is dg.DagsterEventType.RUN_FAILURE
            if time.monotonic() > until or (failed and _may_be_tried_again(context.instance, run, end)):
                return
            told = notice(_ended(context.instance, run, end, failed), PROJECT, deployment.dagster_url)
        if told is None:
            place = replace(place, end=end.storage_id)
            yield place, ""
            continue
        try:
            channel.tell(after_lost(told, place.lost))
        except ConnectionError as error:
            refused = place.refused(end.storage_id, end.timestamp, str(error), time.time())
            yield refused, refused.words
            return
        place = Place(end.storage_id)
        yield place, f"Channel {channel.number} was told: {told.title}."


def _ends(instance: dg.DagsterInstance, after: int) -> Sequence[dg.EventLogRecord]:
    """The next ends of runs, oldest first."""
    found = [
        record
        for kind in ENDS
        for record in instance.fetch_run_status_changes(
            dg.RunStatusChangeRecordsFilter(kind, after_storage_id=after), limit=LOOKED_AT, ascending=True
        ).records
    ]
    return sorted(found, key=lambda record: record.storage_id)[:LOOKED_AT]


def _is_ours(context: dg.SensorEvaluationContext, run: dg.DagsterRun) -> bool:
    """Whether the run is of this code location, which may share its Dagster with others."""
    ours, origin = context.code_location_origin, run.remote_job_origin
    theirs = origin.repository_origin.code_location_origin if origin else None
    return (ours and ours.location_name) == (theirs and theirs.location_name)


def _may_be_tried_again(instance: dg.DagsterInstance, run: dg.DagsterRun, end: dg.EventLogRecord) -> bool:
    """Whether Dagster has still to say if the failed run is tried again."""
    return instance.run_retries_enabled and is_tried_again(run, end.timestamp) is None


def _ended(instance: dg.DagsterInstance, run: dg.DagsterRun, end: dg.EventLogRecord, failed: bool) -> Ended:
    return Ended(
        run_id=run.run_id,
        what=_what(run),
        partition=run.tags.get("dagster/partition"),
        failed=failed,
        will_retry=failed and bool(is_tried_again(run, end.timestamp)),
        retries=number_in(run, "dagster/retry_number"),
        max_retries=number_in(run, "dagster/max_retries"),
        errors=tuple(_errors(instance, run)) if failed else (),
        checks=tuple(_failed_checks(instance, run)),
    )


def _what(run: dg.DagsterRun) -> str:
    if run.job_name != BY_HAND:
        return run.job_name
    return ", ".join(sorted(key.path[-1] for key in run.asset_selection or ())) or "a materialization"


def _errors(instance: dg.DagsterInstance, run: dg.DagsterRun) -> Iterator[str]:
    """What each failed step said, or the run itself when no step did."""
    failures = _events(instance, run, dg.DagsterEventType.STEP_FAILURE)
    for event in failures:
        data = event.step_failure_data
        if data.user_failure_data and data.user_failure_data.description:
            yield f"{event.step_key}: {data.user_failure_data.description}"
        elif data.error:
            yield f"{event.step_key}: {(data.error.cause or data.error).message}"
    if not failures:
        for event in _events(instance, run, dg.DagsterEventType.RUN_FAILURE):
            yield event.message or "no step says why"


def _failed_checks(instance: dg.DagsterInstance, run: dg.DagsterRun) -> Iterator[FailedCheck]:
    for event in _events(instance, run, dg.DagsterEventType.ASSET_CHECK_EVALUATION):
        check = event.asset_check_evaluation_data
        if not check.passed and not _said_so_before(instance, run, check):
            yield FailedCheck(
                asset=check.asset_key.path[-1],
                name=check.check_name,
                sentence=check.description or "it did not say why",
                partition=check.partition,
                refuses=check.severity is dg.AssetCheckSeverity.ERROR,
            )


def _said_so_before(instance: dg.DagsterInstance, run: dg.DagsterRun, check: dg.AssetCheckEvaluation) -> bool:
    """Whether the check failed with the same words for the same partition in the run before."""
    records = instance.event_log_storage.get_asset_check_execution_history(
        check.asset_check_key,
        limit=LOOKED_AT,
        status=set(COMPLETED_ASSET_CHECK_EXECUTION_RECORD_STATUSES),
        partition_filter=PartitionKeyFilter(key=check.partition),
    )
    runs = [record.run_id for record in records]
    if run.run_id not in runs:
        return False
    before = next((one for one in records[runs.index(run.run_id) :] if one.run_id != run.run_id), None)
    said = before.evaluation if before else None
    return said is not None and not said.passed and said.description == check.description


def _events(
    instance: dg.DagsterInstance, run: dg.DagsterRun, kind: dg.DagsterEventType
) -> list[dg.DagsterEvent]:
    records = instance.get_records_for_run(run.run_id, of_type=kind).records
    events = [record.event_log_entry.dagster_event for record in records]
    return [event for event in events if event]
