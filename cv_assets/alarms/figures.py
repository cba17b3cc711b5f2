"""The picture of the alarms, for people: drift per delivery with its level, below it the KPIs, across releases."""

from collections.abc import Sequence
from typing import Final

import numpy as np
import polars as pl
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.transforms import blended_transform_factory

from cv_assets.reference.schema import NOVELTY, REJECTED
from cv_assets.spec.drift import KPIS

DRAWN: Final = (
    "delivery",
    "statistic",
    "station",
    "captured_from",
    "release",
    "release_number",
    "value",
    "psi",
    "kl",
    "psi_level",
    "kl_level",
    "tolerance",
    "verdict",
)
"""The columns of drift_metrics that are drawn."""

MOST: Final = 150
"""So many of the newest deliveries are drawn."""

_NAMES_SHOWN: Final = 30
_STYLES: Final = {"drifted": ("tab:red", "o"), "ok": ("tab:blue", "o")}
_NOT_JUDGED: Final = ("darkgrey", "x")
_KPI_COLORS: Final = {
    "broken": "tab:red",
    "met": "tab:blue",
    "undecided": "tab:blue",
    "unbounded": "tab:blue",
}
_STATION_COLOR: Final = "tab:orange"


def trend_figure(metrics: pl.DataFrame, kpis: pl.DataFrame, alarms: pl.DataFrame, measure: str) -> Figure:
    """Delivery by delivery, as they were captured: the novelty's PSI or KL, the share of rejected frames, the KPIs.

    `metrics` has the columns `DRAWN`, `measure` is psi or kl. A green band is what is ordinary by the level, a red
    mark a drifted delivery, a bar an alarm (dotted: a warning), and a vertical line a change of release. Each KPI is
    about the window that ends with the delivery, with its interval; a dashed line is its bound.
    """
    order = metrics.group_by("delivery").agg(pl.col("captured_from", "release", "release_number").first())
    shown = order.sort("captured_from", "delivery").tail(MOST)
    places = {name: place for place, name in enumerate(shown["delivery"])}
    told = [name for name in KPIS if name in kpis["metric"]]
    figure = Figure(figsize=(12, 4.6 + 1.1 * len(told)), layout="constrained")
    axes = figure.subplots(
        2 + len(told), 1, sharex=True, squeeze=False, height_ratios=[2.4, 1.4, *(1.0 for _ in told)]
    )[:, 0]
    _draw_statistic(axes[0], metrics, places, NOVELTY, measure)
    axes[0].set_ylabel(f"{measure.upper()} of\nthe novelty")
    _draw_statistic(axes[1], metrics, places, REJECTED, "value")
    axes[1].set_ylabel("share\nrejected")
    for axis, name in zip(axes[2:], told, strict=True):
        _draw_kpi(axis, kpis.filter(metric=name), places)
        axis.set(ylabel=name.replace("_", "\n"), ylim=(-0.05, 1.4), yticks=(0, 0.5, 1))
    for number, axis in enumerate(axes):
        _draw_releases(axis, shown, named=number == 0)
        axis.grid(axis="y", alpha=0.3)
    _draw_alarms(axes[0], alarms.filter(kind="drift"), places, "tab:red")
    _draw_alarms(axes[1], alarms.filter(kind="station"), places, _STATION_COLOR)
    for axis, name in zip(axes[2:], told, strict=True):
        _draw_alarms(axis, alarms.filter(kind="kpi", statistic=name), places, "tab:red")
    _name_deliveries(axes[-1], list(places))
    if labelled := axes[0].get_legend_handles_labels()[0]:
        axes[0].legend(handles=labelled, fontsize="small", loc="center left", bbox_to_anchor=(1.0, 0.5))
    return figure


def _draw_statistic(
    axis: Axes, metrics: pl.DataFrame, places: dict[str, int], name: str, column: str
) -> None:
    """One statistic: a line per station, a mark per delivery, and what is ordinary as a band."""
    rows = metrics.filter(pl.col("statistic") == name, pl.col("delivery").is_in(list(places)))
    rows = rows.with_columns(place=pl.col("delivery").replace_strict(places, return_dtype=pl.Int64)).sort(
        "place"
    )
    _draw_level(axis, rows, column)
    drawn = rows.filter(pl.col(column).is_not_null())
    for (station,), part in drawn.group_by("station", maintain_order=True):
        label = f"station {station}" if drawn["station"].n_unique() > 1 else None
        axis.plot(part["place"], part[column], linewidth=1, alpha=0.6, label=label, zorder=2)
    for verdict, part in drawn.group_by("verdict", maintain_order=True):
        color, marker = _STYLES.get(str(verdict[0]), _NOT_JUDGED)
        said = str(verdict[0]).replace("_", " ")
        axis.scatter(part["place"], part[column], s=22, color=color, marker=marker, label=said, zorder=3)
    # Room for the names of alarms.
    axis.set_ylim(0, 1.2 * max(axis.get_ylim()[1], 1e-3))


def _draw_level(axis: Axes, rows: pl.DataFrame, column: str) -> None:
    level = pl.col("psi_level" if column == "value" else f"{column}_level")
    floor = pl.col("tolerance")
    measured = rows.filter(pl.col(column).is_not_null())
    levels = measured.select("place", bound=pl.max_horizontal(level, floor)).drop_nulls()
    if levels.is_empty():
        return
    # One step per delivery, each as wide as its place: two releases have two levels.
    middle, bound = levels["place"].to_numpy(), levels["bound"].to_numpy()
    x = np.stack([middle - 0.5, middle + 0.5]).T.ravel()
    axis.fill_between(x, 0, np.repeat(bound, 2), color="tab:green", alpha=0.12, linewidth=0, label="ordinary")
    axis.plot(x, np.repeat(bound, 2), color="tab:green", linewidth=1)


def _draw_kpi(axis: Axes, rows: pl.DataFrame, places: dict[str, int]) -> None:
    known = rows.filter(pl.col("until").is_in(list(places)), pl.col("value").is_not_null())
    for number, row in enumerate(known.iter_rows(named=True)):
        place, color = places[row["until"]], _KPI_COLORS.get(row["verdict"], "darkgrey")
        if row["low"] is not None and row["high"] is not None:
            axis.vlines(place, row["low"], row["high"], color=color, linewidth=1.2, alpha=0.7)
        axis.plot(place, row["value"], marker="o", markersize=3.5, color=color)
        if row["bound"] is not None:
            axis.hlines(
                row["bound"], place - 0.5, place + 0.5, color="black", linestyle="--", linewidth=1,
                label="bound" if number == 0 else "_",
            )  # fmt: skip


def _draw_releases(axis: Axes, shown: pl.DataFrame, *, named: bool) -> None:
    """A line wherever another release begins to judge, with its version."""
    before = None
    across = blended_transform_factory(axis.transData, axis.transAxes)
    for place, (release, number) in enumerate(shown.select("release", "release_number").iter_rows()):
        if place == 0 or number != before:
            axis.axvline(place - 0.5, color="black", linewidth=1.2, alpha=0.7)
            if named:
                axis.text(
                    place - 0.4,
                    1.02,
                    release or "no release",
                    transform=across,
                    fontsize="small",
                    va="bottom",
                )
        before = number


def _draw_alarms(axis: Axes, alarms: pl.DataFrame, places: dict[str, int], color: str) -> None:
    """A bar over the deliveries of each alarm, with its name; dotted while it is a warning."""
    across = blended_transform_factory(axis.transData, axis.transAxes)
    for row in alarms.sort("alarm_id").iter_rows(named=True):
        mine = [places[name] for name in row["deliveries"] if name in places]
        if not mine:
            continue
        first, last = min(mine) - 0.5, max(mine) + 0.5
        axis.axvspan(first, last, color=color, alpha=0.06, linewidth=0)
        style = ":" if row["state"] == "warning" else "-"
        axis.plot(
            [first, last], [1, 1], transform=across, color=color, linewidth=4, linestyle=style, clip_on=False
        )
        if row["kind"] != "station":
            text = f"{row['alarm_id']}: {row['state']}"
            axis.text(first + 0.1, 0.95, text, transform=across, fontsize="small", va="top", color=color)


def _name_deliveries(axis: Axes, names: Sequence[str]) -> None:
    every = max(1, -(-len(names) // _NAMES_SHOWN))
    ticks = list(range(0, len(names), every))
    axis.set_xticks(ticks, [names[place] for place in ticks], rotation=60, ha="right", fontsize="small")
    axis.set_xlim(-0.7, max(len(names), 1) - 0.3)
