"""Put an earlier release back in force."""

import dagster as dg

from resources.partitions import OURS, asset_key

roll_back = dg.define_asset_job(
    "roll_back",
    tags=OURS,
    selection=[asset_key("releases")],
    description="Put a version that was in force before back in force. Give `back_to`, `approver` and `why`, "
    "or decide at the door of approvals, which knows who you are.",
    executor_def=dg.in_process_executor,
)
