"""The simulated outside world: cameras that write files, annotators that answer, a line that reads its verdicts.

It knows the product only by its folders: the inbox, the exports, the worklist and the outbox. Its cameras replay
pictures on a calendar of their own, whenever the demo runs: a module's cells are 10 seconds apart and modules 20
minutes. Its people are asked today and answer today: a statement carries the time at which it is made.
"""

import hashlib
import json
import time
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any, Final

from demo.modules import Cell, Module

BETWEEN_MODULES: Final = timedelta(minutes=20)
BETWEEN_CELLS: Final = timedelta(seconds=10)

ANNOTATORS: Final = ("ada", "ben", "cleo")
"""Stand-ins: the votes of these three are a *reading* of one expert's confidence, not the work of three people."""

READING: Final = (
    "One expert said how likely each cell is defective: 0, 1/3, 2/3 or 1. The demo reads that as 0, 1, 2 or 3 of three "
    "stand-in annotators calling it defective."
)

VERIFIER: Final = "eva.golden"
"""The stand-in for the person of quality who verifies golden modules and hard cells."""

CATEGORIES: Final = {"sound": 1, "defective": 2}

_WRITE_PAUSE_SECONDS = 0.005


@dataclass(frozen=True)
class Camera:
    """One camera of a line. It writes each cell's picture into the inbox and knows nothing else."""

    inbox: Path
    station: str = "line1"
    name: str = "cam1"

    def deliver(self, module: Module, begins: datetime, *, renames: bool) -> Iterator[Path]:
        """Write the module's cells, one by one, the first taken at `begins`; yields each finished file.

        Acquisition software comes in two kinds: one writes under another name and renames, the other writes under the
        final name while the watcher may already look.
        """
        self.inbox.mkdir(parents=True, exist_ok=True)
        for cell in module.cells:
            target = self.inbox / self.file_name(module, cell, begins)
            content = cell.image.read_bytes()
            if renames:
                write_and_rename(target, content)
            else:
                _write_in_pieces(target, content)
            yield target

    def file_name(self, module: Module, cell: Cell, begins: datetime) -> str:
        """What acquisition calls the picture; `specs/solar_cells.yaml` says how to read it."""
        taken_at = begins + cell.position * BETWEEN_CELLS
        return (
            f"{self.station}_{self.name}_{taken_at:%Y%m%dT%H%M%S}_{module.product}_"
            f"m{module.number:02d}of{len(module.cells)}_{part_name(cell)}.png"
        )


@dataclass(frozen=True)
class Shot:
    """A module in front of a camera: its first cell is taken at `begins`. `renames` as in `Camera.deliver`."""

    module: Module
    camera: Camera
    begins: datetime
    renames: bool

    @property
    def files(self) -> dict[str, Cell]:
        """What acquisition calls the pictures, in the order in which they are taken."""
        return {self.camera.file_name(self.module, cell, self.begins): cell for cell in self.module.cells}

    def deliver(self) -> Iterator[Path]:
        """Write the pictures, one by one; yields each finished file."""
        return self.camera.deliver(self.module, self.begins, renames=self.renames)


@dataclass(frozen=True)
class Task:
    """One line of the worklist, as an annotator sees it: the part, its picture, and why they are asked.

    `path` is what an export calls the picture, `picture` the file that the annotator opens.
    """

    part: str
    path: str
    reason: str
    picture: Path


def part_name(cell: Cell) -> str:
    """What the plant calls a cell."""
    return f"m{cell.module:02d}c{cell.position:03d}"


def votes(cell: Cell) -> dict[str, bool]:
    """What each stand-in annotator says: is the cell defective?

    The expert's 1/3 is one vote of three. Whose vote it is turns with a hash of the cell, so that nobody is always the
    one who disagrees.
    """
    count = round(cell.probability * len(ANNOTATORS))
    first = hashlib.blake2b(f"{cell.module}/{cell.position}".encode(), digest_size=1).digest()[0] % len(
        ANNOTATORS
    )
    in_turn = ANNOTATORS[first:] + ANNOTATORS[:first]
    return {name: in_turn.index(name) < count for name in ANNOTATORS}


def read_worklist(file: Path) -> list[Task]:
    """What people are asked now, in the order in which the product lists it; nothing while there is no worklist."""
    if not file.exists():
        return []
    tasks = [task["data"] for task in json.loads(file.read_text("utf-8"))]
    return [
        # Label Studio serves files below the worklist's folder under an address that ends in their path there.
        Task(task["part"], task["path"], task["reason"], file.parent / task["image"].rpartition("?d=")[2])
        for task in tasks
    ]


def read_verdicts(file: Path) -> list[dict[str, Any]]:
    """What the line reads of one delivery: an entry per capture."""
    verdicts: list[dict[str, Any]] = json.loads(file.read_text("utf-8"))["verdicts"]
    return verdicts


def asked_cells(tasks: Iterable[Task], cells: Iterable[Cell]) -> dict[Cell, str]:
    """The cell of each task, with what its picture is called there. Raises ValueError for a part that nobody made."""
    known = {part_name(cell): cell for cell in cells}
    asked = {task.part: task.path for task in tasks}
    if unknown := sorted(asked.keys() - known.keys()):
        raise ValueError(f"the worklist asks about parts that the plant never made: {', '.join(unknown)}")
    return {known[part]: path for part, path in asked.items()}


def misshown(tasks: Iterable[Task], cells: Iterable[Cell]) -> list[str]:
    """The parts whose picture is not there, or is not that of the part."""
    known = {part_name(cell): cell for cell in cells}
    return [task.part for task in tasks if _content(task.picture) != known[task.part].frame_id]


def votes_export(
    project: str, names: Mapping[Cell, str], guideline: str, answered_at: datetime
) -> dict[str, Any]:
    """A labelling project's COCO export: three votes on each of these cells, whose pictures go by these names."""
    said = [(cell, name, defective) for cell in names for name, defective in votes(cell).items()]
    info = {"project": project, "guideline": guideline, "description": READING}
    return _coco(info, said, names, answered_at)


def benchmark_export(
    project: str, names: Mapping[Cell, str], guideline: str, answered_at: datetime, *, set_: str = "golden"
) -> dict[str, Any]:
    """A COCO export for the benchmark's `set_`: one verified label for each of these cells.

    Cells that the expert was not sure of stay in, with the more likely class: a benchmark without the hard cells would
    flatter every model.
    """
    said = [(cell, VERIFIER, cell.defective) for cell in names]
    info = {"project": project, "guideline": guideline, "benchmark": set_, "verified_by": VERIFIER}
    return _coco(info, said, names, answered_at)


def drop(export: dict[str, Any], file: Path) -> None:
    """Put the export where the product looks, all at once."""
    file.parent.mkdir(parents=True, exist_ok=True)
    write_and_rename(file, json.dumps(export).encode())


def _coco(
    info: Mapping[str, str],
    said: Sequence[tuple[Cell, str, bool]],
    names: Mapping[Cell, str],
    answered_at: datetime,
) -> dict[str, Any]:
    """COCO JSON of who said of which cell that it is defective, or not."""
    images = {cell: number for number, cell in enumerate(names, start=1)}
    return {
        "info": {"tool": "plant", **info},
        "categories": [{"id": number, "name": name} for name, number in CATEGORIES.items()],
        "images": [
            {"id": number, "file_name": names[cell], "width": 300, "height": 300}
            for cell, number in images.items()
        ],
        "annotations": [
            {
                "id": number,
                "image_id": images[cell],
                "category_id": CATEGORIES["defective" if defective else "sound"],
                "annotator": annotator,
                "annotated_at": answered_at.isoformat(),
            }
            for number, (cell, annotator, defective) in enumerate(said, start=1)
        ],
    }


def _content(picture: Path) -> str:
    return hashlib.sha256(picture.read_bytes()).hexdigest() if picture.is_file() else "nothing"


def write_and_rename(target: Path, content: bytes) -> None:
    """Write as acquisition software does that hides a file until it is whole."""
    hidden = target.with_name(f".{target.name}.part")
    hidden.write_bytes(content)
    hidden.rename(target)


def _write_in_pieces(target: Path, content: bytes) -> None:
    half = len(content) // 2
    with target.open("wb") as file:
        for piece in (content[:half], content[half:]):
            file.write(piece)
            file.flush()
            time.sleep(_WRITE_PAUSE_SECONDS)
