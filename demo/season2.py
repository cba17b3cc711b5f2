"""Season 2: later modules are inspected under the release; people see what it doubts, and a share of what it does not.

Nobody tells the plant what to answer: its annotators read the worklist that the product left in its folder.
"""

from dataclasses import dataclass
from typing import Any, Final

import polars as pl

from cv_assets.release.history import release_in_force
from demo.api import Run
from demo.claims import counts
from demo.figures import number, values, verdict_figures
from demo.plant import SECOND_SEASON, Task, asked_cells, misshown, read_verdicts, read_worklist
from demo.play import Play
from demo.verdict_claims import Inspected
from demo.watch import StoryError
from resources.lake import Lake, RefNotFoundError
from resources.tables import Snapshot

WORKLIST: Final = "worklist.json"


@dataclass(frozen=True)
class Season2:
    """What season 2 leaves besides the lake: what people were asked, the part that was explained, the lake before.

    `misshown` are the parts for which the worklist had no picture, or another one.
    """

    asked: tuple[Task, ...]
    misshown: tuple[str, ...]
    explained: str
    before: Snapshot


def play_season2(play: Play) -> Season2:
    """From the first inspection to the last answer, and a look back. Raises StoryError when it cannot go on."""
    _inspect(play)
    asked = _review(play)
    shown_wrong = tuple(misshown(asked, play.files))
    explained, before = _look_back(play)
    return Season2(asked, shown_wrong, explained, before)


def inspected(play: Play, season: Season2) -> Inspected:
    """All that season 2 left: in the lake, in the outbox, and in what the annotators read."""
    head = play.watch.head()
    explanation = head.table("verdict_explanation")
    outbox = play.data_dir / play.spec.inspection.outbox
    release = _in_force(head)
    trained = head.table(f"{release['model']}_checkpoint", release["candidate"])
    return Inspected(
        spec=play.spec,
        truth={cell.frame_id: cell for cell in play.files},
        later=frozenset(module.number for module in play.cast.later),
        golden=frozenset(module.number for module in play.cast.golden),
        raw=head.tables("raw_frames"),
        inspections=head.tables("inspections"),
        release=release,
        weights_sha256=trained["weights_sha256"][0],
        outbox=head.tables("outbox"),
        verdict_files={key: read_verdicts(outbox / f"{key}.json") for key in head.partitions("outbox")},
        asked=season.asked,
        misshown=season.misshown,
        queue=head.table("review_queue"),
        explained=season.explained,
        explanation=explanation,
        dangling=_dangling(head.lake, explanation),
        before=season.before.tables("inspections"),
        replay=head.table("threshold_replay"),
    )


def _inspect(play: Play) -> None:
    """The plant images its later modules, a week on; the product decides under the release."""
    modules = play.cast.later
    play.screen.chapter(f"Inspection: {len(modules)} later mono modules arrive at once, under the release")
    play.deliver(modules, SECOND_SEASON, at_once=len(modules))
    rows, told = _later(play), play.watch.head().tables("outbox")
    seconds = told.join(rows, on="capture_id", how="semi")["seconds"]
    p50, p95 = (seconds.quantile(share, "linear") or 0.0 for share in (0.5, 0.95))
    play.screen.say(
        f"{rows.height} cells inspected: {counts(rows['verdict'])}; from file to verdict {p50:.1f} s (median), "
        f"{p95:.1f} s (95 of 100)"
    )


def _review(play: Play) -> tuple[Task, ...]:
    """People are asked about the doubtful, the rejected and a random share of the rest; what they say comes back."""
    play.screen.chapter("Review: people are asked, and answer")
    tasks = _worklist(play)
    reasons = counts(pl.Series([task.reason for task in tasks]))
    play.screen.say(f"the worklist asks about {len(tasks)} cells: {reasons}")
    try:
        names = asked_cells(tasks, play.files)
    except ValueError as error:
        raise StoryError(f"The annotators cannot answer: {error}.") from error
    play.answer("review", names, "review-2026-03.json")
    play.screen.say("the annotators read it, vote on exactly these cells, and drop their export")

    def answered(runs: list[Run]) -> bool:
        states = play.watch.head().table("review_queue")["state"]
        return "open" not in states and all(run.finished for run in runs)

    play.watch.until("every answer to be in the queue", "review_changes", answered)
    states = counts(play.watch.head().table("review_queue")["state"])
    play.screen.say(f"the answers are back; review queue: {states}")
    return tuple(tasks)


def _worklist(play: Play) -> list[Task]:
    """What the worklist asks once every cell of season 2 that people must see is on it."""
    file = play.data_dir / play.spec.review.folder / WORKLIST
    wanted = set(_later(play).filter((pl.col("verdict") == "REVIEW") | pl.col("audit"))["part"])

    def asked(runs: list[Run]) -> bool:
        listed = {task.part for task in read_worklist(file)}
        return wanted <= listed and all(run.finished for run in runs)

    play.watch.until("the worklist to hold every cell that people must see", "review_changes", asked)
    return read_worklist(file)


def _look_back(play: Play) -> tuple[str, Snapshot]:
    """A person asks why a part failed, and what another band would have done."""
    play.screen.chapter("Looking back: one verdict is explained, and another band is tried on stored scores")
    before = play.watch.head()
    release = _in_force(before)
    part, (lower, upper) = part_to_explain(_later(play)), narrower_band(release["lower"], release["upper"])
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
        _later(play)
        .join(tried, on="capture_id", how="left")
        .with_columns(pl.col("replayed").fill_null("REVIEW"))
    )
    truth = {cell.frame_id: cell.defective for cell in play.files}
    stored, replayed = (
        values(verdict_figures(rows, truth, play.spec.evaluation, column))
        for column in ("verdict", "replayed")
    )
    told = ", ".join(f"{name} {number(stored[name])} → {number(replayed[name])}" for name in stored)
    others = (rows["verdict"] != rows["replayed"]).sum()
    play.screen.say(
        f"with the band {lower:g} to {upper:g}, {others} of {rows.height} verdicts would be others; by the truth: "
        f"{told}. No verdict is touched."
    )


def _later(play: Play) -> pl.DataFrame:
    """The verdicts on season 2's captures."""
    frames = [cell.frame_id for module in play.cast.later for cell in module.cells]
    return play.watch.head().tables("inspections").filter(pl.col("frame_id").is_in(frames))


def _in_force(snapshot: Snapshot) -> dict[str, Any]:
    release = release_in_force(snapshot.table("releases"))
    if release is None:
        raise StoryError("Nothing is in force: season 2 is played after a release.")
    return release


def _dangling(lake: Lake, explanation: pl.DataFrame) -> tuple[str, ...]:
    """The links of the chain whose object is not in the lake at the commit they name."""
    places = explanation.select("commit", "path").unique(maintain_order=True)
    return tuple(
        f"{path} at {commit}" for commit, path in places.iter_rows() if not _is_there(lake, commit, path)
    )


def _is_there(lake: Lake, commit: str, path: str) -> bool:
    try:
        return path in lake.paths(commit, path)
    except RefNotFoundError:
        return False
