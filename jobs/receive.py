"""Take in one delivery and inspect it."""

import dagster as dg

receive = dg.define_asset_job(
    "receive",
    selection=["raw_frames", "prepared_frames", "inspections", "outbox"],
    description="One delivery: its raw frames, the same frames prepared for a model, the verdict on each by the "
    "release in force, and the file that tells the line. The sensor new_deliveries requests it for each delivery. A "
    "run that failed is re-executed from failure; verdicts that were given stay, whatever is run again.",
    # The steps are short and follow one another: a process for each would cost more than its work.
    executor_def=dg.in_process_executor,
)
