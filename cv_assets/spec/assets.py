"""The spec step: what the project states before any data arrives, published for every later step to read."""

import re

import dagster as dg
import polars as pl

from cv_assets.spec.acquisition import Acquisition
from cv_assets.spec.load import SpecError, changed_sections, digest, load_spec, to_table
from cv_assets.spec.schema import ProjectSpec, Spec
from resources.contracts import Audited, Check, TableAsset, preview
from resources.deployments import Deployment
from resources.tables import Snapshot, Tables

ARCHITECTURES_ARE_KNOWN = Check(
    "architectures_are_known", "Can timm build every model of the spec, with its input size and its blocks?"
)
EXAMPLES_SHOW_THE_PATTERN = Check(
    "examples_show_the_pattern", "Do example file names show what the pattern reads?", blocking=False
)

PROJECT_SPEC = TableAsset(
    "project_spec",
    ProjectSpec,
    step="spec",
    kinds=frozenset({"yaml"}),
    checks=(ARCHITECTURES_ARE_KNOWN, EXAMPLES_SHOW_THE_PATTERN),
)


@dg.asset(**PROJECT_SPEC.arguments)
def project_spec(
    context: dg.AssetExecutionContext,
    tables: dg.ResourceParam[Tables],
    deployment: dg.ResourceParam[Deployment],
) -> Audited:
    """The contract in force: classes, operating conditions, preparation, models, acceptance criteria and who approves.

    One row per section of the spec file, as it was when it was published. Every later step works by this table at its
    own commit and stops when the file says something else, so that no result mixes two contracts.
    """
    spec = _load(deployment)
    published = tables.snapshot(context).table("project_spec", or_empty=ProjectSpec)
    yield from PROJECT_SPEC.audited(
        to_table(spec),
        checks=[_architectures(spec), _examples(spec.acquisition)],
        metadata={
            "spec": dg.MetadataValue.md(f"````yaml\n{deployment.spec_file.read_text('utf-8-sig')}\n````"),
            "digest": digest(spec),
            "changed": "everything: first publication"
            if published.is_empty()
            else ", ".join(changed_sections(spec, published)) or "nothing",
            "file names": preview(_readings(spec.acquisition), rows_shown=20),
        },
    )


def in_force(project_spec: pl.DataFrame, deployment: Deployment) -> Spec:
    """The spec, when the deployment's file and the published table `project_spec` say the same.

    Raises dg.Failure, which is not retried, when the file has mistakes or says something else than the table.
    """
    spec = _load(deployment)
    if changed := changed_sections(spec, project_spec):
        raise dg.Failure(
            f"{deployment.spec_file.name} and the published project_spec differ in: {', '.join(changed)}. "
            "Materialize project_spec to put the file in force, or restore the file. A candidate keeps the spec of its "
            "request: after a change, request a new one.",
            allow_retries=False,
        )
    return spec


def spec_at(snapshot: Snapshot, deployment: Deployment) -> Spec:
    """What `in_force` gives for the table at `snapshot`. Raises dg.Failure also while no spec is published."""
    if not snapshot.has("project_spec"):
        raise dg.Failure("No spec is published yet: materialize project_spec.", allow_retries=False)
    return in_force(snapshot.table("project_spec"), deployment)


def _load(deployment: Deployment) -> Spec:
    try:
        return load_spec(deployment.spec_file)
    except SpecError as error:
        raise dg.Failure(str(error), allow_retries=False) from None


def _architectures(spec: Spec) -> dg.AssetCheckResult:
    from cv_assets.spec.architectures import check_architectures

    unknown = check_architectures(spec)
    names = ", ".join(model.architecture for model in spec.training.models)
    return ARCHITECTURES_ARE_KNOWN.result(not unknown, "; ".join(unknown) or f"timm builds {names}.")


def _examples(acquisition: Acquisition) -> dg.AssetCheckResult:
    if not acquisition.examples:
        return EXAMPLES_SHOW_THE_PATTERN.result(
            False,
            "The spec gives no `acquisition.examples`: no file name shows that the pattern reads what is meant.",
        )
    return EXAMPLES_SHOW_THE_PATTERN.result(True, f"The pattern reads {len(acquisition.examples)} of them.")


def _readings(acquisition: Acquisition) -> pl.DataFrame:
    """What the pattern reads from each example; one column per named group."""
    pattern = re.compile(acquisition.file_name)
    matches = [(name, pattern.fullmatch(name)) for name in acquisition.examples]
    return pl.DataFrame(
        [{"file": name, **match.groupdict()} for name, match in matches if match],
        schema=dict.fromkeys(["file", *pattern.groupindex], pl.String()),
    )
