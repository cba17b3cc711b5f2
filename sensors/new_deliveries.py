"""Watch the inbox: what settles in it is closed into deliveries, and each is requested until its drift is measured.

Nothing is kept in the cursor. What is known is on disk (manifests) and in the lake (what is published).
"""

import json
import time
from collections.abc import Collection, Mapping
from typing import Final

import dagster as dg
from filelock import FileLock, Timeout

from cv_assets.frames.assets import inbox, receipt_path
from cv_assets.frames.closing import explain
from cv_assets.frames.deliveries import DELIVERY_TABLES, Manifest
from cv_assets.frames.inbox import Inbox, Look, Published, read_receipts
from cv_assets.spec.acquisition import Acquisition
from cv_assets.spec.assets import spec_at
from resources.deployments import Deployment
from resources.partitions import deliveries
from resources.runs import AGAIN_WHEN_KILLED, comes_again, newest_runs
from resources.tables import Snapshot, Tables

TABLES: Final = DELIVERY_TABLES

FINISHED_BY: Final = TABLES[-1]
"""The last table of a delivery: while it is missing, the delivery is under way."""

_Tables = Mapping[str, Collection[str]]
"""The deliveries of which each table is published."""


@dg.sensor(
    job_name="receive",
    minimum_interval_seconds=4,  # the daemon looks every 5 s: with 5 it often misses one by a hair
    default_status=dg.DefaultSensorStatus.RUNNING,
    description="Watches the inbox. Files that settled become a delivery when the spec's `close` says so, and a run "
    "takes it in, inspects it, tells the line and measures its drift; published files move to `taken/`. A delivery "
    "whose run failed waits for a person; a run whose process died is tried again.",
)
def new_deliveries(
    context: dg.SensorEvaluationContext,
    tables: dg.ResourceParam[Tables],
    deployment: dg.ResourceParam[Deployment],
) -> dg.SensorResult | dg.SkipReason:
    """Look at the inbox once, then request a run for each delivery that has none."""
    try:
        acquisition = spec_at(tables.head(), deployment).acquisition
        look, runs, published = _look(context.instance, tables, inbox(deployment, acquisition), acquisition)
    except dg.Failure as failure:
        return dg.SkipReason(str(failure.description))
    except Timeout:
        return dg.SkipReason("Another tick is looking at the inbox.")
    except OSError as error:
        return dg.SkipReason(f"The inbox cannot be looked at now: {error}")
    for manifest in look.closed:
        context.log.info(_why(manifest))
    busy = sum(not run.is_finished or comes_again(run) for run in runs.values())
    free = acquisition.runs_at_once - busy
    new = [manifest for manifest in look.under_way if manifest.key not in runs][: max(free, 0)]
    if not new:
        return dg.SkipReason(" ".join(_why_nothing(look, runs, published, acquisition)))
    return dg.SensorResult(
        run_requests=[
            dg.RunRequest(
                run_key=one.key, partition_key=one.key, tags={"why": _why(one), **AGAIN_WHEN_KILLED}
            )
            for one in new
        ],
        dynamic_partitions_requests=[deliveries.build_add_request([one.key for one in new])],
    )


def _look(
    instance: dg.DagsterInstance,
    tables: Tables,
    box: Inbox,
    acquisition: Acquisition,
) -> tuple[Look, Mapping[str, dg.DagsterRun], _Tables]:
    """Raises OSError when the inbox is not there or the disk is full, Timeout when another look is under way."""
    if box.folder.parent == box.state.parent:
        # The data folder's own inbox is made; another one that is missing may only be unmounted.
        box.folder.mkdir(parents=True, exist_ok=True)
    box.state.mkdir(parents=True, exist_ok=True)
    with FileLock(box.state / "look.lock", timeout=0):
        # Runs first, the lake after: a run that ends in between shows as in flight, not as one that published nothing.
        runs = newest_runs(instance, "receive", box.keys_under_way())
        head = tables.head()
        published = {table: frozenset(head.partitions(table)) for table in TABLES}
        look = box.look(acquisition, lambda key: _published(head, published, key), time.time())
        return look, runs, published


def _published(head: Snapshot, published: _Tables, delivery: str) -> Published | None:
    if delivery not in published[TABLES[0]]:
        return None
    receipts = read_receipts(json.loads(head.read(receipt_path(delivery))))
    return Published(receipts, finished=delivery in published[FINISHED_BY])


def _why(manifest: Manifest) -> str:
    count = len(manifest.files)
    return f"{manifest.key}: closed with {count} file{'s' * (count != 1)}: {manifest.closed_by}"


def _why_nothing(
    look: Look, runs: Mapping[str, dg.DagsterRun], published: _Tables, acquisition: Acquisition
) -> list[str]:
    under_way = [manifest.key for manifest in look.under_way]
    sentences = [_state(key, runs[key], published) for key in under_way if key in runs]
    if queued := len(under_way) - len(sentences):
        sentences.append(
            f"{queued} more wait until fewer than {acquisition.runs_at_once} are being taken in."
        )
    sentences += explain(look.waiting, look.unsettled, look.closed_groups, acquisition)
    if look.put_away:
        files = "1 published file was" if look.put_away == 1 else f"{look.put_away} published files were"
        sentences.append(f"{files} put away.")
    if look.ignored:
        ignored = ", ".join(
            f"{count} {kind}{'s' * (count > 1)}" for kind, count in sorted(look.ignored.items())
        )
        sentences.append(f"Not taken: {ignored}.")
    return sentences or ["The inbox is empty."]


def _state(delivery: str, run: dg.DagsterRun, published: _Tables) -> str:
    if not run.is_finished:
        return f"{delivery} is being taken in by run {run.run_id}."
    if comes_again(run):
        return f"The process of run {run.run_id} of {delivery} died; Dagster tries it again."
    missing = [table for table in TABLES if delivery not in published[table]]
    *others, last = missing
    lacks = (f"{', '.join(others)} and {last}" if others else last) + " of this partition"
    if run.is_success:
        return f"Run {run.run_id} ended well, but {delivery} is not finished here: materialize {lacks}."
    files = "Its files stay where they are." if TABLES[0] in missing else "Its frames are safe in the lake."
    return (
        f"Run {run.run_id} of {delivery} ended as {run.status.value.lower()} before {missing[0]} was published: read "
        f"why there, mend it, then re-execute it from failure, or materialize {lacks}. {files}"
    )
