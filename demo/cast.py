"""Which module plays which part in the story: drawn once, with one seed, before anything was trained."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

from demo.modules import Module, draw

SEED: Final = 0
MONO_SHARES: Final = {"train": 11, "golden": 3, "later": 4}
POLY_SHARES: Final = {"relabelled": 8, "golden": 3, "later": 15}
STRATA: Final = 3
"""Modules of low, middle and high defect rate go to every role."""


@dataclass(frozen=True)
class Cast:
    """The modules by part."""

    train: tuple[Module, ...]
    golden: tuple[Module, ...]
    later: tuple[Module, ...]
    poly_relabelled: tuple[Module, ...]
    poly_golden: tuple[Module, ...]
    poly_later: tuple[Module, ...]

    @property
    def first_season(self) -> tuple[Module, ...]:
        """The modules of season 1 in the order they are imaged: golden ones come between the others."""
        return tuple(sorted((*self.train, *self.golden), key=lambda module: module.number))


def cast(modules: Sequence[Module]) -> Cast:
    """The parts of all 44 modules."""
    mono = draw([one for one in modules if one.product == "mono"], MONO_SHARES, strata=STRATA, seed=SEED)
    poly = draw([one for one in modules if one.product == "poly"], POLY_SHARES, strata=STRATA, seed=SEED)
    return Cast(
        *(tuple(mono[role]) for role in MONO_SHARES),
        *(tuple(poly[role]) for role in POLY_SHARES),
    )
