"""Take in one delivery."""

import dagster as dg

receive = dg.define_asset_job(
    "receive",
    selection=["raw_frames", "prepared_frames"],
    description="One delivery: its raw frames, then the same frames prepared for a model. The sensor new_deliveries "
    "requests it for each delivery; to repeat one, re-execute its run.",
    # The steps are short and follow one another: a process for each would cost more than its work.
    executor_def=dg.in_process_executor,
)
