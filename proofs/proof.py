"""What every proof returns."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True)
class Proof:
    """A claim about the product, what was measured of it, and whether it holds; `why` says so in a sentence."""

    asked: str
    holds: bool
    why: str
    figures: Mapping[str, Any]
