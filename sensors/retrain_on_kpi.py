"""Retrain when a figure of quality in production broke its bound and people labelled what was inspected since."""

from datetime import UTC, datetime

import dagster as dg

from cv_assets.requests.assets import look, retries, run_config
from cv_assets.requests.policy import decide
from resources.deployments import Deployment
from resources.partitions import candidates
from resources.tables import Tables


@dg.sensor(
    job_name="retrain",
    minimum_interval_seconds=4,  # the daemon looks every 5 s: with 5 it often misses one by a hair
    default_status=dg.DefaultSensorStatus.RUNNING,
    description="Requests a retraining for an open KPI alarm once enough fresh labels are there, the benchmark holds "
    "what is new, no drift alarm of the same release is open and no other training is under way: one per alarm and "
    "attempt. Dagster retries a failed run from the failed step, as often as the spec says; then the tick names the "
    "run for a person. Each tick says what is waited for.",
)
def retrain_on_kpi(
    context: dg.SensorEvaluationContext,
    tables: dg.ResourceParam[Tables],
    deployment: dg.ResourceParam[Deployment],
) -> dg.SensorResult | dg.SkipReason:
    """Ask the policy of every KPI alarm that is not closed."""
    try:
        _, world, rules = look(context.instance, tables, deployment)
    except dg.Failure as failure:
        return dg.SkipReason(str(failure.description))
    alarms = [one for one in world.alarms if one["kind"] == "kpi" and one["state"] != "closed"]
    decisions = [decide(alarm, world, rules, datetime.now(UTC)) for alarm in alarms]
    # The next alarm's turn comes with a later tick: this candidate is open then.
    chosen = next((one for one in decisions if one.candidate), None)
    if chosen is None or chosen.candidate is None:
        return dg.SkipReason(" ".join(one.why for one in decisions) or "No KPI alarm is open.")
    request = dg.RunRequest(
        run_key=chosen.candidate,
        partition_key=chosen.candidate,
        run_config=run_config(chosen, "kpi", "retrain_on_kpi"),
        tags={"why": chosen.why, **retries(rules)},
    )
    return dg.SensorResult(
        run_requests=[request],
        dynamic_partitions_requests=[candidates.build_add_request([chosen.candidate])],
    )
