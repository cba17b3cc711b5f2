"""Let old runs of Dagster go once a week, when the spec says how long they are kept."""

import dagster as dg

from cv_assets.spec.retention import Retention


def prune_weekly(retention: Retention) -> list[dg.ScheduleDefinition]:
    """The schedule; none when runs are kept for ever."""
    if retention.runs_days is None:
        return []

    @dg.schedule(
        name="prune_weekly",
        job_name="prune_runs",
        cron_schedule="50 2 * * 0",
        execution_timezone="UTC",
        default_status=dg.DefaultScheduleStatus.RUNNING,
        description="Every Sunday at 02:50 UTC: lets runs of Dagster go that are older than the spec's "
        "`retention.runs_days` and that nobody needs.",
    )
    def on_sundays() -> dg.RunRequest:
        """Ask for the weekly pruning."""
        return dg.RunRequest(
            run_config={"ops": {"run_pruning": {"config": {"dry_run": False}}}},
            tags={"why": "the weekly pruning of runs"},
        )

    return [on_sundays]
