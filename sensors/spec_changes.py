"""Publish the spec when its file changed."""

import json

import dagster as dg
import polars as pl

from cv_assets.spec.load import SpecError, changed_sections, digest, load_spec
from cv_assets.spec.schema import ProjectSpec
from resources.deployments import Deployment
from resources.runs import run_with_key
from resources.tables import Tables, table_path


@dg.sensor(
    job_name="publish_spec",
    minimum_interval_seconds=9,  # every second look of the daemon, which looks every 5 s
    default_status=dg.DefaultSensorStatus.RUNNING,
    description="Publishes the spec when its file differs from the table project_spec. A file with mistakes "
    "changes nothing: the tick lists them, each with its line.",
)
def spec_changes(
    context: dg.SensorEvaluationContext,
    tables: dg.ResourceParam[Tables],
    deployment: dg.ResourceParam[Deployment],
) -> dg.RunRequest | dg.SkipReason:
    """Compare the file with what is published at the head of the data branch."""
    try:
        spec = load_spec(deployment.spec_file)
    except SpecError as error:
        return dg.SkipReason(str(error))
    head = tables.head()
    published = head.table("project_spec", or_empty=ProjectSpec)
    changed = changed_sections(spec, published)
    if not changed:
        return dg.SkipReason(f"Version {digest(spec)} of {deployment.spec_file.name} is in force.")
    if "name" in changed and not published.is_empty():
        return dg.SkipReason(_another_project(published, spec.name))
    # The commit is part of the key: a spec that comes back after another one is published again.
    publication = next(tables.lake.log(head.commit, table_path("project_spec")), None)
    run_key = f"{digest(spec)}-after-{publication.id[:12] if publication else 'nothing'}"
    if earlier := run_with_key(context.instance, run_key):
        return dg.SkipReason(_earlier(earlier, digest(spec)))
    said = "is not published yet" if published.is_empty() else f"changed: {', '.join(changed)}"
    why = f"{deployment.spec_file.name} {said}"
    return dg.RunRequest(run_key=run_key, tags={"why": why, "spec": digest(spec)})


def _another_project(published: pl.DataFrame, name: str) -> str:
    mine = json.loads(published.filter(section="name")["value"].item())
    return (
        f"This data is of project {mine}, and the spec is now named {name}, which is another project: give the old "
        "name back, or give the other project a data folder and a lake of its own and load the code location again."
    )


def _earlier(run: dg.DagsterRun, version: str) -> str:
    if run.is_finished:
        return (
            f"Run {run.run_id} did not publish version {version} ({run.status.value.lower()}): read why in its checks, "
            "then change the file, or materialize project_spec."
        )
    return f"Run {run.run_id} is publishing version {version}."
