"""Explain the verdicts on one part."""

import dagster as dg

from resources.partitions import OURS, asset_key

explain = dg.define_asset_job(
    "explain",
    tags=OURS,
    selection=[asset_key("verdict_explanation")],
    description="Why did this part get its verdict? In the launchpad give `part`, as the file name says it, e.g. "
    "m07c012. The materialization shows the page: picture, score and thresholds, release and who approved it, what the "
    "model was trained on and who labelled that, what people said of the part since, and where in the lake each of "
    "these is written. Nothing changes. Without Dagster: make explain PART=m07c012.",
    executor_def=dg.in_process_executor,
)
