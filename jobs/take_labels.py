"""Take one label export: its statements, then everything that follows from all statements."""

import dagster as dg

from resources.partitions import OURS, asset_key

take_labels = dg.define_asset_job(
    "take_labels",
    tags=OURS,
    selection=[
        asset_key(name) for name in ("annotations", "rejected_annotations", "benchmark_frames", "label_table")
    ],
    # Four short steps, one after the other: a process for each would cost more than the work.
    executor_def=dg.in_process_executor,
    description="Takes one label export: reads its statements, diverts rows that break a rule, extends the benchmark "
    "and resolves all votes into the label table.",
)
