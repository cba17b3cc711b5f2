"""The same as `psi_kl_vs_evidently` for as many columns as a backbone gives features."""

from benchmarks.figure import Figure
from benchmarks.psi_kl_vs_evidently import Sizes, times_faster


def measure() -> Figure:
    """512 columns of 10,000 rows; Evidently takes so long that it is asked once more only, after a first time."""
    return times_faster(Sizes(columns=512, rows=10_000, rounds=5, peer_rounds=1), goal=">= 20")
