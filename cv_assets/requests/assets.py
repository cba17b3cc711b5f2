"""The requests step: why a training happens. Its publication on the data branch starts a candidate."""

from datetime import UTC, datetime
from typing import Literal

import dagster as dg
import polars as pl
from pydantic import Field

from cv_assets.labels.schema import BenchmarkFrames, LabelTable
from cv_assets.requests.base import name_mistake, new_request, same_request
from cv_assets.requests.schema import TrainingRequest
from cv_assets.spec.assets import in_force
from resources.contracts import Audited, Check, TableAsset
from resources.deployments import Deployment
from resources.partitions import candidates
from resources.tables import Tables

CANDIDATE_IS_NEW = Check("candidate_is_new", "Was no other training requested under this candidate's name?")
LABELS_ARE_THERE = Check("labels_are_there", "Is there an agreed label to train on?")

TRAINING_REQUEST = TableAsset(
    "training_request",
    TrainingRequest,
    step="requests",
    partitions=candidates,
    checks=(CANDIDATE_IS_NEW, LABELS_ARE_THERE),
)


class Request(dg.Config):
    """Why this training is wanted."""

    reason: Literal["first_release", "drift", "kpi", "schedule", "person"] = Field(
        description="What started it; a person who clicks gives `person` or `first_release`."
    )
    evidence: str = Field(description="What speaks for it: a sentence, or the id of an alarm.")
    requested_by: str = Field(description="Who asks: a person's name, or the sensor's.")


@dg.asset(**TRAINING_REQUEST.arguments, deps=["label_table", "benchmark_frames"])
def training_request(
    context: dg.AssetExecutionContext,
    config: Request,
    project_spec: pl.DataFrame,
    tables: dg.ResourceParam[Tables],
    deployment: dg.ResourceParam[Deployment],
) -> Audited:
    """Why a training happens, who wants it, and the state of the world that its candidate is judged against.

    Publishing it starts the candidate: everything that follows is computed on the candidate's own data branch, which
    starts at this publication.
    """
    in_force(project_spec, deployment)
    snapshot, candidate = tables.snapshot(context), context.partition_key
    if mistake := name_mistake(candidate, snapshot.partitions("training_request")):
        raise dg.Failure(f"{mistake}: choose another name.", allow_retries=False)
    labels = snapshot.table("label_table", or_empty=LabelTable)
    asked = new_request(
        candidate=candidate,
        reason=config.reason,
        evidence=config.evidence,
        requested_by=config.requested_by,
        requested_at=datetime.now(UTC),
        base_commit=snapshot.commit,
        spec_digest=project_spec["spec_digest"][0],
        benchmark_frames=snapshot.table("benchmark_frames", or_empty=BenchmarkFrames),
        releases=snapshot.table("releases") if snapshot.has("releases") else pl.DataFrame(),
    )
    published = snapshot.table("training_request", candidate, or_empty=TrainingRequest)
    repeated = not published.is_empty() and same_request(published, asked)
    agreed = labels.filter(pl.col("status") == "agreed").height
    yield from TRAINING_REQUEST.audited(
        published if repeated else asked,  # the same request again changes nothing
        checks=[
            CANDIDATE_IS_NEW.result(
                published.is_empty() or repeated,
                f"{candidate} is new."
                if published.is_empty() or repeated
                else f"{candidate} was requested before, for another reason: choose another name.",
            ),
            LABELS_ARE_THERE.result(agreed > 0, f"{agreed} frames have an agreed label."),
        ],
        metadata={"reason": config.reason, "evidence": config.evidence, "agreed labels": agreed},
    )
