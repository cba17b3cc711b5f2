"""Season 2: later modules are inspected under the release; people see what it doubts, and a share of what it does not.

Nobody tells the plant what to answer: its annotators read the worklist that the product left in its folder.
"""

from dataclasses import dataclass
from typing import Final

import polars as pl

from demo.candidates import in_force
from demo.claims import counts
from demo.figures import number, values, verdict_figures
from demo.people import Asked, names_of, read_asked, wait_for_answers
from demo.plant import VERIFIER
from demo.play import Play
from demo.seasons import opening
from resources.tables import Snapshot

HARD: Final = "low_confidence"
"""The reason to ask people that makes a cell a hard case."""


@dataclass(frozen=True)
class Season2:
    """What season 2 leaves besides the lake: what people were asked, the part that was explained, the lake around it.

    `before` is the lake before anybody looked back, `answered` as the season ended.
    """

    asked: Asked
    explained: str
    before: Snapshot
    answered: Snapshot


def play_season2(play: Play) -> Season2:
    """From the first inspection to the last answer, and a look back. Raises StoryError when it cannot go on."""
    _inspect(play)
    asked = _review(play)
    explained, before = _look_back(play)
    return Season2(asked, explained, before, play.watch.head())


def _inspect(play: Play) -> None:
    """The plant images its later modules, a week on; the product decides under the release."""
    modules = play.cast.later
    play.screen.chapter(f"Season 2. {len(modules)} later mono modules arrive at once, under the release")
    play.deliver(play.line(modules, opening(2)), at_once=len(modules))
    rows, told = play.inspections(2), play.watch.head().tables("outbox")
    seconds = told.join(rows, on="capture_id", how="semi")["seconds"]
    p50, p95 = (seconds.quantile(share, "linear") or 0.0 for share in (0.5, 0.95))
    play.screen.say(
        f"{rows.height} cells inspected: {counts(rows['verdict'])}; from file to verdict {p50:.1f} s (median), "
        f"{p95:.1f} s (95 of 100)"
    )


def _review(play: Play) -> Asked:
    """People answer what they are asked, and a person of quality keeps the hard cells to judge later candidates by.

    What a benchmark holds of a module keeps the whole module from training: these four stay unseen.
    """
    play.screen.chapter("Review: people are asked, and answer")
    asked = read_asked(play, 2)
    names = names_of(play, asked)
    hard = {task.path for task in asked.tasks if task.reason == HARD}
    play.vote("review-2", names)
    play.verify("challenge-2", {cell: name for cell, name in names.items() if name in hard}, "challenge")
    play.screen.say(
        f"the annotators read it and vote on exactly these cells; {VERIFIER} verifies the {len(hard)} hard ones for "
        "the challenge set"
    )
    wait_for_answers(play)
    return asked


def _look_back(play: Play) -> tuple[str, Snapshot]:
    """A person asks why a part failed, and what another band would have done."""
    play.screen.chapter("Looking back: one verdict is explained, and another band is tried on stored scores")
    before = play.watch.head()
    release = in_force(before)
    part = part_to_explain(play.inspections(2))
    lower, upper = narrower_band(release["lower"], release["upper"])
    asked = [
        play.watch.dagster.launch("explain", {"verdict_explanation": {"part": part}}),
        play.watch.dagster.launch(
            "replay_thresholds", {"threshold_replay": {"lower": lower, "upper": upper}}
        ),
    ]
    play.watch.until(
        "the explanation and the replay",
        "none: a person launched them",
        lambda runs: all(run.finished for run in runs if run.id in asked),
    )
    head = play.watch.head()
    chain = head.table("verdict_explanation")
    verdict = chain.filter(pl.col("link") == "verdict")["fact"].head(1)
    play.screen.say(
        f"why {part}? {''.join(verdict)}; {chain.height} links, from its picture to who labelled what"
    )
    _tell_replay(play, head.table("threshold_replay"), lower, upper)
    return part, before


def part_to_explain(inspections: pl.DataFrame) -> str:
    """A failed part, else a reviewed one; of these one that people saw too, whose chain is the longest."""
    order = {"FAIL": 0, "REVIEW": 1, "PASS": 2}
    ranked = inspections.sort(pl.col("verdict").replace_strict(order), ~pl.col("audit"), "part")
    return str(ranked["part"][0])


def narrower_band(lower: float, upper: float) -> tuple[float, float]:
    """A band of half the width around the same middle: what if people had to see less?"""
    lower, upper = min(lower, 1.0), min(upper, 1.0)
    quarter = (upper - lower) / 4
    return round(lower + quarter, 3), round(upper - quarter, 3)


def _tell_replay(play: Play, replay: pl.DataFrame, lower: float, upper: float) -> None:
    """What the other band would have done to season 2, by the truth; a cell without a score goes to people anyway."""
    tried = replay.select("capture_id", "replayed")
    rows = (
        play.inspections(2)
        .join(tried, on="capture_id", how="left")
        .with_columns(pl.col("replayed").fill_null("REVIEW"))
    )
    stored, replayed = (
        values(verdict_figures(rows, play.truth, play.spec.evaluation, column))
        for column in ("verdict", "replayed")
    )
    told = ", ".join(f"{name} {number(stored[name])} → {number(replayed[name])}" for name in stored)
    others = (rows["verdict"] != rows["replayed"]).sum()
    play.screen.say(
        f"with the band {lower:g} to {upper:g}, {others} of {rows.height} verdicts would be others; by the truth: "
        f"{told}. No verdict is touched."
    )
