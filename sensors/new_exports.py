"""Watch the folder of label exports: each settled file that the lake does not hold yet is taken once."""

import json
from collections.abc import Iterable
from pathlib import Path, PurePath
from typing import Literal

import dagster as dg

from cv_assets.frames.files import Identity
from cv_assets.labels.arrivals import MEGABYTE, Attempt, ExportFile, look, plan, put_away
from cv_assets.spec.assets import spec_at
from resources.deployments import Deployment
from resources.partitions import exports
from resources.runs import AGAIN_WHEN_KILLED, comes_again, newest_runs
from resources.tables import Tables


@dg.sensor(
    job_name="take_labels",
    minimum_interval_seconds=4,  # the daemon looks every 5 s: with 5 it often misses one by a hair
    default_status=dg.DefaultSensorStatus.RUNNING,
    description="Takes each new label export (*.json, *.csv, *.parquet) once it is no longer being written; published "
    "ones move to `taken/`. An export whose run failed waits for a person; a run whose process died is tried again.",
)
def new_exports(
    context: dg.SensorEvaluationContext,
    tables: dg.ResourceParam[Tables],
    deployment: dg.ResourceParam[Deployment],
) -> dg.SensorResult:
    """Look at the folder, ask what is to be done, put published exports away and request a run for each new one."""
    head = tables.head()
    try:
        labels = spec_at(head, deployment).labels
    except dg.Failure as failure:
        return dg.SensorResult(skip_reason=str(failure.description))
    folder = deployment.folder(labels.exports)
    files = look(folder, _remembered(context.cursor), labels.max_export_mb * MEGABYTE)
    published = {PurePath(path).stem for path in head.lake.paths(head.commit, "annotations/")}
    to_do = plan(files, published, _attempts(context.instance, files), labels.runs_at_once)
    moved = [file for file in to_do.put_away if put_away(folder, file)]
    _log(context, moved, to_do.waiting)
    return dg.SensorResult(
        run_requests=[
            dg.RunRequest(
                run_key=f"export-{one.key}",
                partition_key=one.key,
                tags={
                    "why": f"{one.name} is a new label export and is no longer being written",
                    **AGAIN_WHEN_KILLED,
                },
            )
            for one in to_do.take
        ],
        dynamic_partitions_requests=[exports.build_add_request([one.key for one in to_do.take])]
        if to_do.take
        else [],
        skip_reason=None if to_do.take else _why_nothing(folder, to_do.waiting),
        cursor=_memory(file for file in files if file not in moved),
    )


def _attempts(instance: dg.DagsterInstance, files: Iterable[ExportFile]) -> dict[str, Attempt]:
    runs = newest_runs(instance, "take_labels", {file.key for file in files if file.sha256})
    return {key: Attempt(run.run_id, _state(run)) for key, run in runs.items()}


def _state(run: dg.DagsterRun) -> Literal["in progress", "killed", "failed", "finished"]:
    if comes_again(run):
        return "killed"
    if not run.is_finished:
        return "in progress"
    return "finished" if run.is_success else "failed"


def _log(context: dg.SensorEvaluationContext, moved: Iterable[ExportFile], waiting: Iterable[str]) -> None:
    for file in moved:
        context.log.info(f"{file.name} is published and was put away")
    for why in waiting:
        context.log.info(why)


def _why_nothing(folder: Path, waiting: tuple[str, ...]) -> str:
    return "; ".join(waiting) or f"No new label export in {folder.name}/."


def _memory(files: Iterable[ExportFile]) -> str:
    return json.dumps([[file.name, file.identity, file.sha256] for file in files])


def _remembered(cursor: str | None) -> list[ExportFile]:
    return [
        ExportFile(name, Identity(*identity), sha256) for name, identity, sha256 in json.loads(cursor or "[]")
    ]
