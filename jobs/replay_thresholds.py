"""Try another operating band on stored scores."""

import dagster as dg

from resources.partitions import OURS, asset_key

replay_thresholds = dg.define_asset_job(
    "replay_thresholds",
    tags=OURS,
    selection=[asset_key("threshold_replay")],
    description="When the model seems too strict or too lenient: what would another band have made of the scores that "
    "are stored? In the launchpad give `lower` (below it a part passes) and `upper` (from it on a part fails), and if "
    "you like `release` (else the version in force) and `deliveries` (else all). Nothing in production changes: no "
    "verdict, no release, no threshold. The table says which verdicts would be others, and what that does to escapes, "
    "overkill and review load where the truth is known. To make a band real, change the bounds in the spec's "
    "`evaluation.band` (`max_escape` moves the lower threshold, `min_fail_precision` or `max_overkill` the upper one), "
    "run `publish_spec`, request a new candidate with `retrain` and conclude it with `release`: thresholds are chosen "
    "with the model that they judge, and pass the same gate.",
    executor_def=dg.in_process_executor,
)
