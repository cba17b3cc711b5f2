"""One play of the story: the plant's side of it, shared by the seasons."""

import itertools
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Final

import polars as pl

from cv_assets.reference.schema import NOVELTY
from cv_assets.spec.schema import Spec
from demo.api import Run
from demo.cast import Cast
from demo.claims import counts
from demo.modules import Cell, Module
from demo.plant import BETWEEN_MODULES, Camera, Shot, benchmark_export, drop, votes_export
from demo.screen import Bar, Screen
from demo.seasons import captured_in
from demo.watch import Watch
from resources.tables import Snapshot

LAST_TABLE: Final = "drift_metrics"
"""The last table of a delivery: once it is there, the line was told every verdict and the delivery is measured."""

AT_ONCE: Final = 7
"""So many modules wait for their verdicts at most, before the cameras pause."""


@dataclass
class Play:
    """The world's folders, the watch on the product, and what the plant did so far.

    `files` holds the cell of each delivered file by the name that acquisition gave it, `voted` the cells that
    annotators voted on, `verified` the benchmark's set of those that a person verified, `published` the file names in
    the deliveries that were `told`.
    """

    watch: Watch
    spec: Spec
    data_dir: Path
    cast: Cast
    files: dict[str, Cell] = field(default_factory=dict)
    voted: set[Cell] = field(default_factory=set)
    verified: dict[Cell, str] = field(default_factory=dict)
    told: set[str] = field(default_factory=set)
    published: set[str] = field(default_factory=set)

    @property
    def screen(self) -> Screen:
        """Where it is told."""
        return self.watch.screen

    @property
    def exports(self) -> Path:
        """Where label exports are dropped."""
        return self.data_dir / self.spec.labels.exports

    @property
    def cells(self) -> frozenset[Cell]:
        """The cells that were delivered."""
        return frozenset(self.files.values())

    @property
    def truth(self) -> dict[str, bool]:
        """Whether each delivered frame is defective."""
        return {cell.frame_id: cell.defective for cell in self.cells}

    def line(self, modules: Sequence[Module], begins: datetime, station: str = "line1") -> list[Shot]:
        """The modules before a line's two cameras in turn, the first at `begins`."""
        inbox = self.data_dir / self.spec.acquisition.inbox
        cameras = [Camera(inbox, station, name) for name in ("cam1", "cam2")]
        return [
            Shot(module, cameras[turn % 2], begins + turn * BETWEEN_MODULES, renames=turn % 2 == 1)
            for turn, module in enumerate(modules)
        ]

    def deliver(self, shots: Sequence[Shot], at_once: int) -> None:
        """The cameras image, until the line has every verdict; they pause while `at_once` modules wait for theirs."""
        waiting = list(shots)
        frames = sum(len(shot.module.cells) for shot in shots)

        with self.screen.bar("frames inspected", frames) as bar:
            done_now = self.watch.at_head(lambda head: self._look(head, shots, bar))

            def delivered(runs: list[Run]) -> bool:
                done = done_now()
                room = at_once - (len(shots) - len(waiting) - done)
                self._image([waiting.pop(0) for _ in range(min(room, len(waiting)))])
                return done == len(shots) and all(run.finished for run in runs)

            self.watch.until("every delivery to be inspected", "new_deliveries", delivered)

    def vote(self, project: str, names: Mapping[Cell, str]) -> None:
        """The annotators vote on these cells, whose pictures go by these names, and drop their export.

        A project is exported once: another export of it would replace what was said in the first.
        """
        export = votes_export(project, names, self.spec.labels.guideline, datetime.now(UTC))
        drop(export, self.exports / f"{project}.json")
        self.voted |= names.keys()

    def verify(self, project: str, names: Mapping[Cell, str], set_: str) -> None:
        """A person verifies these cells for the benchmark's `set_`, and drops the export."""
        export = benchmark_export(project, names, self.spec.labels.guideline, datetime.now(UTC), set_=set_)
        drop(export, self.exports / f"{project}.json")
        self.verified |= dict.fromkeys(names, set_)

    def names(self, modules: Iterable[Module]) -> dict[Cell, str]:
        """What acquisition called the delivered cells of `modules`, when they were imaged last."""
        numbers = {module.number for module in modules}
        return {cell: name for name, cell in self.files.items() if cell.module in numbers}

    def inspections(self, season: int) -> pl.DataFrame:
        """The verdicts on the season's captures, as they are now."""
        return self.watch.head().tables("inspections").filter(captured_in(season))

    def _image(self, shots: Sequence[Shot]) -> None:
        """The modules' cells are written in turn, as from several cameras at once."""
        for shot in shots:
            self.files |= shot.files
        for _ in itertools.zip_longest(*(shot.deliver() for shot in shots)):
            pass
        if shots:
            named = ", ".join(f"m{shot.module.number:02d} ({len(shot.module.cells)})" for shot in shots)
            self.screen.say(f"imaged: {named}")

    def _look(self, head: Snapshot, shots: Sequence[Shot], bar: Bar) -> int:
        """Tell what became of deliveries since the last look; how many of `shots` are through as a whole."""
        for key in sorted(set(head.partitions(LAST_TABLE)) - self.told):
            self._tell_delivery(head, key)
        through = [[name in self.published for name in shot.files] for shot in shots]
        bar.update(sum(map(sum, through)))
        return sum(map(all, through))

    def _tell_delivery(self, head: Snapshot, key: str) -> None:
        self.told.add(key)
        self.published |= set(head.table("raw_frames", key)["file_name"])
        rejected = head.table("prepared_frames", key).filter(~pl.col("accepted"))["reason"]
        why = f" ({', '.join(sorted(set(rejected)))})" if len(rejected) else ""
        verdicts = head.table("inspections", key)["verdict"]
        self.screen.say(
            f"{key}: {len(verdicts)} frames, {len(rejected)} of them rejected{why}; {counts(verdicts)}"
            f"{_novelty(head.table('drift_metrics', key))}"
        )


def _novelty(metrics: pl.DataFrame) -> str:
    """How unusual the delivery is to the release that judged it; empty where there is no reference to tell."""
    for row in metrics.filter(statistic=NOVELTY, verdict="drifted").iter_rows(named=True):
        return f"; drifted: novelty PSI {row['psi']:.1f}, level {row['psi_level']:.1f}"
    return ""
