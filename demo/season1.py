"""Season 1: from an empty plant to the first release. The product does the work; the demo plays the world around it."""

from collections.abc import Sequence
from typing import Final

import polars as pl

from demo.api import Run
from demo.candidates import conclude, watch_training
from demo.claims import counts
from demo.plant import ANNOTATORS, READING, VERIFIER
from demo.play import AT_ONCE, Play
from demo.seasons import opening

CANDIDATE: Final = "2026-03-first"


def play_season1(play: Play) -> bool:
    """Everything from the spec to the release; whether there is one. Raises StoryError when it cannot go on."""
    _publish_spec(play)
    _deliver(play)
    _label(play)
    _train(play)
    play.screen.chapter("Release: a named approver decides")
    return conclude(play, CANDIDATE, "All criteria are met: first release.")


def _publish_spec(play: Play) -> None:
    """Wait for the product to publish its spec on its own."""
    play.screen.chapter("Season 1. The contract")
    play.watch.until(
        "the spec to be published", "spec_changes", lambda _: play.watch.head().has("project_spec")
    )
    classes, criteria = " or ".join(play.spec.class_names), len(play.spec.evaluation.acceptance)
    play.screen.say(f"spec {play.spec.name} is published: {classes}; {criteria} acceptance criteria")


def _deliver(play: Play) -> None:
    """Cameras image the modules of season 1, several at once. Nothing is released: people must see every cell."""
    modules = play.cast.first_season
    play.screen.chapter(f"Frames: {len(modules)} mono modules arrive, up to {AT_ONCE} at once")
    play.deliver(play.line(modules, opening(1)), at_once=AT_ONCE)
    head = play.watch.head()
    _tell_rejections(play, head.tables("prepared_frames"))
    reasons = counts(head.tables("inspections")["reason"])
    play.screen.say(f"nothing is released yet, so every cell goes to people: {reasons}")


def _label(play: Play) -> None:
    """Annotators export their votes, a named person exports the golden labels."""
    play.screen.chapter("Labels: annotators answer")
    play.screen.say(READING)
    train, golden = play.names(play.cast.train), play.names(play.cast.golden)
    play.vote("cells-1", train)
    play.verify("golden-1", golden, "golden")
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
    play.watch.dagster.launch("retrain", {"training_request": request}, CANDIDATE)
    play.screen.say(f"candidate {CANDIDATE} is requested: {evidence}")
    watch_training(play, CANDIDATE, "none: a person launched it")
    _tell_answered(play)


def _tell_rejections(play: Play, prepared: pl.DataFrame) -> None:
    rejected = prepared.filter(~pl.col("accepted")).group_by("reason")
    summed = rejected.agg(pl.len(), pl.col("score").median(), pl.col("bound").first()).sort("reason")
    for reason, count, score, bound in summed.iter_rows():
        known = score is not None and bound is not None
        measured = f": median {score:.2f}, bound {bound:g}" if known else ""
        play.screen.say(f"{count} frames are rejected for {reason}{measured}")


def _tell_answered(play: Play) -> None:
    """By now the product looked at its queue again: the first exports answered what nobody had been asked yet."""
    head = play.watch.head()
    if head.has("review_queue"):
        states: Sequence[str] = head.table("review_queue")["state"].to_list()
        answered = states.count("answered")
        play.screen.say(
            f"review queue: the exports answered {answered} of the {len(states)} cells that waited for people"
        )
