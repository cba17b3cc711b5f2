"""The requests step: why a training happens. Its publication on the data branch starts a candidate."""

from collections.abc import Iterator, Mapping
from dataclasses import replace
from datetime import UTC, datetime
from typing import Any, Final, Literal

import dagster as dg
import polars as pl
from pydantic import Field

from cv_assets.labels.schema import BenchmarkFrames, LabelTable
from cv_assets.requests.base import (
    name_mistake,
    new_request,
    release_in_force,
    same_request,
    unseen_labels,
)
from cv_assets.requests.policy import (
    AUTOMATIC,
    Decision,
    Requested,
    Training,
    World,
    gives_way,
    requested,
    scheduled,
)
from cv_assets.requests.schema import TrainingRequest
from cv_assets.spec.assets import in_force, spec_at
from cv_assets.spec.drift import Retraining
from cv_assets.spec.schema import ProjectSpec
from resources.contracts import CONTRACT_CHECK, Audited, Check, TableAsset
from resources.deployments import Deployment
from resources.partitions import candidates
from resources.runs import RunGroup, run_groups
from resources.tables import Snapshot, Tables, request_commit

NEWEST: Final = "training_request/newest.txt"
"""Names the newest candidate. Every request writes it, so of two that are made at once the second is asked again."""

IS_STILL_WANTED = Check(
    "is_still_wanted",
    "Does the retraining policy still ask for it, now that it would start? Else the run gives way: nothing is trained.",
    blocking=False,
)
CANDIDATE_IS_NEW = Check("candidate_is_new", "Was no other training requested under this candidate's name?")
LABELS_ARE_THERE = Check("labels_are_there", "Is there an agreed label to train on?")

TRAINING_REQUEST = TableAsset(
    "training_request",
    TrainingRequest,
    step="requests",
    partitions=candidates,
    checks=(CANDIDATE_IS_NEW, LABELS_ARE_THERE, IS_STILL_WANTED),
)


_GAVE_WAY: Final = "cv_assets/gave_way"
"""Tags a run that lost its publication to another request: it had to fail, and nobody has to mend it."""


class Request(dg.Config):
    """Why this training is wanted."""

    reason: Literal["first_release", "drift", "kpi", "schedule", "person"] = Field(
        description="What started it; a person who clicks gives `person` or `first_release`."
    )
    evidence: str = Field(description="What speaks for it: a sentence, or the id of an alarm.")
    requested_by: str = Field(description="Who asks: a person's name, or the sensor's.")


@dg.asset(**TRAINING_REQUEST.arguments, output_required=False, deps=["label_table", "benchmark_frames"])
def training_request(
    context: dg.AssetExecutionContext,
    config: Request,
    project_spec: pl.DataFrame,
    tables: dg.ResourceParam[Tables],
    deployment: dg.ResourceParam[Deployment],
) -> Audited:
    """Why a training happens, who wants it, and the state of the world that its candidate is judged against.

    Publishing it starts the candidate: everything that follows is computed on the candidate's own data branch, which
    starts at this publication. A retraining that nobody asked for by hand is held against the policy once more: if
    something else came first, the run ends here and trains nothing.
    """
    spec = in_force(project_spec, deployment)
    snapshot, candidate = tables.snapshot(context), context.partition_key
    if mistake := name_mistake(candidate, snapshot.partitions("training_request")):
        raise dg.Failure(f"{mistake}: choose another name.", allow_retries=False)
    labels = snapshot.table("label_table", or_empty=LabelTable)
    run = context.run.root_run_id or context.run.run_id
    asked = new_request(
        candidate=candidate,
        reason=config.reason,
        evidence=config.evidence,
        requested_by=config.requested_by,
        requested_at=datetime.now(UTC),
        base_commit=snapshot.commit,
        spec_digest=project_spec["spec_digest"][0],
        benchmark_frames=snapshot.table("benchmark_frames", or_empty=BenchmarkFrames),
        releases=_releases(snapshot),
        run=run,
    )
    published = _published(snapshot, candidate)
    repeated = not published.is_empty() and same_request(published, asked)
    if why := _why_not(snapshot, asked, spec.retraining):
        context.log.info(why)
        if context.retry_number:
            # Another request came between this step's first look and its publication. Dagster has that look's output
            # on record and would start the next step; a run that re-executes this one has not, and ends here.
            context.instance.add_run_tags(context.run.run_id, {_GAVE_WAY: context.run.run_id})
            raise dg.Failure(
                f"{why} Nothing is trained; tried again, this run ends well.", allow_retries=False
            )
        yield from _nothing_is_requested(why)
        return
    agreed = labels.filter(pl.col("status") == "agreed").height
    yield from TRAINING_REQUEST.audited(
        published if repeated else asked,  # the same request again changes nothing
        files={NEWEST: candidate.encode()},
        checks=[
            CANDIDATE_IS_NEW.result(
                published.is_empty() or repeated,
                f"{candidate} is new."
                if published.is_empty() or repeated
                else f"{candidate} was requested before, for another reason: choose another name.",
            ),
            LABELS_ARE_THERE.result(agreed > 0, f"{agreed} frames have an agreed label."),
            IS_STILL_WANTED.result(
                True, "The policy asks for it." if config.reason in AUTOMATIC else "A person asks for it."
            ),
        ],
        metadata={"reason": config.reason, "evidence": config.evidence, "agreed labels": agreed},
    )


def look(
    instance: dg.DagsterInstance, tables: Tables, deployment: Deployment
) -> tuple[Snapshot, World, Retraining]:
    """What a sensor or schedule shows the policy, and the spec's rules.

    Raises dg.Failure while no spec is in force.
    """
    # Records first, the lake after: a run that ends in between shows as in flight, not as one that published nothing.
    trainings = [
        Training(
            candidate=group.partition,
            run=group.root,
            newest=group.newest.run_id,
            state="succeeded" if _gave_way(group) else group.state,
            tries=group.tries,
            ended_as=group.newest.status.value.lower(),
        )
        for group in run_groups(instance, "retrain")
    ]
    head = tables.head()
    rules = spec_at(head, deployment).retraining
    world = replace(_world(head), trainings=trainings)
    decided = [
        replace(one, decided=True)
        if one.open
        and (branch := tables.candidate(one.candidate))
        and branch.has("release_decision", one.candidate)
        else one
        for one in world.requests
    ]
    return head, replace(world, requests=decided), rules


def fresh_for_schedule(snapshot: Snapshot) -> int:
    """How many agreed labels, the benchmark's left out, the newest training that spends labels has not seen."""
    spent = [one.candidate for one in _world(snapshot).requests if one.spends_labels]
    labels = snapshot.table("label_table", or_empty=LabelTable)
    seen = labels.clear()
    if spent:
        seen = labels_seen(snapshot, spent[-1])
    return unseen_labels(labels, seen, snapshot.table("benchmark_frames", or_empty=BenchmarkFrames))


def training_requests(snapshot: Snapshot) -> pl.DataFrame:
    """All requests, in today's contract."""
    return _current(snapshot.tables("training_request", or_empty=TrainingRequest))


def labels_seen(snapshot: Snapshot, candidate: str) -> pl.DataFrame:
    """The label table as the candidate's training could see it: where its data branch starts."""
    start = request_commit(snapshot.lake, snapshot.commit, candidate)
    then = snapshot if start is None else Snapshot(snapshot.lake, start)
    return then.table("label_table", or_empty=LabelTable)


def run_request(candidate: str, decision: Decision, reason: str, rules: Retraining) -> dg.RunRequest:
    """The run of `candidate` that the sensor or schedule `retrain_on_<reason>` requests.

    Dagster's run retries try it again when it fails, from the failed step.
    """
    config = {"reason": reason, "evidence": decision.evidence, "requested_by": f"retrain_on_{reason}"}
    retries = {"dagster/max_retries": str(rules.max_retries), "dagster/retry_strategy": "FROM_FAILURE"}
    return dg.RunRequest(
        run_key=candidate,
        partition_key=candidate,
        run_config={"ops": {"training_request": {"config": config}}},
        tags={"why": decision.why, **retries},
    )


def _gave_way(group: RunGroup) -> bool:
    # A run that re-executes another one inherits its tags.
    return group.state == "failed" and group.newest.tags.get(_GAVE_WAY) == group.newest.run_id


def _world(snapshot: Snapshot) -> World:
    releases, spec = _releases(snapshot), snapshot.table("project_spec", or_empty=ProjectSpec)
    now = release_in_force(releases)
    return World(
        alarms=snapshot.table("alarms").to_dicts() if snapshot.has("alarms") else [],
        requests=requested(
            training_requests(snapshot),
            releases,
            spec["spec_digest"][0],
        ),
        number=now["number"] if now else None,
        version=now["version"] if now else None,
    )


def _releases(snapshot: Snapshot) -> pl.DataFrame:
    return snapshot.table("releases") if snapshot.has("releases") else pl.DataFrame()


def _published(snapshot: Snapshot, candidate: str) -> pl.DataFrame:
    return _current(snapshot.table("training_request", candidate, or_empty=TrainingRequest))


def _current(requests: pl.DataFrame) -> pl.DataFrame:
    """The rows in today's contract: those of an earlier one do not name their run."""
    return pl.concat([TrainingRequest.create_empty(), requests], how="diagonal")


def _why_not(snapshot: Snapshot, row: pl.DataFrame, rules: Retraining) -> str:
    """Why the request that `row` makes trains nothing; empty when it trains."""
    releases = _releases(snapshot)
    (asked,) = requested(row, releases, row["spec_digest"][0])
    if asked.reason not in AUTOMATIC:
        return ""
    world = _world(snapshot)
    return gives_way(asked, _alarm(asked, snapshot, world), world, rules)


def _alarm(asked: Requested, snapshot: Snapshot, world: World) -> Mapping[str, Any] | None:
    if asked.reason == "schedule":
        time = scheduled(asked.requested_at, fresh_for_schedule(snapshot), world)
        return {**time, "alarm_id": asked.evidence}
    return next((one for one in world.alarms if one["alarm_id"] == asked.evidence), None)


def _nothing_is_requested(why: str) -> Iterator[dg.AssetCheckResult]:
    for check in (Check(CONTRACT_CHECK, ""), CANDIDATE_IS_NEW, LABELS_ARE_THERE):
        yield check.result(True, "Not applicable: nothing is requested.")
    yield IS_STILL_WANTED.result(False, why)
