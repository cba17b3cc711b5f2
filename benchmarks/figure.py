"""What every benchmark returns."""

from dataclasses import dataclass


@dataclass(frozen=True)
class Figure:
    """One measured value, in `unit`, beside what it was compared with and what it should be."""

    value: float
    unit: str
    peer: str
    goal: str


class NotMeasuredError(RuntimeError):
    """What the figure is measured on is not on this machine, in a sentence."""
