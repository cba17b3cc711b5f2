"""Conclude a candidate."""

import dagster as dg

from resources.partitions import OURS, asset_key

release = dg.define_asset_job(
    "release",
    tags=OURS,
    selection=[asset_key("releases")],
    description="Conclude a candidate: release it when it met every criterion and an approver agrees, else refuse it. "
    "Give `candidate` and `approver`, or decide at the door of approvals, which knows who you are.",
    executor_def=dg.in_process_executor,
)
