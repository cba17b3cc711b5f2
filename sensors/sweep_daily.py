"""Sweep the lake once a day, when the line is quiet."""

import dagster as dg


@dg.schedule(
    name="sweep_daily",
    job_name="sweep_lake",
    cron_schedule="20 2 * * *",
    execution_timezone="UTC",
    default_status=dg.DefaultScheduleStatus.RUNNING,
    description="Every day at 02:20 UTC: removes what killed processes left in the lake. A work branch goes with the "
    "first sweep that finds it where an earlier one saw it.",
)
def sweep_daily() -> dg.RunRequest:
    """Ask for the daily sweep."""
    return dg.RunRequest(tags={"why": "the daily sweep of the lake"})
