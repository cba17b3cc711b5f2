"""The table of contents: every asset, job, sensor and resource of the code location."""

from types import ModuleType
from typing import Final

import dagster as dg

import cv_assets.alarms.assets
import cv_assets.drift.assets
import cv_assets.evaluation.assets
import cv_assets.frames.assets
import cv_assets.inspection.assets
import cv_assets.labels.assets
import cv_assets.lookback.assets
import cv_assets.reference.assets
import cv_assets.release.assets
import cv_assets.requests.assets
import cv_assets.review.assets
import cv_assets.spec.assets
import cv_assets.splits.assets
import cv_assets.training.assets
import cv_assets.upkeep.assets
from cv_assets.spec.load import SpecError, load_spec
from cv_assets.spec.retention import kept
from cv_assets.spec.schema import Spec
from jobs.apply_retention import apply_retention
from jobs.compare_branches import compare_branches
from jobs.explain import explain
from jobs.plan_retention import plan_retention
from jobs.prune_runs import prune_runs
from jobs.publish_spec import publish_spec
from jobs.receive import receive
from jobs.reconcile_inbox import reconcile_inbox
from jobs.refresh import refresh
from jobs.release import release
from jobs.replay_thresholds import replay_thresholds
from jobs.retrain import retrain
from jobs.roll_back import roll_back
from jobs.sweep_lake import sweep_lake
from jobs.take_labels import take_labels
from jobs.verify_lake import verify_lake
from resources.deployments import Deployment, current
from resources.partitions import PROJECT, in_project
from resources.tables import Tables
from sensors.new_deliveries import new_deliveries
from sensors.new_exports import new_exports
from sensors.notices import notices
from sensors.prune_weekly import prune_weekly
from sensors.release_passed_candidates import release_passed_candidates
from sensors.retention_monthly import retention_monthly
from sensors.retrain_on_alarms import retrain_on_drift, retrain_on_kpi
from sensors.retrain_on_schedule import retrain_on_schedule
from sensors.review_changes import review_changes
from sensors.spec_changes import spec_changes
from sensors.sweep_daily import sweep_daily
from sensors.verify_weekly import verify_weekly

STEPS: Final[dict[str, ModuleType]] = {
    "spec": cv_assets.spec.assets,
    "frames": cv_assets.frames.assets,
    "labels": cv_assets.labels.assets,
    "requests": cv_assets.requests.assets,
    "splits": cv_assets.splits.assets,
    "training": cv_assets.training.assets,
    "reference": cv_assets.reference.assets,
    "evaluation": cv_assets.evaluation.assets,
    "release": cv_assets.release.assets,
    "inspection": cv_assets.inspection.assets,
    "drift": cv_assets.drift.assets,
    "review": cv_assets.review.assets,
    "alarms": cv_assets.alarms.assets,
    "lookback": cv_assets.lookback.assets,
    "upkeep": cv_assets.upkeep.assets,
}
"""One module of assets per step, in the order data flows."""


def definitions(deployment: Deployment) -> dg.Definitions:
    """The code location of one deployment; its spec shapes the graph. Raises SpecError."""
    spec = load_spec(deployment.spec_file)
    if spec.name != deployment.project:
        raise SpecError(f"{deployment.spec_file.name}: write `name: {spec.name}` in a line of its own")
    tables = Tables(deployment)
    return dg.Definitions(
        assets=[_placed(asset, spec) for asset in _assets(spec)],
        jobs=[
            publish_spec,
            receive,
            reconcile_inbox,
            take_labels,
            retrain,
            release,
            roll_back,
            replay_thresholds,
            explain,
            refresh,
            sweep_lake,
            prune_runs,
            verify_lake,
            plan_retention,
            apply_retention,
            compare_branches,
        ],
        sensors=[
            spec_changes,
            new_deliveries,
            new_exports,
            release_passed_candidates,
            review_changes,
            retrain_on_drift,
            retrain_on_kpi,
            notices,
        ],
        schedules=[
            *retrain_on_schedule(spec.retraining),
            *prune_weekly(spec.retention),
            *retention_monthly(spec.retention),
            sweep_daily,
            verify_weekly,
        ],
        resources={"io_manager": tables, "tables": tables, "deployment": deployment},
    )


def _assets(spec: Spec) -> list[dg.AssetsDefinition]:
    fixed = dg.load_assets_from_modules(list(STEPS.values()))
    return in_project(
        [
            *(asset for asset in fixed if isinstance(asset, dg.AssetsDefinition)),
            *cv_assets.training.assets.checkpoints(spec),
            cv_assets.reference.assets.drift_reference_asset(spec),
            cv_assets.evaluation.assets.evaluation_report_asset(spec),
        ]
    )


def _placed(asset: dg.AssetsDefinition, spec: Spec) -> dg.AssetsDefinition:
    """The asset with its owners, in a group whose number keeps the UI's groups in the order of the flow.

    The UI's lineage joins groups of one name, whichever project they are of.
    """
    owners = {str(step): list(names) for step, names in spec.owners.items()}
    order = list(STEPS)

    def placed(one: dg.AssetSpec) -> dg.AssetSpec:
        step = one.tags["step"]
        return one.replace_attributes(
            group_name=f"{PROJECT}_{order.index(step) + 1:02d}_{step}",
            owners=owners.get(step, owners["default"]),
        ).merge_attributes(metadata={"kept": kept(one.key.path[-1], spec.retention)})

    return asset.map_asset_specs(placed)


defs = definitions(current())
