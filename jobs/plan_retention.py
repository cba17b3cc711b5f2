"""Say what is past its date in the lake."""

import dagster as dg

from resources.partitions import OURS, asset_key

plan_retention = dg.define_asset_job(
    "plan_retention",
    tags=OURS,
    selection=[asset_key("retention_plan")],
    description="Says what is past its date by the spec's `retention`, what of it would go, and why the rest stays. It "
    "lets go of nothing: look at the table, then launch the job apply_retention with its data version. The schedule "
    "plan_monthly launches it.",
    executor_def=dg.in_process_executor,
)
