"""What people do in every season: they read the worklist that the product left in its folder, and answer it."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Final

import polars as pl

from cv_assets.drift.episodes import drifted_deliveries
from cv_assets.inspection.schema import ASKED
from demo.api import Run
from demo.claims import counts
from demo.modules import Cell
from demo.plant import Task, asked_cells, misshown, read_worklist
from demo.play import Play
from demo.seasons import captured_in
from demo.watch import StoryError
from resources.tables import Snapshot

WORKLIST: Final = "worklist.json"
ANSWERING: Final = frozenset({"take_labels", "refresh"})
"""The jobs between an answer and its place in the queue."""


@dataclass(frozen=True)
class Asked:
    """What the worklist asked in one season, as people read it, and the queue behind it at that moment.

    `misshown` are the parts whose picture was not beside it, or was another one.
    """

    season: int
    tasks: tuple[Task, ...]
    misshown: tuple[str, ...]
    queue: pl.DataFrame

    @property
    def reasons(self) -> pl.Series:
        """Why people were asked, one entry per task."""
        return pl.Series("reason", [task.reason for task in self.tasks], dtype=pl.String)


def read_asked(play: Play, season: int, before: Sequence[Asked] = ()) -> Asked:
    """What the worklist asks once every cell of the season that people must see is on it.

    Whoever answered in a season `before` is not asked again.
    """
    file = play.data_dir / play.spec.review.folder / WORKLIST
    answered = {task.part for one in before for task in one.tasks}

    wanted = play.watch.at_head(lambda head: _must_be_seen(play, head, season) - answered)

    def listed(runs: list[Run]) -> bool:
        there = {task.part for task in read_worklist(file)}
        return all(run.finished for run in runs) and wanted() <= there

    play.watch.until("the worklist to hold every cell that people must see", "review_changes", listed)
    tasks = tuple(read_worklist(file))
    found = Asked(season, tasks, tuple(misshown(tasks, play.cells)), play.watch.head().table("review_queue"))
    play.screen.say(f"the worklist asks about {len(tasks)} cells: {counts(found.reasons)}")
    return found


def names_of(play: Play, asked: Asked) -> Mapping[Cell, str]:
    """The cells that people are asked about, with what the worklist calls their pictures. Raises StoryError."""
    try:
        return asked_cells(asked.tasks, play.cells)
    except ValueError as error:
        raise StoryError(f"The annotators cannot answer: {error}.") from error


def wait_for_answers(play: Play) -> None:
    """Until the queue has an answer to every question, and the benchmark what was verified."""

    def all_there(head: Snapshot) -> bool:
        waits = head.table("review_queue")["state"].is_in(["open", "unresolved"]).any()
        verified = set(head.table("benchmark_frames")["frame_id"])
        return not waits and verified >= {cell.frame_id for cell in play.verified}

    there = play.watch.at_head(all_there)

    def answered(runs: list[Run]) -> bool:
        return there() and all(run.finished for run in runs if run.job in ANSWERING)

    play.watch.until("every answer to be in the queue", "review_changes", answered)
    states = counts(play.watch.head().table("review_queue")["state"])
    play.screen.say(f"the answers are back; review queue: {states}")


def _must_be_seen(play: Play, head: Snapshot, season: int) -> frozenset[str]:
    """The season's parts that people see: for the verdict, by chance, or as all cells of a drifted delivery."""
    drifted = drifted_deliveries(head.tables("drift_metrics"), play.spec.drift.patience)
    inspected = head.tables("inspections").filter(captured_in(season))
    return frozenset(inspected.filter(ASKED | pl.col("delivery").is_in(drifted))["part"])
