"""Let old runs of Dagster go that nobody needs."""

import dagster as dg

from resources.partitions import OURS, asset_key

prune_runs = dg.define_asset_job(
    "prune_runs",
    tags=OURS,
    selection=[asset_key("run_pruning")],
    description="Says which of Dagster's own runs are older than the spec's `retention.runs_days` and needed by "
    "nobody: by no table or check that the UI shows, by no sensor. With `dry_run: false` in the launchpad it lets them "
    "go, and takes the messages out of the logs of old runs that stay. The lake loses nothing. The schedule "
    "prune_weekly launches it so.",
    executor_def=dg.in_process_executor,
)
