"""Which module plays which part in the story: drawn once, with one seed, before anything was trained."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

from demo.modules import Module, draw

SEED: Final = 0
MONO_SHARES: Final = {"train": 11, "golden": 3, "later": 4}
POLY_SHARES: Final = {"relabelled": 8, "golden": 3, "later": 15}
LATER_POLY: Final = {"imaged": 6, "left out": 9}
"""Of the later poly modules so many are imaged: each takes seconds. Which ones is drawn like everything else."""

STRATA: Final = 3
"""Modules of low, middle and high defect rate go to every role."""


@dataclass(frozen=True)
class Cast:
    """The modules by part; `poly_imaged` are those of `poly_later` that season 4 images."""

    train: tuple[Module, ...]
    golden: tuple[Module, ...]
    later: tuple[Module, ...]
    poly_relabelled: tuple[Module, ...]
    poly_golden: tuple[Module, ...]
    poly_later: tuple[Module, ...]
    poly_imaged: tuple[Module, ...]

    @property
    def first_season(self) -> tuple[Module, ...]:
        """The modules of season 1 in the order they are imaged: golden ones come between the others."""
        return _in_order(*self.train, *self.golden)

    @property
    def third_season(self) -> tuple[Module, ...]:
        """The poly modules of season 3 in the order they are imaged: golden ones come between the others."""
        return _in_order(*self.poly_relabelled, *self.poly_golden)


def cast(modules: Sequence[Module], seed: int = SEED) -> Cast:
    """The parts of all 44 modules; the demo's seed is `SEED`, others are for the study of how much it decides."""
    mono = draw([one for one in modules if one.product == "mono"], MONO_SHARES, strata=STRATA, seed=seed)
    poly = draw([one for one in modules if one.product == "poly"], POLY_SHARES, strata=STRATA, seed=seed)
    imaged = draw(poly["later"], LATER_POLY, strata=STRATA, seed=seed)["imaged"]
    return Cast(
        train=tuple(mono["train"]),
        golden=tuple(mono["golden"]),
        later=tuple(mono["later"]),
        poly_relabelled=tuple(poly["relabelled"]),
        poly_golden=tuple(poly["golden"]),
        poly_later=tuple(poly["later"]),
        poly_imaged=tuple(imaged),
    )


def _in_order(*modules: Module) -> tuple[Module, ...]:
    return tuple(sorted(modules, key=lambda module: module.number))
