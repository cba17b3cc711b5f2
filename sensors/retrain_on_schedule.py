"""Retrain at the times that the spec names, when people labelled something since the last training."""

from datetime import UTC, datetime

import dagster as dg

from cv_assets.labels.schema import BenchmarkFrames, LabelTable
from cv_assets.requests.assets import fresh_for_schedule, look, run_request
from cv_assets.requests.policy import decide, scheduled
from cv_assets.spec.assets import spec_at
from cv_assets.spec.drift import Retraining
from resources.deployments import Deployment
from resources.partitions import candidates
from resources.tables import Snapshot, Tables


def retrain_on_schedule(retraining: Retraining) -> list[dg.ScheduleDefinition]:
    """The schedule that the spec names; none when it names none."""
    if retraining.schedule is None:
        return []

    @dg.schedule(
        name="retrain_on_schedule",
        job_name="retrain",
        cron_schedule=retraining.schedule,
        execution_timezone="UTC",
        default_status=dg.DefaultScheduleStatus.RUNNING,
        description="Requests a retraining at the times of the spec's `retraining.schedule` (UTC), when enough agreed "
        "labels are there that the last training has not seen, the benchmark holds what would train, no drift alarm is "
        "open, and no other training is under way. Else the tick says what is missing. Another schedule in the spec "
        "takes effect when the code location is loaded again.",
    )
    def on_schedule(
        context: dg.ScheduleEvaluationContext,
        tables: dg.ResourceParam[Tables],
        deployment: dg.ResourceParam[Deployment],
    ) -> dg.RunRequest | dg.SkipReason:
        """Ask the policy as if the time were an alarm."""
        try:
            head, world, rules = look(context.instance, tables, deployment)
        except dg.Failure as failure:
            return dg.SkipReason(str(failure.description))
        at = context.scheduled_execution_time.astimezone(UTC)
        asks = scheduled(at, fresh_for_schedule(head), world, _lacking_conditions(head, deployment))
        decision = decide(asks, world, rules, datetime.now(UTC))
        if (candidate := decision.candidate) is None:
            return dg.SkipReason(decision.why)
        context.instance.add_dynamic_partitions(str(candidates.name), [candidate])
        return run_request(candidate, decision, "schedule", rules)

    return [on_schedule]


def _lacking_conditions(head: Snapshot, deployment: Deployment) -> list[str]:
    """What the gate would miss in the benchmark; an alarm has it in its row."""
    from cv_assets.alarms.fresh_labels import captures, labelled
    from cv_assets.evaluation.conditions import lacking

    spec = spec_at(head, deployment)
    known = labelled(
        captures(head.columns),
        head.table("label_table", or_empty=LabelTable),
        head.table("benchmark_frames", or_empty=BenchmarkFrames),
        spec.splits,
    )
    return list(lacking(known.split, spec.conditions, spec.evaluation.new_condition_frames))
