"""The splits step: which frames train and which judge."""

import dagster as dg
import polars as pl

from cv_assets.frames.captures import attribute
from cv_assets.frames.schema import PreparedFrames, RawFrames
from cv_assets.labels.schema import BenchmarkFrames
from cv_assets.spec.assets import in_force
from cv_assets.spec.schema import Spec
from cv_assets.splits.schema import SplitTable
from resources.contracts import Audited, Check, TableAsset, preview
from resources.deployments import Deployment
from resources.partitions import candidates
from resources.tables import Tables

GROUPS_ARE_WHOLE = Check("groups_are_whole", "Has every group one role?")
PICTURES_ARE_NOT_SHARED = Check("pictures_are_not_shared", "Is no picture, raw or prepared, in two roles?")
BENCHMARK_NEVER_TRAINS = Check("benchmark_never_trains", "Does no group of the benchmark train?")
EVERY_CLASS_TRAINS = Check("every_class_trains", "Has every class of the spec a frame to train on?")
ENOUGH_GROUPS = Check("enough_groups", "Are there as many training groups as folds?")
CLASSES_SPAN_GROUPS = Check(
    "classes_span_groups", "Does every class train in two groups at least?", blocking=False
)

SPLIT_TABLE = TableAsset(
    "split_table",
    SplitTable,
    step="splits",
    partitions=candidates,
    on_candidate=True,
    checks=(
        GROUPS_ARE_WHOLE,
        PICTURES_ARE_NOT_SHARED,
        BENCHMARK_NEVER_TRAINS,
        EVERY_CLASS_TRAINS,
        ENOUGH_GROUPS,
        CLASSES_SPAN_GROUPS,
    ),
)


@dg.asset(
    **SPLIT_TABLE.arguments,
    # A candidate depends on all deliveries; which there are says its commit, not Dagster's own list of partitions.
    deps=[
        "training_request",
        "benchmark_frames",
        dg.AssetDep("raw_frames", partition_mapping=dg.AllPartitionMapping()),
        dg.AssetDep("prepared_frames", partition_mapping=dg.AllPartitionMapping()),
    ],
)
def split_table(
    context: dg.AssetExecutionContext,
    project_spec: pl.DataFrame,
    label_table: pl.DataFrame,
    tables: dg.ResourceParam[Tables],
    deployment: dg.ResourceParam[Deployment],
) -> Audited:
    """Every frame that trains or judges this candidate, its group and its role: train, val, test, golden, challenge.

    A group's role follows from its name and the spec's salt alone, so more data moves no group. The benchmark's groups
    never train, and no picture is in two roles.
    """
    from cv_assets.frames.preparation import preparation_digest
    from cv_assets.splits.leaks import leaks
    from cv_assets.splits.roles import assemble_splits

    spec, snapshot = in_force(project_spec, deployment), tables.snapshot(context)
    raw_frames = snapshot.tables("raw_frames", or_empty=RawFrames)
    prepared_frames = snapshot.tables("prepared_frames", or_empty=PreparedFrames)
    benchmark_frames = snapshot.table("benchmark_frames", or_empty=BenchmarkFrames)
    try:
        assembly = assemble_splits(
            label_table,
            benchmark_frames,
            raw_frames,
            prepared_frames,
            spec.splits,
            preparation_digest(spec.preparation),
            snapshot.let_go(prepared_frames["path"].drop_nulls()),
        )
    except ValueError as error:
        raise dg.Failure(str(error), allow_retries=False) from error
    rows = assembly.rows
    found = leaks(rows, raw_frames, benchmark_frames, spec.splits.group_by)
    yield from SPLIT_TABLE.audited(
        rows,
        checks=[*_leak_checks(found), *_training_checks(rows, spec)],
        metadata={
            "roles": preview(_roles(rows), rows_shown=5),
            **{f"{role} frames": count for role, count in rows["role"].value_counts(sort=True).iter_rows()},
            "frames": preview(_counts(rows, spec), rows_shown=60),
            "labelled frames left out": preview(assembly.left_out, rows_shown=10),
        },
    )


def _leak_checks(found: pl.DataFrame) -> list[dg.AssetCheckResult]:
    from cv_assets.splits.leaks import BENCHMARK, FRAME, GROUP, PICTURE

    kinds = {
        GROUPS_ARE_WHOLE: [GROUP],
        PICTURES_ARE_NOT_SHARED: [FRAME, PICTURE],
        BENCHMARK_NEVER_TRAINS: [BENCHMARK],
    }
    return [check.no_rows(found.filter(pl.col("leak").is_in(leaks))) for check, leaks in kinds.items()]


def _training_checks(rows: pl.DataFrame, spec: Spec) -> list[dg.AssetCheckResult]:
    train = rows.filter(pl.col("role") == "train")
    groups = {name: train.filter(pl.col("label") == name)["group"].n_unique() for name in spec.class_names}
    lacking = [name for name, count in groups.items() if count == 0]
    narrow = [name for name, count in groups.items() if count == 1]
    count, folds = train["group"].n_unique(), spec.training.folds
    return [
        EVERY_CLASS_TRAINS.result(
            not lacking,
            f"No training frame is {' or '.join(lacking)}: label frames that are, outside the benchmark's groups."
            if lacking
            else f"{train.height} frames train, of all {len(groups)} classes.",
        ),
        ENOUGH_GROUPS.result(
            count >= folds,
            f"{count} groups train, {folds} folds of out-of-fold scores are wanted."
            + ("" if count >= folds else " Label frames of more groups, or set training.folds lower."),
        ),
        CLASSES_SPAN_GROUPS.result(
            not lacking and not narrow,
            f"Out-of-fold scores of {', '.join(narrow)} come from models that never saw the class: one group has all."
            if narrow
            else f"Training groups by class: {', '.join(f'{name} {n}' for name, n in groups.items())}.",
        ),
    ]


def _roles(rows: pl.DataFrame) -> pl.DataFrame:
    counted = rows.group_by("role").agg(frames=pl.len(), groups=pl.col("group").n_unique())
    return counted.sort("frames", "role", descending=[True, False])


def _counts(rows: pl.DataFrame, spec: Spec) -> pl.DataFrame:
    """Frames by role, class and each condition of the spec."""
    conditions = [attribute(name).fill_null("-").alias(name) for name in spec.conditions]
    by = ["role", "label", *spec.conditions]
    counted = (
        rows.with_columns(conditions).group_by(by).agg(frames=pl.len(), groups=pl.col("group").n_unique())
    )
    return counted.sort(by)
