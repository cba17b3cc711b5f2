"""Read all of the lake anew once a week."""

import dagster as dg


@dg.schedule(
    name="verify_weekly",
    job_name="verify_lake",
    cron_schedule="40 3 * * 0",
    execution_timezone="UTC",
    default_status=dg.DefaultScheduleStatus.RUNNING,
    description="Every Sunday at 03:40 UTC: reads every stored byte anew. Reads of the embedded lake check no hash, so "
    "nothing else finds a damaged disk in time. Where reading all of a lakeFS costs money, stop it here and launch the "
    "job verify_lake when it suits.",
)
def verify_weekly() -> dg.RunRequest:
    """Ask for the weekly verification."""
    return dg.RunRequest(tags={"why": "the weekly verification of the lake"})
