"""Take in one delivery, inspect it, tell the line, and measure how it differs from what the release was trained on."""

import dagster as dg

from resources.partitions import OURS, asset_key

receive = dg.define_asset_job(
    "receive",
    tags=OURS,
    selection=[
        asset_key(name)
        for name in ("raw_frames", "prepared_frames", "inspections", "outbox", "drift_metrics")
    ],
    description="One delivery: its raw frames, the same frames prepared for a model, the verdict on each by the "
    "release in force, the file that tells the line, and last how it differs from what that release was trained on. "
    "The sensor new_deliveries requests it for each delivery. A run that failed is re-executed from failure; verdicts "
    "that were given stay, whatever is run again.",
    # The steps are short and follow one another: a process for each would cost more than its work.
    executor_def=dg.in_process_executor,
)
