"""The upkeep step: the lake itself, swept of what dead processes left, and read anew. It changes no data."""

from datetime import UTC, datetime
from typing import Final, get_args

import dagster as dg
from pydantic import Field

from cv_assets.upkeep import branches, sweeping, verification
from cv_assets.upkeep.changes import CHANGES
from cv_assets.upkeep.schema import BranchChanges, LakeSweep, LakeVerification
from resources.contracts import Audited, Check, TableAsset, preview
from resources.deployments import Deployment, lake_is_there
from resources.lake import Outcome
from resources.lake_names import MAIN
from resources.tables import Tables

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

LAKE_SWEEP = TableAsset(
    "lake_sweep", LakeSweep, step="upkeep", checks=(MAIN_TAKES_MERGES, NOTHING_WAITS_TOO_LONG)
)
LAKE_VERIFICATION = TableAsset(
    "lake_verification", LakeVerification, step="upkeep", checks=(EVERYTHING_IS_AS_WRITTEN,)
)
BRANCH_CHANGES = TableAsset("branch_changes", BranchChanges, step="upkeep")

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
