"""Make what follows from all verdicts, all drift and all labels."""

import dagster as dg

from resources.partitions import OURS, asset_key

refresh = dg.define_asset_job(
    "refresh",
    tags=OURS,
    selection=[asset_key(name) for name in ("review_queue", "review_worklist", "kpis", "alarms")],
    description="What people are asked, from all verdicts, drift and labels as they are now, the worklist that asks "
    "them, the KPIs that their answers tell, and the alarms. The sensor review_changes requests it; launched by hand "
    "it does no harm.",
    # Four short steps: a process for each would cost more than its work.
    executor_def=dg.in_process_executor,
)
