"""Compare an experiment with main."""

import dagster as dg

from resources.partitions import OURS, asset_key

compare_branches = dg.define_asset_job(
    "compare_branches",
    tags=OURS,
    selection=[asset_key("branch_changes")],
    description="For an experiment (make dev BRANCH=my-idea): which rows of which tables does main not have, have "
    "otherwise, or have alone? In the launchpad, `since_cut` compares with main as it was when the experiment began. "
    "Nothing else changes. Without Dagster: make diff BRANCH=my-idea.",
    executor_def=dg.in_process_executor,
)
