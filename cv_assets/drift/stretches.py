"""Stretches: from the first row that shows something to the ordinary ones that end it.

Drift, KPIs and stations share this. The rows are of one series, in its order.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any, Literal

Row = Mapping[str, Any]
Says = Literal["shows", "doubtful", "ordinary"]


@dataclass(frozen=True)
class Stretch:
    """Rows that show the same thing, with nothing in between that ends it, and the rows that ended it if any did."""

    shown: tuple[Row, ...]
    ended_by: tuple[Row, ...] = ()


def stretches(rows: Iterable[Row], said: Iterable[Says], ordinary_needed: int) -> list[Stretch]:
    """The stretches among `rows`, given what each of them says; so many ordinary ones in a row end one.

    A doubtful row shows nothing, and is not ordinary either.
    """
    found, shown, calm = list[Stretch](), list[Row](), list[Row]()
    for row, says in zip(rows, said, strict=True):
        calm = [*calm, row] if shown and says == "ordinary" else []
        if says == "shows":
            shown.append(row)
        if shown and len(calm) == ordinary_needed:
            found.append(Stretch(tuple(shown), tuple(calm)))
            shown, calm = [], []
    return [*found, Stretch(tuple(shown))] if shown else found
