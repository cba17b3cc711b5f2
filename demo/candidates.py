"""A candidate as people follow it: how it was judged, and the named approver who concludes it."""

from typing import Any

import polars as pl

from cv_assets.requests.base import release_in_force
from demo.api import Run
from demo.figures import number, span
from demo.play import Play
from demo.watch import StoryError, show_steps
from resources.tables import Snapshot


def in_force(lake: Snapshot) -> dict[str, Any]:
    """The row of releases that is in force. Raises StoryError before the first release."""
    release = release_in_force(lake.table("releases")) if lake.has("releases") else None
    if release is None:
        raise StoryError("Nothing is in force: later seasons are played after a release.")
    return release


def judged(play: Play, candidate: str) -> Snapshot:
    """The judged candidate's branch. Raises StoryError when it was not judged."""
    found = play.watch.candidate(candidate)
    if found is None or not found.has("release_decision", candidate):
        raise StoryError(f"Candidate {candidate} ran through, but left no release decision.")
    return found


def watch_training(play: Play, candidate: str, who: str) -> None:
    """Until the run of `candidate`, which `who` asked for, is over; then tell how it was judged."""
    steps = 5 + len(play.spec.training.models)

    with play.screen.bar("steps", steps) as bar:

        def over(runs: list[Run]) -> bool:
            run = next(run for run in runs if run.job == "retrain" and run.partition == candidate)
            show_steps(bar, run)
            return run.finished

        play.watch.until("the candidate to be judged", who, over)
    _tell(play, judged(play, candidate), candidate)


def conclude(play: Play, candidate: str, why: str) -> bool:
    """The approver looks at the decision and concludes the candidate; whether it is released."""
    if judged(play, candidate).table("release_decision", candidate)["passed"].all():
        approver = play.spec.release.approvers[0]
        conclusion = {"candidate": candidate, "approver": approver, "why": why}
        play.watch.dagster.launch("release", {"releases": conclusion})
        play.screen.say(f"{approver} looks at the decision and approves")
    else:
        play.screen.say("a criterion is missed: the product refuses the candidate by itself", "red")

    def concluded(runs: list[Run]) -> bool:
        return _conclusion(play, candidate) is not None and all(run.finished for run in runs)

    play.watch.until("the candidate to be concluded", "release_passed_candidates", concluded)
    row = _conclusion(play, candidate) or {}
    play.screen.say(f"{candidate} is {row['outcome']}: {row['version'] or 'no version'} ({row['why']})")
    return bool(row["outcome"] == "released")


def _conclusion(play: Play, candidate: str) -> dict[str, Any] | None:
    head = play.watch.head()
    rows = head.table("releases").filter(candidate=candidate) if head.has("releases") else pl.DataFrame()
    return rows.row(-1, named=True) if rows.height else None


def _tell(play: Play, branch: Snapshot, candidate: str) -> None:
    split = branch.table("split_table", candidate)
    roles = split.group_by("role").agg(pl.len(), pl.col("group").n_unique()).sort("role")
    dealt = [f"{role} {frames} frames of {groups} modules" for role, frames, groups in roles.iter_rows()]
    play.screen.say(f"split by module: {', '.join(dealt)}")
    _tell_models(play, branch.table("evaluation_report", candidate))
    decision = branch.table("release_decision", candidate)
    first = decision.row(0, named=True)
    play.screen.say(
        f"chosen: {first['model']}; below {first['lower']:.3f} a cell passes, from {first['upper']:.3f} it fails, "
        "between them a person looks"
    )
    for row in decision.iter_rows(named=True):
        words = row["why"] if row["passed"] and row["measured"] is None else f"met: {row['why']}"
        play.screen.say(words if row["passed"] else f"MISSED: {row['why']}", "" if row["passed"] else "red")


def _tell_models(play: Play, report: pl.DataFrame) -> None:
    by = play.spec.evaluation.select_by
    chosen = report.filter(pl.col("set") == "out_of_fold", pl.col("slice") == "all", pl.col("metric") == by)
    for row in chosen.iter_rows(named=True):
        ends = span(row["low"], row["high"])
        play.screen.say(f"{row['model']}: {by} {number(row['value'])} ({ends}) out of fold")
