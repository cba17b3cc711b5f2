"""Conclude candidates that need no person: refused ones always, passed ones when the spec says automatic."""

import dagster as dg

from cv_assets.release.candidates import propose
from cv_assets.release.schema import Releases
from cv_assets.spec.assets import spec_at
from cv_assets.spec.evaluation import POLICY
from resources.deployments import Deployment
from resources.runs import run_with_key
from resources.tables import Tables


@dg.sensor(
    job_name="release",
    minimum_interval_seconds=14,  # every third look of the daemon, which looks every 5 s
    default_status=dg.DefaultSensorStatus.RUNNING,
    description="Concludes candidates: one that misses a criterion is refused; one that meets all is released when the "
    "spec says `approval: automatic`, else it waits for a named approver.",
)
def release_passed_candidates(
    context: dg.SensorEvaluationContext,
    tables: dg.ResourceParam[Tables],
    deployment: dg.ResourceParam[Deployment],
) -> dg.SensorResult | dg.SkipReason:
    """Ask of every open candidate what becomes of it."""
    head = tables.head()
    try:
        policy = spec_at(head, deployment).release
    except dg.Failure as failure:
        return dg.SkipReason(str(failure.description))
    concluded = set(head.table("releases", or_empty=Releases)["candidate"])
    opened = [key for key in head.partitions("training_request") if key not in concluded]
    requests, waiting = [], []
    for key in opened:
        candidate = tables.candidate(key)
        decided = candidate and candidate.has("release_decision", key)
        decision = candidate.table("release_decision", key) if candidate and decided else None
        proposal = propose(key, decision, policy)
        if not candidate or not proposal.conclude:
            waiting.append(proposal.why)
            continue
        run_key = f"{key}-{candidate.commit[:12]}"
        if earlier := run_with_key(context.instance, run_key):
            waiting.append(_earlier(earlier, key))
            continue
        config = {"candidate": key, "approver": POLICY, "why": ""}
        requests.append(
            dg.RunRequest(
                run_key=run_key,
                run_config={"ops": {"releases": {"config": config}}},
                tags={"why": proposal.why},
            )
        )
    if requests:
        return dg.SensorResult(run_requests=requests)
    return dg.SkipReason("; ".join(waiting) or "No candidate is open.")


def _earlier(run: dg.DagsterRun, candidate: str) -> str:
    if run.is_finished:
        return (
            f"Run {run.run_id} did not conclude {candidate} ({run.status.value.lower()}): read why there, mend it, "
            "then re-execute the run"
        )
    return f"{candidate} is being concluded by run {run.run_id}"
