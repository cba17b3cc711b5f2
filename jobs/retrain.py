"""Train, evaluate and judge one candidate."""

import functools
import operator
import sys
from typing import Final

import dagster as dg

from resources.partitions import OURS

STEPS: Final = ("requests", "splits", "training", "reference", "evaluation")
PRELOADED: Final = ("dagster", "timm", "sklearn.linear_model", "sklearn.metrics", "matplotlib.figure")
"""What most steps import, for seconds: imported once, and forked. Not what imports Polars: a fork loses its threads,
and waits for them."""
START: Final = (
    {"forkserver": {"preload_modules": list(PRELOADED)}} if sys.platform == "linux" else {"spawn": {}}
)
"""How a step's process is started: macOS may end one that is forked, and Windows forks none."""

retrain = dg.define_asset_job(
    "retrain",
    tags=OURS,
    selection=functools.reduce(operator.or_, (dg.AssetSelection.tag("step", step) for step in STEPS)),
    description="One candidate, from the request over its models, and what is normal to them, to the release "
    "decision. Only its request reaches the data branch before it is released. Give the partition a new name, e.g. "
    "2026-03-first. In the launchpad, `training_request` asks for `reason` (first_release, drift, kpi, schedule or "
    "person), `evidence` (what speaks for it) and `requested_by`.",
    # A process per step gives torch's memory back; one at a time, for training uses all cores.
    executor_def=dg.multiprocess_executor.configured({"max_concurrent": 1, "start_method": START}),
)
