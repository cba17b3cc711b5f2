"""The contract of each table in the lake, by the asset's name."""

from typing import Final

import dataframely as dy

from cv_assets.alarms.schema import Alarms
from cv_assets.drift.schema import DriftMetrics
from cv_assets.evaluation.schema import EvaluationReport, ReleaseDecision
from cv_assets.frames.schema import InboxReconciliation, PreparedFrames, RawFrames
from cv_assets.inspection.schema import Inspections, Outbox
from cv_assets.labels.schema import Annotations, BenchmarkFrames, LabelTable, RejectedAnnotations
from cv_assets.lookback.schema import ThresholdReplay, VerdictExplanation
from cv_assets.reference.schema import DriftReference
from cv_assets.release.schema import Releases
from cv_assets.requests.schema import TrainingRequest
from cv_assets.review.schema import Kpis, ReviewQueue, ReviewWorklist
from cv_assets.spec.schema import ProjectSpec
from cv_assets.splits.schema import SplitTable
from cv_assets.training.schema import Checkpoint
from cv_assets.upkeep.schema import (
    BranchChanges,
    Erasure,
    LakeSweep,
    LakeVerification,
    LetGo,
    RetentionPlan,
    RunPruning,
)

CONTRACTS: Final[dict[str, type[dy.Schema]]] = {
    "project_spec": ProjectSpec,
    "raw_frames": RawFrames,
    "prepared_frames": PreparedFrames,
    "inbox_reconciliation": InboxReconciliation,
    "annotations": Annotations,
    "rejected_annotations": RejectedAnnotations,
    "benchmark_frames": BenchmarkFrames,
    "label_table": LabelTable,
    "training_request": TrainingRequest,
    "split_table": SplitTable,
    "drift_reference": DriftReference,
    "evaluation_report": EvaluationReport,
    "release_decision": ReleaseDecision,
    "releases": Releases,
    "inspections": Inspections,
    "outbox": Outbox,
    "drift_metrics": DriftMetrics,
    "review_queue": ReviewQueue,
    "review_worklist": ReviewWorklist,
    "kpis": Kpis,
    "alarms": Alarms,
    "threshold_replay": ThresholdReplay,
    "verdict_explanation": VerdictExplanation,
    "lake_sweep": LakeSweep,
    "lake_verification": LakeVerification,
    "branch_changes": BranchChanges,
    "retention_plan": RetentionPlan,
    "let_go": LetGo,
    "erasure": Erasure,
    "run_pruning": RunPruning,
}


def contract_of(asset: str) -> type[dy.Schema] | None:
    """The contract that the table of `asset` follows; None for one that this code does not know."""
    # One asset for each model of the spec.
    return CONTRACTS.get(asset) or (Checkpoint if asset.endswith("_checkpoint") else None)


def key_and_volatile(asset: str) -> tuple[list[str], list[str]]:
    """The columns by which rows of `asset` are the same row, and those that tell of the run, not of the data."""
    if (contract := contract_of(asset)) is None:
        return [], []
    volatile = [name for name, one in contract.columns().items() if (one.metadata or {}).get("volatile")]
    return contract.primary_key(), volatile
