"""Look for what is past its date once a month; and let go of it, where the spec wants no person to."""

import dagster as dg

from cv_assets.spec.retention import Retention


def retention_monthly(retention: Retention) -> list[dg.ScheduleDefinition]:
    """The schedule that plans, and the one that applies where the spec says `automatic`; none where all is kept."""
    if retention.keeps_everything:
        return []
    return [plan_monthly, *([let_go_monthly] if retention.apply == "automatic" else [])]


@dg.schedule(
    name="plan_monthly",
    job_name="plan_retention",
    cron_schedule="10 4 1 * *",
    execution_timezone="UTC",
    default_status=dg.DefaultScheduleStatus.RUNNING,
    description="On the first of each month at 04:10 UTC: says what is past its date. Its check "
    "nothing_is_past_its_date warns while something is.",
)
def plan_monthly() -> dg.RunRequest:
    """Ask for the monthly plan."""
    return dg.RunRequest(tags={"why": "the monthly retention plan"})


@dg.schedule(
    name="let_go_monthly",
    job_name="apply_retention",
    cron_schedule="40 4 1 * *",
    execution_timezone="UTC",
    default_status=dg.DefaultScheduleStatus.RUNNING,
    description="On the first of each month at 04:40 UTC: lets go of what is past its date by then, as the spec's "
    "`retention.apply: automatic` says.",
)
def let_go_monthly() -> dg.RunRequest:
    """Ask for the monthly letting go."""
    return dg.RunRequest(tags={"why": "the spec's retention.apply: automatic"})
