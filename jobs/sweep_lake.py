"""Sweep the lake of what dead processes left."""

import dagster as dg

from resources.partitions import OURS, asset_key

sweep_lake = dg.define_asset_job(
    "sweep_lake",
    tags=OURS,
    selection=[asset_key("lake_sweep"), asset_key("erasure")],
    description="Removes what killed processes left in the lake and in the cache folder, and says so: branches of "
    "publications that nobody goes on with, unfinished files, old locks. Data, refused data and history stay; bytes "
    "that were let go and are still there are erased. The schedule sweep_daily launches it; by hand, `dry_run` in the "
    "launchpad only says what would be swept.",
    executor_def=dg.in_process_executor,
)
