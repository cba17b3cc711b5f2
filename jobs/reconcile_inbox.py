"""Hold the inbox, what was taken and the manifests against one another and against the lake."""

import dagster as dg

from resources.partitions import OURS, asset_key

reconcile_inbox = dg.define_asset_job(
    "reconcile_inbox",
    tags=OURS,
    selection=[asset_key("inbox_reconciliation")],
    description="Goes through all files of the inbox, of taken/ and of the manifests, and says of each that nothing "
    "accounts for what it is and what to do. Nothing moves, but with `bring_back` in the launchpad what lies below "
    "taken/ and is not in the lake. By hand: after a restored backup, or when a file seems lost.",
    executor_def=dg.in_process_executor,
)
