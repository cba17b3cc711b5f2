"""The simulated outside world: cameras that write files, annotators that export labels.

It knows the product only by its two folders. Its calendar is its own: a module's cells are taken 10 seconds apart and
modules 20 minutes apart, whenever the demo runs.
"""

import hashlib
import json
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any, Final

from demo.modules import Cell, Module

OPENING: Final = datetime(2026, 3, 2, 6, tzinfo=UTC)
"""When the plant's first module is imaged."""

BETWEEN_MODULES: Final = timedelta(minutes=20)
BETWEEN_CELLS: Final = timedelta(seconds=10)

LABELLING: Final = OPENING + timedelta(days=1)
"""When the annotators begin: nobody labels a picture that was not taken yet."""

BETWEEN_STATEMENTS: Final = timedelta(seconds=5)

ANNOTATORS: Final = ("ada", "ben", "cleo")
"""Stand-ins: the votes of these three are a *reading* of one expert's confidence, not the work of three people."""

READING: Final = (
    "One expert said how likely each cell is defective: 0, 1/3, 2/3 or 1. The demo reads that as 0, 1, 2 or 3 of three "
    "stand-in annotators calling it defective."
)

VERIFIER: Final = "eva.golden"
"""The stand-in for the person who verifies golden modules."""

CATEGORIES: Final = {"sound": 1, "defective": 2}

_WRITE_PAUSE_SECONDS = 0.005


@dataclass(frozen=True)
class Camera:
    """One camera of a line. It writes each cell's picture into the inbox and knows nothing else."""

    inbox: Path
    station: str = "line1"
    name: str = "cam1"

    def deliver(self, module: Module, turn: int, *, renames: bool) -> Iterator[Path]:
        """Write the module's cells, one by one, as the plant's module number `turn`; yields each finished file.

        Acquisition software comes in two kinds: one writes under another name and renames, the other writes under the
        final name while the watcher may already look.
        """
        self.inbox.mkdir(parents=True, exist_ok=True)
        for cell in module.cells:
            target = self.inbox / self.file_name(module, cell, turn)
            content = cell.image.read_bytes()
            if renames:
                _write_and_rename(target, content)
            else:
                _write_in_pieces(target, content)
            yield target

    def file_name(self, module: Module, cell: Cell, turn: int) -> str:
        """What acquisition calls the picture; `specs/solar_cells.yaml` says how to read it."""
        taken_at = OPENING + turn * BETWEEN_MODULES + cell.position * BETWEEN_CELLS
        group = f"m{module.number:02d}"
        return (
            f"{self.station}_{self.name}_{taken_at:%Y%m%dT%H%M%S}_{module.product}_"
            f"{group}of{len(module.cells)}_{group}c{cell.position:03d}.png"
        )


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


def labelling_export(
    modules: Sequence[Module], file_names: Mapping[Cell, str], guideline: str
) -> dict[str, Any]:
    """The labelling project's COCO export: three votes on every cell of `modules`."""
    said = [
        (cell, name, defective)
        for module in modules
        for cell in module.cells
        for name, defective in votes(cell).items()
    ]
    return _coco({"project": "cells", "guideline": guideline, "description": READING}, said, file_names)


def benchmark_export(
    modules: Sequence[Module], file_names: Mapping[Cell, str], guideline: str
) -> dict[str, Any]:
    """The benchmark's COCO export: one verified label for every cell of the golden `modules`.

    Cells that the expert was not sure of stay in, with the more likely class: a benchmark without the hard cells would
    flatter every model.
    """
    said = [(cell, VERIFIER, cell.defective) for module in modules for cell in module.cells]
    info = {"project": "golden", "guideline": guideline, "benchmark": "golden", "verified_by": VERIFIER}
    return _coco(info, said, file_names)


def drop(export: dict[str, Any], file: Path) -> None:
    """Put the export where the product looks, all at once."""
    file.parent.mkdir(parents=True, exist_ok=True)
    _write_and_rename(file, json.dumps(export).encode())


def _coco(
    info: Mapping[str, str], said: Sequence[tuple[Cell, str, bool]], file_names: Mapping[Cell, str]
) -> dict[str, Any]:
    """COCO JSON of who said of which cell that it is defective, or not."""
    images = {cell: number for number, cell in enumerate(dict.fromkeys(cell for cell, _, _ in said), start=1)}
    return {
        "info": {"tool": "plant", **info},
        "categories": [{"id": number, "name": name} for name, number in CATEGORIES.items()],
        "images": [
            {"id": number, "file_name": file_names[cell], "width": 300, "height": 300}
            for cell, number in images.items()
        ],
        "annotations": [
            {
                "id": number,
                "image_id": images[cell],
                "category_id": CATEGORIES["defective" if defective else "sound"],
                "annotator": annotator,
                "annotated_at": (LABELLING + number * BETWEEN_STATEMENTS).isoformat(),
            }
            for number, (cell, annotator, defective) in enumerate(said, start=1)
        ],
    }


def _write_and_rename(target: Path, content: bytes) -> None:
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
