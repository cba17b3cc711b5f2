"""The release step: what is in force, and how every candidate ended."""

from datetime import UTC, datetime
from typing import Any, Final

import dagster as dg
import polars as pl
from pydantic import Field

from cv_assets.evaluation.band import OperatingBand
from cv_assets.evaluation.schema import ReleaseDecision
from cv_assets.release.approval import Decided, place_of, refuse_outdated, verify
from cv_assets.release.history import (
    Conclusion,
    Known,
    NotAllowedError,
    by_whom,
    conclude,
    roll_back,
    with_today_s_columns,
)
from cv_assets.release.schema import Releases
from cv_assets.requests.base import release_in_force
from cv_assets.spec.assets import in_force
from cv_assets.spec.evaluation import POLICY
from cv_assets.spec.schema import Spec
from resources.contracts import Audited, Check, TableAsset, preview
from resources.deployments import Deployment
from resources.tables import Snapshot, Tables, table_path, tag_name

HISTORY_ONLY_GROWS = Check("history_only_grows", "Are all earlier rows as they were?")
RELEASED_MET_EVERY_CRITERION = Check(
    "released_met_every_criterion", "Did the newest released candidate meet every criterion?"
)

RELEASES = TableAsset(
    "releases", Releases, step="release", checks=(HISTORY_ONLY_GROWS, RELEASED_MET_EVERY_CRITERION)
)


_SHOWN: Final = (
    "number",
    "outcome",
    "version",
    "candidate",
    "model",
    "approver",
    "approver_known",
    "concluded_at",
    "why",
)


class Decision(dg.Config):
    """Conclude a candidate, or roll back to a version: give one of `candidate` and `back_to`."""

    candidate: str = Field("", description="The candidate to conclude.")
    back_to: str = Field("", description="The version to put back in force, e.g. v1.0.0.")
    approver: str = Field(description="Who decides; `policy` when no person does.")
    approve: bool = Field(
        True,
        description="False declines a candidate: one that meets its criteria, or one whose training never ended well.",
    )
    why: str = Field("", description="The reason, in words; kept for ever.")
    approval: str = Field(
        "",
        description="What the door of approvals signed: it proves who decides, and must say what the fields above say. "
        "Without it, `approver` is recorded as typed.",
    )


@dg.asset(**RELEASES.arguments, deps=["release_decision"])
def releases(
    context: dg.AssetExecutionContext,
    config: Decision,
    project_spec: pl.DataFrame,
    tables: dg.ResourceParam[Tables],
    deployment: dg.ResourceParam[Deployment],
) -> Audited:
    """The history of releases: one row per concluded candidate or rollback; the last row not refused is in force.

    A released candidate's data and its row enter the data branch in one transaction, tagged with its version. A
    refused candidate never enters it and stays readable under its tag `refused-<candidate>`.
    """
    spec = in_force(project_spec, deployment)
    history = with_today_s_columns(tables.snapshot(context).table("releases", or_empty=Releases))
    if bool(config.candidate) == bool(config.back_to):
        raise dg.Failure("Give exactly one of `candidate` and `back_to`.", allow_retries=False)
    decision, judged_at = pl.DataFrame(), ""
    try:
        if config.back_to:
            conclusion = _conclusion(config, spec, deployment, history, judged_at)
            rows = roll_back(history, version=config.back_to, conclusion=conclusion, policy=spec.release)
        else:
            candidate = _candidate(tables, config.candidate)
            decision = candidate.table("release_decision", config.candidate, or_empty=ReleaseDecision)
            request = candidate.table("training_request", config.candidate).row(0, named=True)
            tables.snapshot(context).reads.update(f"{candidate.commit}:{path}" for path in candidate.reads)
            judged_at = "" if decision.is_empty() else candidate.commit
            rows = conclude(
                history,
                request=request,
                decision=decision,
                candidate_commit=candidate.commit,
                pass_class=spec.pass_class,
                spec_digest=project_spec["spec_digest"][0],
                policy=spec.release,
                conclusion=_conclusion(config, spec, deployment, history, judged_at),
            )
    except NotAllowedError as error:
        raise dg.Failure(str(error), allow_retries=False) from error
    added = rows.tail(rows.height - history.height)
    yield from RELEASES.audited(
        rows,
        **_transaction(added, deployment.branch),
        checks=[
            HISTORY_ONLY_GROWS.result(rows.head(history.height).equals(history)),
            _criteria_are_met(added, decision),
        ],
        metadata=_summary(rows, added, decision, config.candidate),
    )


def _conclusion(
    config: Decision, spec: Spec, deployment: Deployment, history: pl.DataFrame, judged_at: str
) -> Conclusion:
    """What the run is to conclude, and how it is known by whom. Raises NotAllowedError for an approval that is none."""
    now = datetime.now(UTC)
    known: Known = "policy" if config.approver == POLICY else "asserted"
    if config.approval:
        decided = Decided(config.candidate, config.back_to, config.approver, config.approve, config.why)
        place = place_of(spec.name, deployment.branch)
        approval = verify(config.approval, deployment.approval_key, decided=decided, place=place, now=now)
        refuse_outdated(approval, history, judged_at)
        known = approval.known
    return Conclusion(config.approver, config.approve, config.why, now, known)


def _transaction(added: pl.DataFrame, data_branch: str) -> dict[str, Any]:
    """What enters the data branch with the row `added`, if there is one, and which tags are set."""
    row = added.row(0, named=True) if added.height else {"outcome": "unchanged"}
    match row["outcome"]:
        case "released":
            return {"merges": row["candidate_commit"], "tags": {tag_name(data_branch, row["version"]): ""}}
        case "refused":
            name = tag_name(data_branch, f"refused-{row['candidate']}")
            return {"tags": {name: row["candidate_commit"]}}
        case _:
            return {"tags": {}}


def _candidate(tables: Tables, key: str) -> Snapshot:
    """The candidate as of its decision, or as it is while there is none."""
    head = tables.head()
    if not head.has("training_request", key):
        raise dg.Failure(f"There is no candidate {key!r}: nobody requested it.", allow_retries=False)
    return as_judged(tables, key) or tables.candidate(key) or head


def as_judged(tables: Tables, key: str) -> Snapshot | None:
    """The candidate as of its decision: what was made after it, nobody has judged. None while it has none."""
    candidate = tables.candidate(key)
    if candidate is None or not candidate.has("release_decision", key):
        return None
    decided = next(tables.lake.log(candidate.commit, table_path("release_decision", key)))
    return Snapshot(tables.lake, decided.id)


def _criteria_are_met(added: pl.DataFrame, decision: pl.DataFrame) -> dg.AssetCheckResult:
    if added.is_empty():
        return RELEASED_MET_EVERY_CRITERION.result(True, "Not applicable: nothing new is concluded.")
    newest = added.row(-1, named=True)
    if newest["outcome"] != "released" or decision.is_empty():
        return RELEASED_MET_EVERY_CRITERION.result(
            True, f"Not applicable: the newest row is {newest['outcome']}."
        )
    return RELEASED_MET_EVERY_CRITERION.no_rows(decision.filter(~pl.col("passed")))


def _summary(
    rows: pl.DataFrame, added: pl.DataFrame, decision: pl.DataFrame, candidate: str
) -> dict[str, object]:
    concluded = rows.filter(pl.col("candidate") == candidate, pl.col("outcome") != "rolled_back")
    before = concluded if candidate else rows
    newest, now = (before if added.is_empty() else added).row(-1, named=True), release_in_force(rows)
    again = " before; the same again changes nothing" if added.is_empty() else ""
    summary: dict[str, object] = {
        "in force": "nothing" if now is None else f"{now['version']} ({now['model']} of {now['candidate']})",
        **({} if now is None else {"operating band": OperatingBand(now["lower"], now["upper"]).words}),
        "outcome": f"{newest['candidate']}: {newest['outcome']}{again}",
        "why": newest["why"],
        "approver": by_whom(newest),
        "history, newest first": preview(rows.reverse(), _SHOWN, rows_shown=20),
    }
    if not decision.is_empty():
        shown = ("criterion", "measured", "low", "high", "samples", "passed", "why")
        summary["criteria"] = preview(decision, shown, rows_shown=20)
    return summary
