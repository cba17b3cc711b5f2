"""Make what follows from all verdicts and all labels."""

import dagster as dg

refresh = dg.define_asset_job(
    "refresh",
    selection=["review_queue", "review_worklist"],
    description="What people are asked, from all verdicts and labels as they are now, and the worklist that asks them. "
    "The sensor review_changes requests it; launched by hand it does no harm.",
    # Two short steps: a process for each would cost more than its work.
    executor_def=dg.in_process_executor,
)
