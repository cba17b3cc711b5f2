"""Put an earlier release back in force."""

import dagster as dg

roll_back = dg.define_asset_job(
    "roll_back",
    selection=["releases"],
    description="Put a version that was in force before back in force. Give `back_to`, `approver` and `why`.",
    executor_def=dg.in_process_executor,
)
