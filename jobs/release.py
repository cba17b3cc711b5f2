"""Conclude a candidate."""

import dagster as dg

release = dg.define_asset_job(
    "release",
    selection=["releases"],
    description="Conclude a candidate: release it when it met every criterion and an approver agrees, else refuse it. "
    "Give `candidate` and `approver`.",
    executor_def=dg.in_process_executor,
)
