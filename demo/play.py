"""One play of the story: the plant's side of it, shared by the seasons."""

import itertools
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Final

import polars as pl

from cv_assets.spec.schema import Spec
from demo.api import Run
from demo.cast import Cast
from demo.claims import counts
from demo.modules import Cell, Module
from demo.plant import BETWEEN_MODULES, Camera, drop, votes_export
from demo.screen import Bar, Screen
from demo.watch import Watch
from resources.tables import Snapshot

LAST_TABLE: Final = "outbox"
"""The last table of a delivery: once it is there, the line was told every verdict."""


@dataclass
class Play:
    """The world's folders, the watch on the product, and what the plant did so far.

    `files` holds what acquisition called each delivered cell, `voted` the cells that annotators voted on, `published`
    the file names in the deliveries that were `told`.
    """

    watch: Watch
    spec: Spec
    data_dir: Path
    cast: Cast
    files: dict[Cell, str] = field(default_factory=dict)
    voted: set[Cell] = field(default_factory=set)
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

    def deliver(self, modules: Sequence[Module], opening: datetime, at_once: int) -> None:
        """Cameras image `modules`, the first at `opening`, until the line has every verdict.

        The cameras pause while `at_once` modules wait for theirs.
        """
        waiting = list(enumerate(modules))
        frames = sum(len(module.cells) for module in modules)

        with self.screen.bar("frames inspected", frames) as bar:

            def delivered(runs: list[Run]) -> bool:
                done = self._look(modules, bar)
                room = at_once - (len(modules) - len(waiting) - done)
                self._image([waiting.pop(0) for _ in range(min(room, len(waiting)))], opening)
                return done == len(modules) and all(run.finished for run in runs)

            self.watch.until("every delivery to be inspected", "new_deliveries", delivered)

    def answer(self, project: str, names: Mapping[Cell, str], file: str) -> None:
        """The annotators vote on these cells, whose pictures go by these names, and drop their export."""
        export = votes_export(project, names, self.spec.labels.guideline, datetime.now(UTC))
        drop(export, self.exports / file)
        self.voted |= names.keys()

    def names(self, modules: Sequence[Module]) -> dict[Cell, str]:
        """What acquisition called the delivered cells of `modules`."""
        return {cell: self.files[cell] for module in modules for cell in module.cells}

    def _image(self, modules: Sequence[tuple[int, Module]], opening: datetime) -> None:
        """The modules' cells are written in turn, as from several cameras at once."""
        inbox = self.data_dir / self.spec.acquisition.inbox
        streams: list[Iterator[Path]] = []
        for turn, module in modules:
            camera, begins = Camera(inbox, name=f"cam{turn % 2 + 1}"), opening + turn * BETWEEN_MODULES
            self.files |= {cell: camera.file_name(module, cell, begins) for cell in module.cells}
            streams.append(camera.deliver(module, begins, renames=turn % 2 == 1))
        for _ in itertools.zip_longest(*streams):
            pass
        if modules:
            named = ", ".join(f"m{module.number:02d} ({len(module.cells)})" for _, module in modules)
            self.screen.say(f"imaged: {named}")

    def _look(self, modules: Sequence[Module], bar: Bar) -> int:
        """Tell what became of deliveries since the last look; how many of `modules` are through as a whole."""
        head = self.watch.head()
        for key in sorted(set(head.partitions(LAST_TABLE)) - self.told):
            self._tell_delivery(head, key)
        through = [[self.files.get(cell) in self.published for cell in module.cells] for module in modules]
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
        )
