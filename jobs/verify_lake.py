"""Read all of the lake anew, and follow every row that names an object."""

import dagster as dg

from resources.partitions import OURS, asset_key

verify_lake = dg.define_asset_job(
    "verify_lake",
    tags=OURS,
    selection=[asset_key("lake_verification")],
    description="Reads every stored byte anew and follows every row that names an object: damage is found while a "
    "backup still holds the bytes. Nothing changes. The schedule verify_weekly launches it; without Dagster: lake "
    "verify.",
    executor_def=dg.in_process_executor,
)
