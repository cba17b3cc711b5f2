"""Retrain when an alarm is open and people labelled what it is about: a sensor for drift and one for KPIs."""

from collections.abc import Collection
from datetime import UTC, datetime

import dagster as dg

from cv_assets.requests.assets import look, run_request
from cv_assets.requests.policy import decide
from resources.deployments import Deployment
from resources.partitions import candidates
from resources.tables import Tables

_HOW = (
    "once enough fresh labels are there, the benchmark holds what is new{also} and no other training is under way: "
    "one per alarm and attempt. Dagster retries a failed run from the failed step, as often as the spec says; then the "
    "tick names the run for a person. Each tick says what is waited for."
)


def _sensor(
    reason: str, speaks_of: Collection[str], description: str, nothing: str, seconds: int
) -> dg.SensorDefinition:
    """A sensor that retrains for the `reason`; alarms of the other kinds that it `speaks_of` never retrain."""

    @dg.sensor(
        name=f"retrain_on_{reason}",
        job_name="retrain",
        minimum_interval_seconds=seconds,
        default_status=dg.DefaultSensorStatus.RUNNING,
        description=description,
    )
    def retrain_on_alarms(
        context: dg.SensorEvaluationContext,
        tables: dg.ResourceParam[Tables],
        deployment: dg.ResourceParam[Deployment],
    ) -> dg.SensorResult | dg.SkipReason:
        """Ask the policy of every alarm of these kinds that is not closed."""
        try:
            _, world, rules = look(context.instance, tables, deployment)
        except dg.Failure as failure:
            return dg.SkipReason(str(failure.description))
        alarms = [one for one in world.alarms if one["kind"] in speaks_of and one["state"] != "closed"]
        decisions = [decide(alarm, world, rules, datetime.now(UTC)) for alarm in alarms]
        # The next alarm's turn comes with a later tick: this candidate is open then.
        chosen = next((one for one in decisions if one.candidate), None)
        if chosen is None or chosen.candidate is None:
            return dg.SkipReason(" ".join(one.why for one in decisions) or nothing)
        return dg.SensorResult(
            run_requests=[run_request(chosen.candidate, chosen, reason, rules)],
            dynamic_partitions_requests=[candidates.build_add_request([chosen.candidate])],
        )

    return retrain_on_alarms


retrain_on_drift = _sensor(
    "drift",
    ("drift", "station"),
    f"Requests a retraining for an open drift alarm {_HOW.format(also='')} A station's alarm never retrains.",
    "No drift or station alarm is open.",
    seconds=4,  # the daemon looks every 5 s: with 5 it often misses one by a hair
)
retrain_on_kpi = _sensor(
    "kpi",
    ("kpi",),
    "Requests a retraining for an open KPI alarm "
    f"{_HOW.format(also=', no drift alarm of the same release is open')}",
    "No KPI alarm is open.",
    seconds=14,  # every third look: a KPI takes many answers to move
)
