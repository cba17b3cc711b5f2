"""Let go of what is past its date."""

import dagster as dg

from resources.partitions import OURS, asset_key

apply_retention = dg.define_asset_job(
    "apply_retention",
    tags=OURS,
    selection=[asset_key("let_go"), asset_key("erasure")],
    description="Applies the newest retention plan, whose data version you give as `plan`: first the table let_go says "
    "what goes, then its bytes are erased. Nothing brings them back but a backup. If it is killed, launch it again or "
    "wait for the night: the job sweep_lake goes on with the erasure.",
    executor_def=dg.in_process_executor,
)
