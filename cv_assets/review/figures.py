"""Picture of the KPIs, for people: each by window with its interval, its bound, and where releases change."""

from collections.abc import Iterable
from typing import Final

import numpy as np
import polars as pl
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from cv_assets.review.kpis import SAYS
from cv_assets.spec.drift import KPIS

_SHADES: Final = {
    "met": "tab:green",
    "undecided": "tab:orange",
    "unbounded": "tab:blue",
    "broken": "tab:red",
}


def kpis_figure(rows: pl.DataFrame) -> Figure:
    """One panel per KPI with a mark per window, by its verdict. `rows` are those of `kpis`, at least one window."""
    figure = Figure(figsize=(9.5, 5.2), layout="constrained")
    axes = figure.subplots(2, 2, sharex=True, sharey=True)
    for axis, metric in zip(axes.flat, KPIS, strict=True):
        windows = rows.filter(metric=metric).with_row_index("place")
        for verdict, shade in _SHADES.items():
            _draw_intervals(axis, windows.filter(verdict=verdict), verdict, shade)
        _draw_bound(axis, windows)
        _draw_releases(axis, windows)
        axis.set_title(f"{metric}: {SAYS[metric]}", fontsize="medium")
        silent = windows.filter(verdict="not_enough")["place"].to_numpy()
        axis.plot(silent, np.zeros(len(silent)), "|", color="grey", label="not enough to tell")
    _name_windows(axes[1], rows)
    told = {
        label: handle
        for axis in axes.flat
        for handle, label in zip(*axis.get_legend_handles_labels(), strict=True)
    }
    figure.legend(told.values(), told, loc="outside lower center", ncols=len(told), fontsize="small")
    return figure


def _draw_intervals(axis: Axes, windows: pl.DataFrame, verdict: str, shade: str) -> None:
    if windows.is_empty():
        return
    value = windows["value"].to_numpy()
    ends = np.stack([value - windows["low"].to_numpy(), windows["high"].to_numpy() - value])
    places = windows["place"].to_numpy()
    axis.errorbar(places, value, yerr=ends, fmt="o", markersize=3, linewidth=1, color=shade, label=verdict)


def _draw_bound(axis: Axes, windows: pl.DataFrame) -> None:
    bound = windows["bound"].drop_nulls()
    if len(bound):
        axis.axhline(bound[-1], color="tab:red", linestyle="--", linewidth=1, label="bound")
    axis.set(ylim=(-0.03, 1.03))
    axis.grid(axis="y", alpha=0.3)


def _draw_releases(axis: Axes, windows: pl.DataFrame) -> None:
    """A line before the first window of each release, with its version."""
    first = windows.unique("release_number", keep="first", maintain_order=True)
    for place, version in first.select("place", "release").iter_rows():
        axis.axvline(place - 0.5, color="black", linestyle=":", linewidth=1)
        axis.annotate(version, (place - 0.4, 1), fontsize="small", va="top")


def _name_windows(axes: Iterable[Axes], rows: pl.DataFrame) -> None:
    """The first and the last window by their last delivery: names of deliveries are long."""
    names = rows.filter(metric=KPIS[0])["until"].to_list()
    places = sorted({0, len(names) - 1})
    for axis in axes:
        axis.set_xticks(places, [names[place] for place in places], fontsize="small")
        first, *others = axis.get_xticklabels()
        first.set_horizontalalignment("left")
        for last in others:
            last.set_horizontalalignment("right")
        axis.set_xlabel("windows, by their last delivery as captured")
