"""The upkeep step: the lake itself, swept of what dead processes left, read anew, rid of what is past its date."""

from collections import Counter
from datetime import UTC, datetime, timedelta
from typing import Final, get_args

import dagster as dg
import polars as pl
from pydantic import Field

from cv_assets.spec.assets import in_force
from cv_assets.spec.schema import Spec
from cv_assets.upkeep import branches, erasing, holdings, pruning, retention, sweeping, verification
from cv_assets.upkeep.changes import CHANGES
from cv_assets.upkeep.schema import (
    BranchChanges,
    Erasure,
    LakeSweep,
    LakeVerification,
    LetGo,
    RetentionPlan,
    RunPruning,
)
from resources.contracts import Audited, Check, TableAsset, digest, preview
from resources.deployments import Deployment, lake_is_there
from resources.lake import Outcome
from resources.lake_names import MAIN
from resources.run_records import THINNED, forget_run, run_records, runs_shown, thin_run
from resources.tables import Snapshot, Tables

MAIN_TAKES_MERGES = Check(
    "main_takes_merges", "Is nothing uncommitted on main, which would stop every publication?", blocking=False
)
NOTHING_WAITS_TOO_LONG = Check(
    "nothing_waits_too_long",
    f"Is everything that a sweep passed over gone after {sweeping.PATIENCE.days} days?",
    blocking=False,
)
EVERYTHING_IS_AS_WRITTEN = Check(
    "everything_is_as_written",
    "Are the bytes of every object those that were written, and does every row that names an object find it?",
    blocking=False,
)
NOTHING_IS_PAST_ITS_DATE = Check(
    "nothing_is_past_its_date", "Is nothing in the lake that the spec's retention lets go?", blocking=False
)
NOTHING_IS_FORGOTTEN = Check("nothing_is_forgotten", "Does the table only grow?")

LAKE_SWEEP = TableAsset(
    "lake_sweep", LakeSweep, step="upkeep", checks=(MAIN_TAKES_MERGES, NOTHING_WAITS_TOO_LONG)
)
LAKE_VERIFICATION = TableAsset(
    "lake_verification", LakeVerification, step="upkeep", checks=(EVERYTHING_IS_AS_WRITTEN,)
)
RUN_PRUNING = TableAsset("run_pruning", RunPruning, step="upkeep")
BRANCH_CHANGES = TableAsset("branch_changes", BranchChanges, step="upkeep")
RETENTION_PLAN = TableAsset(
    "retention_plan", RetentionPlan, step="upkeep", checks=(NOTHING_IS_PAST_ITS_DATE,)
)
LET_GO = TableAsset("let_go", LetGo, step="upkeep", checks=(NOTHING_IS_FORGOTTEN,))
ERASURE = TableAsset("erasure", Erasure, step="upkeep")

_ROWS_SHOWN: Final = 40


class Sweeping(dg.Config):
    """How a sweep is made."""

    dry_run: bool = Field(False, description="Only say what would go.")


class Verifying(dg.Config):
    """Which states of the lake are verified."""

    ref: str = Field(
        "", description="Only this branch, tag or commit. Empty: all that any branch or tag reaches."
    )


@dg.asset(**LAKE_SWEEP.arguments)
def lake_sweep(
    context: dg.AssetExecutionContext,
    config: Sweeping,
    tables: dg.ResourceParam[Tables],
    deployment: dg.ResourceParam[Deployment],
) -> Audited:
    """What dead processes left behind, and what became of it: branches of publications, unfinished files, old locks.

    A work branch goes when no run in flight writes it and it has not moved for six hours after a sweep first saw it:
    after one or two nights. One whose run has ended goes at once when what it brought is published. Refused data and
    the commits of deleted branches stay. The table of the sweep before is its memory: by hand it runs as on the
    schedule, and with `dry_run` it only says what would go. Bytes that lie in a lakeFS server's own storage are not
    reached.
    """
    snapshot, now = tables.snapshot(context), datetime.now(UTC)
    rows = sweeping.sweep(
        tables.lake,
        deployment.branch,
        deployment.cache_dir,
        snapshot.table("lake_sweep", or_empty=LakeSweep),
        lambda run_id: run_state(context.instance, run_id),
        now,
        dry_run=config.dry_run,
    )
    stuck, late = rows.filter(kind="uncommitted"), sweeping.waiting_too_long(rows, now)
    yield from LAKE_SWEEP.audited(
        rows,
        checks=[
            MAIN_TAKES_MERGES.no_rows(stuck, next(iter(stuck["why"]), "Nothing is uncommitted on main.")),
            NOTHING_WAITS_TOO_LONG.no_rows(late),
        ],
        metadata={
            "in short": sweeping.in_words(rows),
            **{outcome: rows.filter(outcome=outcome).height for outcome in get_args(Outcome)},
            "rows": preview(rows, ("outcome", "kind", "name", "why", "first_seen"), rows_shown=_ROWS_SHOWN),
        },
    )


def run_state(instance: dg.DagsterInstance, run_id: str) -> sweeping.RunState:
    """How the run stands, as far as this Dagster knows it."""
    run = instance.get_run_by_id(run_id)
    if run is None:
        return "unknown"
    return "ended" if run.is_finished else "in flight"


@dg.asset(**LAKE_VERIFICATION.arguments)
def lake_verification(
    config: Verifying, tables: dg.ResourceParam[Tables], deployment: dg.ResourceParam[Deployment]
) -> Audited:
    """What is wrong in the lake, and which rows point there; no row when all is as it was written.

    Every object is read anew, past every cache, and held to the hash in its name; every row that names an object is
    followed, and held to the hash that it states. Rows are followed at the heads of all branches and tags and at the
    states that rows name; objects that only older commits hold are read, too. It mends nothing: the table says what a
    person can do.
    """
    if not lake_is_there(deployment):
        raise dg.Failure(
            f"There is no lake in {deployment.embedded_lake}: make it with `lake init`.", allow_retries=False
        )
    found = verification.verify(tables.lake, config.ref)
    yield from LAKE_VERIFICATION.audited(
        found.problems,
        checks=[EVERYTHING_IS_AS_WRITTEN.no_rows(found.problems, verification.in_words(found))],
        metadata={
            "in short": verification.in_words(found),
            "states": found.states,
            "objects": found.objects,
            "rows that point": found.pointing,
            "problems": found.problems.height,
            "rows": preview(found.problems, rows_shown=_ROWS_SHOWN),
        },
    )


class Comparing(dg.Config):
    """What this data branch is compared with."""

    since_cut: bool = Field(False, description="Main as it was when this branch was cut, not as it is now.")


@dg.asset(**BRANCH_CHANGES.arguments)
def branch_changes(
    context: dg.AssetExecutionContext,
    config: Comparing,
    tables: dg.ResourceParam[Tables],
    deployment: dg.ResourceParam[Deployment],
) -> Audited:
    """What an experiment changed: each row of its tables that main has not, has otherwise, or has alone.

    Rows are the same rows when the key of their contract is the same; columns that only tell of a run are left out. Of
    each table it holds the first 1,000 changed rows, and counts all. It changes nothing that it compares.
    """
    if deployment.branch == MAIN:
        raise dg.Failure(
            f"There is nothing to compare: this deployment works on {MAIN} itself. Begin an experiment: "
            "make dev BRANCH=my-idea",
            allow_retries=False,
        )
    lake, pin = tables.lake, tables.snapshot(context).commit
    left = branches.cut(lake, pin)
    base = left.commit if config.since_cut else lake.resolve(MAIN)
    found = list(branches.differences(lake, base, pin))
    counted = branches.summary(found)
    yield from BRANCH_CHANGES.audited(
        branches.as_rows(found),
        metadata={
            "in short": f"{left} {branches.in_words(found)}",
            **{change: int(counted[change].sum()) for change in CHANGES},
            "tables": preview(counted, rows_shown=_ROWS_SHOWN),
            "files": branches.other_files(lake, base, pin) or "No file beside the tables differs.",
            "compared with": base,
        },
    )


class Pruning(dg.Config):
    """How runs are pruned."""

    dry_run: bool = Field(True, description="Only say what would go.")


@dg.asset(**RUN_PRUNING.arguments)
def run_pruning(
    context: dg.AssetExecutionContext,
    config: Pruning,
    project_spec: pl.DataFrame,
    deployment: dg.ResourceParam[Deployment],
) -> Audited:
    """What became of Dagster's own runs that are older than the spec's `retention.runs_days`; of none while it is null.

    A run stays while the UI shows a table or a check of it as the newest, while a sensor would act again without it,
    and while it is among the newest of its job; of one that ended well and stays, the messages go. What Dagster shows
    of tables, partitions and checks stays as it is, and the lake loses nothing: only the links from commits to runs
    that went lead nowhere. By hand it is a dry run unless `dry_run` is false.
    """
    days, now = in_force(project_spec, deployment).retention.runs_days, datetime.now(UTC)
    instance = context.instance
    found = []
    if days is not None:
        runs = [_as_run(one) for one in run_records(instance)]
        found = pruning.fates(runs, runs_shown(instance), now - timedelta(days=days))
    if not config.dry_run:
        for one in found:
            _let_go(instance, one)
    outcomes: Counter[pruning.Outcome] = Counter(one.outcome for one in found)
    yield from RUN_PRUNING.audited(
        pruning.as_rows(found),
        metadata={
            "in short": pruning.in_words(outcomes, days, dry_run=config.dry_run),
            "dry run": config.dry_run,
            **{str(outcome): number for outcome, number in outcomes.items()},
            "rows": preview(pruning.as_rows(found), rows_shown=_ROWS_SHOWN),
        },
    )


def _as_run(record: dg.RunRecord) -> pruning.Run:
    run = record.dagster_run
    # A run that ended before it started has no end.
    ended = record.end_time or record.update_timestamp.timestamp()
    return pruning.Run(
        run_id=run.run_id,
        root=run.root_run_id or run.run_id,
        job=run.job_name,
        partition=run.tags.get("dagster/partition", ""),
        status=run.status.value,
        ended_at=datetime.fromtimestamp(ended, UTC) if run.is_finished else None,
        requested="dagster/run_key" in run.tags,
        thinned=THINNED in run.tags,
    )


def _let_go(instance: dg.DagsterInstance, fate: pruning.Fate) -> None:
    if fate.outcome == "goes":
        forget_run(instance, fate.run.run_id)
    elif fate.outcome == "thinned":
        thin_run(instance, fate.run.run_id)


@dg.asset(**RETENTION_PLAN.arguments)
def retention_plan(
    context: dg.AssetExecutionContext,
    project_spec: pl.DataFrame,
    tables: dg.ResourceParam[Tables],
    deployment: dg.ResourceParam[Deployment],
) -> Audited:
    """What is past its date by the spec's `retention`: a row for each object, whether it would go, and why it stays.

    It lets go of nothing. Only bytes are ever let go, of raw and prepared frames and of the checkpoints of refused
    candidates; rows of tables stay for ever. Whatever its age, a frame stays that is labelled, asked about, in the
    benchmark or in a split of a candidate that is not refused, and a delivery that an open alarm is about or that is
    under way. To apply it, launch the job `apply_retention` with this plan's data version.
    """
    planned = _plan_now(tables.snapshot(context), in_force(project_spec, deployment), deployment)
    goes, version = planned.filter(outcome="goes"), digest(planned, retention.VOLATILE)
    yield from RETENTION_PLAN.audited(
        planned,
        checks=[NOTHING_IS_PAST_ITS_DATE.no_rows(goes, retention.in_words(planned))],
        metadata={
            "in short": retention.in_words(planned),
            "plan": version,
            "objects that would go": goes.height,
            "bytes that would go": int(goes["size_bytes"].sum()),
            "by reason": preview(retention.totals(planned), rows_shown=_ROWS_SHOWN),
            "rows": preview(planned.sort("outcome", "due_at"), rows_shown=_ROWS_SHOWN),
        },
    )


class LettingGo(dg.Config):
    """Which plan is applied."""

    plan: str = Field(
        "",
        description="`plan` of the newest retention_plan, which you looked at. Empty only where the spec says "
        "`retention.apply: automatic`: what is past its date now.",
    )


@dg.asset(**LET_GO.arguments, deps=["retention_plan"])
def let_go(
    context: dg.AssetExecutionContext,
    config: LettingGo,
    project_spec: pl.DataFrame,
    tables: dg.ResourceParam[Tables],
    deployment: dg.ResourceParam[Deployment],
) -> Audited:
    """What was let go, for ever: each object, its hash, its delivery, by which rule, when and by which run.

    With the row, and in the same transaction, the object leaves the list of what the data branch holds; its bytes are
    erased after that, by `erasure`. It refuses a plan that is not the newest, and one of which something is needed by
    now. Splits leave frames out that were let go; a delivery of which some were cannot be prepared again.
    """
    spec, snapshot = in_force(project_spec, deployment), tables.snapshot(context)
    before = snapshot.table("let_go", or_empty=LetGo)
    goes, version = _approved(config.plan, spec, snapshot, deployment)
    rows = before
    if goes.height:
        rows = retention.entries(
            goes,
            before,
            version=version,
            commit=snapshot.commit,
            spec_digest=project_spec["spec_digest"][0],
            at=datetime.now(UTC),
            run_id=context.run.run_id,
        )
    yield from LET_GO.audited(
        rows,
        removes=goes.filter(pl.col("commit").is_null())["path"],
        checks=[NOTHING_IS_FORGOTTEN.result(rows.head(before.height).equals(before))],
        metadata={
            "plan": version,
            "objects": goes.height,
            "bytes": int(goes["size_bytes"].sum()),
            "by reason": preview(retention.totals(goes), rows_shown=_ROWS_SHOWN),
            "rows": preview(rows.reverse(), rows_shown=_ROWS_SHOWN),
        },
    )


@dg.asset(**ERASURE.arguments, deps=["let_go"])
def erasure(
    context: dg.AssetExecutionContext,
    tables: dg.ResourceParam[Tables],
) -> Audited:
    """Whether the bytes of what was let go are gone; those that were still there are erased and have a row.

    It follows the table `let_go` and may run again at any time: every night it goes on where a run was killed. Bytes
    that a path still names or names again, and those of what became needed by now, stay; those that were written in the
    last hours wait. On lakeFS it takes the local copies; the server's own bytes are its garbage collection's.
    """
    gone, now = tables.snapshot(context).table("let_go", or_empty=LetGo), datetime.now(UTC)
    rows = erasing.erase(tables.lake, gone, now)
    yield from ERASURE.audited(
        rows,
        metadata={
            "in short": erasing.in_words(rows, gone),
            **{outcome: rows.filter(outcome=outcome).height for outcome in ("swept", "waits", "kept")},
            "rows": preview(rows, rows_shown=_ROWS_SHOWN),
        },
    )


def _approved(
    version: str, spec: Spec, snapshot: Snapshot, deployment: Deployment
) -> tuple[pl.DataFrame, str]:
    """What may be let go now, and the data version of its plan."""
    if version and version in snapshot.table("let_go", or_empty=LetGo)["plan"]:
        # A run before this one was killed after it: what is left to do is the erasure.
        return RetentionPlan.create_empty(), version
    fresh = _plan_now(snapshot, spec, deployment)
    if not version and spec.retention.apply == "automatic":
        return fresh.filter(outcome="goes"), digest(fresh, retention.VOLATILE)
    planned = snapshot.table("retention_plan", or_empty=RetentionPlan)
    try:
        return retention.approved(planned, fresh, version), version
    except retention.PlanError as error:
        raise dg.Failure(str(error), allow_retries=False) from error


def _plan_now(snapshot: Snapshot, spec: Spec, deployment: Deployment) -> pl.DataFrame:
    if deployment.branch != MAIN:
        raise dg.Failure(
            f"{deployment.branch} is an experiment: only {MAIN} lets anything go. Ask there.",
            allow_retries=False,
        )
    held, needed = holdings.held(snapshot), holdings.needed(snapshot)
    return retention.plan(held, needed, spec.retention, datetime.now(UTC))
