"""Pictures of a replay, for people: the stored scores with both bands, and frames with another verdict."""

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Final

import numpy as np
import polars as pl
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from cv_assets.evaluation.band import OperatingBand
from cv_assets.frames.preparing import Shown, fetch_to_show

_SHOWN: Final = 12


def replay_figure(
    rows: pl.DataFrame, in_effect: Sequence[OperatingBand], band: OperatingBand, pass_class: str
) -> Figure:
    """Histograms of the stored scores: above all captures, below the answered ones as often as they stand for others.

    `rows` are those of `replay`. Lines are thresholds: dotted those in effect, solid those of the replayed `band`.
    """
    figure = Figure(figsize=(9.5, 4.2), layout="constrained")
    everything, answered = figure.subplots(2, 1, sharex=True)
    of_class = {
        "sound": (pl.col("truth") == pass_class, "tab:blue"),
        "defective": (pl.col("truth") != pass_class, "tab:red"),
        "not known": (pl.col("truth").is_null(), "lightgrey"),
    }
    for axis, weight in ((everything, pl.lit(1.0)), (answered, pl.col("weight").fill_null(0.0))):
        shown = {
            f"{name}: {rows.filter(those).height}": (
                rows.filter(those).select("defect_score", weight=weight),
                color,
            )
            for name, (those, color) in of_class.items()
        }
        axis.hist(
            [one["defect_score"].to_numpy() for one, _ in shown.values()],
            weights=[one["weight"].to_numpy() for one, _ in shown.values()],
            bins=np.linspace(0, 1, 41).tolist(),
            stacked=True,
            color=[color for _, color in shown.values()],
            label=list(shown),
        )
        for one in in_effect:
            _draw_band(axis, one, "dimgrey", ":", "in effect")
        _draw_band(axis, band, "black", "-", "replayed")
    everything.set(xlim=(0, 1), ylabel="captures")
    answered.set(xlabel="stored defect score", ylabel="answered,\nweighted")
    figure.legend(*everything.get_legend_handles_labels(), loc="outside right upper", fontsize="small")
    return figure


def changed_frames(
    rows: pl.DataFrame, scored: pl.DataFrame, fetch: Callable[[str], Path], max_pixels: int
) -> Shown:
    """Some frames that get another verdict, as the model saw them: those of known class first, by their scores."""
    some = (
        rows.filter("changed")
        .join(scored.select("capture_id", "prepared_path"), on="capture_id", maintain_order="left")
        .sort(pl.col("truth").is_null(), "defect_score", "capture_id")
        .head(_SHOWN)
    )
    images = [fetch_to_show(fetch, path, max_pixels) for path in some["prepared_path"]]
    told = some.select("part", "verdict", "replayed", "defect_score")
    # The verdicts come last: cut to the width of a tile they can still be read.
    captions = [f"{part} {score:.2f} {before}>{now}" for part, before, now, score in told.iter_rows()]
    return Shown(images, captions)


def _draw_band(axis: Axes, band: OperatingBand, color: str, style: str, label: str) -> None:
    shown = [threshold for threshold in (band.lower, band.upper) if threshold <= 1]
    for number, threshold in enumerate(shown):
        axis.axvline(threshold, color=color, linestyle=style, label=label if number == 0 else None)
