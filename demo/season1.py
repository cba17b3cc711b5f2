"""Season 1: from an empty plant to the first release. The product does the work; the demo plays the world around it."""

from collections.abc import Sequence
from datetime import UTC, datetime
from typing import Final

import polars as pl

from demo.api import Run
from demo.claims import counts
from demo.figures import number, span
from demo.plant import ANNOTATORS, OPENING, READING, VERIFIER, benchmark_export, drop
from demo.play import Play
from demo.watch import StoryError, show_steps
from resources.tables import Snapshot

CANDIDATE: Final = "2026-03-first"
AT_ONCE: Final = 7
"""So many modules wait for their verdicts at most, before the cameras pause."""


def play_season1(play: Play) -> None:
    """Everything from the spec to the release. Raises StoryError when it cannot go on."""
    _publish_spec(play)
    _deliver(play)
    _label(play)
    _train(play)
    _release(play)


def candidate(play: Play) -> Snapshot:
    """The judged candidate's branch. Raises StoryError when it was not judged."""
    found = play.watch.candidate(CANDIDATE)
    if found is None or not found.has("release_decision", CANDIDATE):
        raise StoryError(f"Candidate {CANDIDATE} ran through, but left no release decision.")
    return found


def _publish_spec(play: Play) -> None:
    """Wait for the product to publish its spec on its own."""
    play.screen.chapter("The contract")
    play.watch.until(
        "the spec to be published", "spec_changes", lambda _: play.watch.head().has("project_spec")
    )
    classes, criteria = " or ".join(play.spec.class_names), len(play.spec.evaluation.acceptance)
    play.screen.say(f"spec {play.spec.name} is published: {classes}; {criteria} acceptance criteria")


def _deliver(play: Play) -> None:
    """Cameras image the modules of season 1, several at once. Nothing is released: people must see every cell."""
    modules = play.cast.first_season
    play.screen.chapter(f"Frames: {len(modules)} mono modules arrive, up to {AT_ONCE} at once")
    play.deliver(modules, OPENING, at_once=AT_ONCE)
    head = play.watch.head()
    _tell_rejections(play, head.tables("prepared_frames"))
    reasons = counts(head.tables("inspections")["reason"])
    play.screen.say(f"nothing is released yet, so every cell goes to people: {reasons}")


def _label(play: Play) -> None:
    """Annotators export their votes, a named person exports the golden labels."""
    play.screen.chapter("Labels: annotators answer")
    play.screen.say(READING)
    train, golden = play.names(play.cast.train), play.names(play.cast.golden)
    play.answer("cells", train, "cells-2026-03.json")
    export = benchmark_export(golden, play.spec.labels.guideline, datetime.now(UTC))
    drop(export, play.exports / "golden-2026-03.json")
    play.screen.say(
        f"two exports dropped: votes on {len(play.cast.train)} modules, and {len(play.cast.golden)} golden modules "
        f"verified by {VERIFIER}"
    )
    statements = len(train) * len(ANNOTATORS) + len(golden)

    def labelled(runs: list[Run]) -> bool:
        head = play.watch.head()
        there = head.has("label_table") and head.has("benchmark_frames")
        taken = head.tables("annotations").height if head.partitions("annotations") else 0
        return there and taken == statements and all(run.finished for run in runs)

    play.watch.until("label table and benchmark to be published", "new_exports", labelled)
    head = play.watch.head()
    labels, benchmark = head.table("label_table"), head.table("benchmark_frames")
    agreed = labels.filter(pl.col("status") == "agreed")
    play.screen.say(
        f"label table: {agreed.height} frames agreed ({agreed.filter('disputed').height} of them disputed), "
        f"{labels.height - agreed.height} wait for review"
    )
    play.screen.say(f"benchmark: {benchmark.height} golden frames; their modules never train")


def _train(play: Play) -> None:
    """A person asks for the first training; the candidate is trained, evaluated and judged."""
    play.screen.chapter("Training: a person asks for the first candidate")
    play.watch.dagster.add_partition("candidates", CANDIDATE)
    train, golden = len(play.cast.train), len(play.cast.golden)
    evidence = f"{train} labelled modules, {golden} golden ones, nothing released yet"
    request = {"reason": "first_release", "evidence": evidence, "requested_by": "ml.engineer"}
    run_id = play.watch.dagster.launch("retrain", {"training_request": request}, CANDIDATE)
    play.screen.say(f"candidate {CANDIDATE} is requested: {evidence}")
    steps = 4 + len(play.spec.training.models)

    with play.screen.bar("steps", steps) as bar:

        def judged(runs: list[Run]) -> bool:
            run = next(run for run in runs if run.id == run_id)
            show_steps(bar, run)
            return run.finished

        play.watch.until("the candidate to be judged", "none: a person launched it", judged)
    _tell_candidate(play, candidate(play))
    _tell_answered(play)


def _release(play: Play) -> None:
    """The approver looks at the decision and concludes the candidate; the product refuses a failed one itself."""
    play.screen.chapter("Release: a named approver decides")
    if candidate(play).table("release_decision", CANDIDATE)["passed"].all():
        approver = play.spec.release.approvers[0]
        why = "All criteria are met: first release."
        conclusion = {"candidate": CANDIDATE, "approver": approver, "why": why}
        play.watch.dagster.launch("release", {"releases": conclusion})
        play.screen.say(f"{approver} looks at the decision and approves")
    else:
        play.screen.say("a criterion is missed: the product refuses the candidate by itself", "red")
    play.watch.until(
        "the candidate to be concluded",
        "release_passed_candidates",
        lambda runs: play.watch.head().has("releases") and all(run.finished for run in runs),
    )
    last = play.watch.head().table("releases").row(-1, named=True)
    version = last["version"] or "no version"
    play.screen.say(f"{last['candidate']} is {last['outcome']}: {version} ({last['why']})")


def _tell_rejections(play: Play, prepared: pl.DataFrame) -> None:
    rejected = prepared.filter(~pl.col("accepted")).group_by("reason")
    summed = rejected.agg(pl.len(), pl.col("score").median(), pl.col("bound").first()).sort("reason")
    for reason, count, score, bound in summed.iter_rows():
        known = score is not None and bound is not None
        measured = f": median {score:.2f}, bound {bound:g}" if known else ""
        play.screen.say(f"{count} frames are rejected for {reason}{measured}")


def _tell_candidate(play: Play, judged: Snapshot) -> None:
    split = judged.table("split_table", CANDIDATE)
    roles = split.group_by("role").agg(pl.len(), pl.col("group").n_unique()).sort("role")
    dealt = [f"{role} {frames} frames of {groups} modules" for role, frames, groups in roles.iter_rows()]
    play.screen.say(f"split by module: {', '.join(dealt)}")
    _tell_models(play, judged.table("evaluation_report", CANDIDATE))
    decision = judged.table("release_decision", CANDIDATE)
    first = decision.row(0, named=True)
    play.screen.say(
        f"chosen: {first['model']}; below {first['lower']:.3f} a cell passes, from {first['upper']:.3f} it fails, "
        "between them a person looks"
    )
    for row in decision.iter_rows(named=True):
        verdict = "met" if row["passed"] else "MISSED"
        play.screen.say(f"{verdict}: {row['why']}", "" if row["passed"] else "red")


def _tell_models(play: Play, report: pl.DataFrame) -> None:
    by = play.spec.evaluation.select_by
    chosen = report.filter(pl.col("set") == "out_of_fold", pl.col("slice") == "all", pl.col("metric") == by)
    for row in chosen.iter_rows(named=True):
        ends = span(row["low"], row["high"])
        play.screen.say(f"{row['model']}: {by} {number(row['value'])} ({ends}) out of fold")


def _tell_answered(play: Play) -> None:
    """By now the product looked at its queue again: the first exports answered what nobody had been asked yet."""
    head = play.watch.head()
    if head.has("review_queue"):
        states: Sequence[str] = head.table("review_queue")["state"].to_list()
        answered = states.count("answered")
        play.screen.say(
            f"review queue: the exports answered {answered} of the {len(states)} cells that waited for people"
        )
