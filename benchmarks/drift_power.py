"""How often a delivery that moved drifts, with the level that keeps false alarms few."""

from benchmarks.figure import Figure
from benchmarks.simulated_deliveries import TEXTBOOK, judge
from cv_assets.spec.drift import Drift

MOVED = 4.0
"""Standard deviations of what ordinary deliveries move by; poly modules beside mono ones moved the PSI as much."""


def measure() -> Figure:
    """One delivery alone; the spec's patience asks for several."""
    moved, ordinary = judge(MOVED, Drift()), judge(0.0, Drift())
    return Figure(
        moved.above,
        f"share of deliveries that moved by {MOVED:g} standard deviations of the ordinary ones",
        f"{moved.textbook:.2f} for PSI > {TEXTBOOK:g}, which takes {ordinary.textbook:.2f} of the ordinary ones too",
        ">= 0.9",
    )
