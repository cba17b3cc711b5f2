"""The picture of a reference, for people: how much its own deliveries differ, beside the levels that follow."""

from typing import Final

import polars as pl
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from cv_assets.reference.schema import NOVELTY

_NAMED: Final = 30
"""More deliveries than these are drawn without their names."""


def levels_figure(rows: pl.DataFrame, differences: pl.DataFrame, tolerance: float) -> Figure:
    """Left the novelty's PSI of each reference delivery beside its level; right the PSI of every statistic.

    `differences` has the columns statistic, delivery and psi, each delivery measured against all others.
    """
    of_frames = rows.filter(pl.col("role") != "station")
    figure = Figure(figsize=(11, max(3.4, 0.22 * of_frames.height)), layout="constrained")
    left, right = figure.subplots(1, 2)
    _draw_novelty(left, rows, differences, tolerance)
    _draw_statistics(right, of_frames, tolerance)
    return figure


def _draw_novelty(axis: Axes, rows: pl.DataFrame, differences: pl.DataFrame, tolerance: float) -> None:
    row = rows.row(by_predicate=pl.col("statistic") == NOVELTY, named=True)
    shown = differences.filter(statistic=NOVELTY)
    axis.bar(range(shown.height), shown["psi"].to_list(), color="tab:blue", label="each against the others")
    if row["psi_level"] is not None:
        axis.axhline(row["psi_level"], color="tab:red", label=f"level, the {row['quantile']:.3g} quantile")
        top = row["psi_level_high"] or axis.get_ylim()[1]
        axis.axhspan(row["psi_level_low"] or 0.0, top, color="tab:red", alpha=0.12, label="its interval")
    axis.axhline(tolerance, color="black", linestyle=":", label="tolerance")
    if shown.height <= _NAMED:
        axis.set_xticks(range(shown.height), shown["delivery"].to_list(), rotation=90, fontsize="x-small")
    axis.set(title=f"{NOVELTY}: {shown.height} deliveries", ylabel="PSI", ylim=(0, 1.35 * axis.get_ylim()[1]))
    axis.legend(fontsize="x-small", loc="upper right", ncols=2)


def _draw_statistics(axis: Axes, rows: pl.DataFrame, tolerance: float) -> None:
    for place, row in enumerate(rows.iter_rows(named=True)):
        axis.plot(row["psi"], [place] * len(row["psi"]), "o", markersize=3, color="tab:blue", alpha=0.6)
        if row["psi_level"] is not None:
            axis.plot([row["psi_level"]], [place], "|", markersize=12, color="tab:red")
    axis.axvline(tolerance, color="black", linestyle=":")
    axis.set_yticks(range(rows.height), rows["statistic"].to_list(), fontsize="x-small")
    axis.set(title="each delivery against the others, and the level", xlabel="PSI", xlim=(0, None))
    axis.invert_yaxis()
