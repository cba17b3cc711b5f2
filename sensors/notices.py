"""Tell people of failed runs and failed checks, through the channels of `CV_NOTIFY`.

A plain sensor, not one on run status: Dagster moves such a sensor on past a run whose notice could not be sent. The
cursor holds, for each channel, its mark and the newest end of a run that it was told of, or that was no news.
"""

import json
import time
from collections.abc import Iterator, Sequence
from typing import Final

import dagster as dg

# Neither is public; there is no other way to ask for the records of one partition.
from dagster._core.event_api import PartitionKeyFilter
from dagster._core.storage.asset_check_execution_record import COMPLETED_ASSET_CHECK_EXECUTION_RECORD_STATUSES

from resources.deployments import Deployment
from resources.notices import Channel, Ended, FailedCheck, channels, notice

BY_HAND: Final = "__ASSET_JOB"
"""Dagster's name for the job of what somebody materializes without one."""

ENDS: Final = (dg.DagsterEventType.RUN_FAILURE, dg.DagsterEventType.RUN_SUCCESS)

LOOKED_AT: Final = 50
"""Ended runs that one look goes through, per channel."""

LOOK_SECONDS: Final = 20.0
"""No notice is started after this; Dagster gives a tick a minute."""

MARKED_SECONDS: Final = 60.0
"""Within this Dagster has marked a failed run as to be retried or not; usually it takes milliseconds."""


@dg.sensor(
    minimum_interval_seconds=4,  # the daemon looks every 5 s: with 5 it often misses one by a hair
    default_status=dg.DefaultSensorStatus.RUNNING,
    description="Tells people, through the channels of CV_NOTIFY, of each run that failed for good and of each check "
    "that failed, unless it failed with the same words the last time. A channel that cannot be reached fails the tick "
    "and is told later. Without a channel nobody is told.",
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
    refused: list[str] = []
    for place, channel in enumerate(listeners):
        try:
            for told_to, title in _tell(context, deployment, channel, told[place], until):
                told[place] = told_to
                said += [f"Channel {channel.number} was told: {title}."] if title else []
        except ConnectionError as error:
            refused.append(f"{error} It is sent again at the next look, and what came after it waits.")
    if refused and told == before:
        raise ConnectionError(" ".join(refused))
    # A failed tick keeps no cursor: while others are told something, the refusal is only said. The next look fails.
    return dg.SensorResult(
        skip_reason=" ".join(said + refused) or "Nothing to tell: no run failed, and no check did.",
        cursor=json.dumps([[one.mark, place] for one, place in zip(listeners, told, strict=True)]),
    )


def _told(context: dg.SensorEvaluationContext, listeners: Sequence[Channel]) -> list[int]:
    """How far each channel was told. One whose URL was corrected in its place goes on there; a new one starts now."""
    known: list[tuple[str, int]] = json.loads(context.cursor or "[]")
    marks = {channel.mark for channel in listeners}
    told = dict(known)
    for channel, (mark, end) in zip(listeners, known, strict=False):
        if mark not in marks:
            told.setdefault(channel.mark, end)
    now = _newest_end(context.instance)
    return [told.get(channel.mark, now) for channel in listeners]


def _newest_end(instance: dg.DagsterInstance) -> int:
    newest = [instance.fetch_run_status_changes(kind, limit=1).records for kind in ENDS]
    return max((record.storage_id for records in newest for record in records), default=0)


def _tell(
    context: dg.SensorEvaluationContext, deployment: Deployment, channel: Channel, after: int, until: float
) -> Iterator[tuple[int, str]]:
    """Tell what there is to tell; yields how far it came, with the title of what was told.

    Raises ConnectionError when the channel did not take a notice.
    """
    for end in _ends(context.instance, after):
        run = context.instance.get_run_by_id(end.run_id)
        told = None
        if run and _is_ours(context, run):
            # Not the run's status: it is stored after the event.
            failed = end.event_log_entry.dagster_event_type is dg.DagsterEventType.RUN_FAILURE
            if time.monotonic() > until or (failed and _is_not_marked_yet(context.instance, run, end)):
                return
            told = notice(_ended(context.instance, run, failed), deployment.dagster_url)
            if told:
                channel.tell(told)
        yield end.storage_id, told.title if told else ""


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


def _is_not_marked_yet(instance: dg.DagsterInstance, run: dg.DagsterRun, end: dg.EventLogRecord) -> bool:
    return (
        instance.run_retries_enabled
        and "dagster/will_retry" not in run.tags
        and time.time() - end.timestamp < MARKED_SECONDS
    )


def _ended(instance: dg.DagsterInstance, run: dg.DagsterRun, failed: bool) -> Ended:
    return Ended(
        run_id=run.run_id,
        what=_what(run),
        partition=run.tags.get("dagster/partition"),
        failed=failed,
        will_retry=run.tags.get("dagster/will_retry") == "true",
        retries=_number(run, "dagster/retry_number"),
        max_retries=_number(run, "dagster/max_retries"),
        errors=tuple(_errors(instance, run)) if failed else (),
        checks=tuple(_failed_checks(instance, run)),
    )


def _number(run: dg.DagsterRun, tag: str) -> int:
    """0 also for what a person mistyped: Dagster does not retry such a run."""
    value = run.tags.get(tag, "")
    return int(value) if value.isdecimal() else 0


def _what(run: dg.DagsterRun) -> str:
    if run.job_name != BY_HAND:
        return run.job_name
    return ", ".join(sorted(key.to_user_string() for key in run.asset_selection or ())) or "a materialization"


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
                asset=check.asset_key.to_user_string(),
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
