"""Sweep the lake of what dead processes left."""

import dagster as dg

sweep_lake = dg.define_asset_job(
    "sweep_lake",
    selection=["lake_sweep"],
    description="Removes what killed processes left in the lake and in the cache folder, and says so: branches of "
    "publications that nobody goes on with, unfinished files, old locks. Data, refused data and history stay. The "
    "schedule sweep_daily launches it; by hand, `dry_run` in the launchpad only says what would go.",
    executor_def=dg.in_process_executor,
)
