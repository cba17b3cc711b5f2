"""Put the spec file in force."""

import dagster as dg

from resources.partitions import OURS, asset_key

publish_spec = dg.define_asset_job(
    "publish_spec",
    tags=OURS,
    selection=[asset_key("project_spec")],
    description="Check the spec file and put it in force: every later step works by what was published last.",
    executor_def=dg.in_process_executor,
)
