"""Train, evaluate and judge one candidate."""

import dagster as dg

from cv_assets.spec.schema import Spec


def retrain_job(spec: Spec) -> dg.UnresolvedAssetJobDefinition:
    """The job `retrain` for the models of `spec`."""
    checkpoints = [f"{model.name}_checkpoint" for model in spec.training.models]
    return dg.define_asset_job(
        "retrain",
        selection=["training_request", "split_table", *checkpoints, "evaluation_report", "release_decision"],
        description="One candidate, from the request to the release decision. Nothing of it reaches the data branch "
        "before it is released. Give the partition a new name, e.g. 2026-03-first.",
        # A process per step gives torch's memory back; one at a time, for training uses all cores.
        executor_def=dg.multiprocess_executor.configured({"max_concurrent": 1}),
    )
