"""What every proof returns."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True)
class Proof:
    """A claim about the product, what was measured of it, and whether it holds; `why` says so in a sentence.

    `holds` is None when nothing of the claim was tried, or not all of it: what it needs is not on this machine.
    """

    asked: str
    holds: bool | None
    why: str
    figures: Mapping[str, Any]


def verdict(broken: bool, untried: bool) -> bool | None:
    """False when a part of the claim is broken, None when a part could not be tried, else True."""
    return False if broken else None if untried else True
