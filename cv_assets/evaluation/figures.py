"""Pictures of an evaluation, for people: score distributions with the band, ROC, reliability, metrics by slice."""

from collections.abc import Mapping
from typing import Final

import numpy as np
import polars as pl
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from sklearn.metrics import roc_curve

from cv_assets.evaluation.band import OperatingBand
from cv_assets.evaluation.metrics import Judged, calibration_bins
from cv_assets.spec.drift import KPIS

_BY_SLICE: Final = ("roc_auc", *KPIS)
_SHADES: Final = {"sound": "tab:blue", "defective": "tab:red"}


def scores_figure(sets: Mapping[str, Judged], band: OperatingBand, bins: int) -> Figure:
    """One model: a histogram of defect scores per set with the band, all ROC curves, the reliability in `bins`."""
    figure = Figure(figsize=(min(3.2 * (len(sets) + 2), 12), 3.2), layout="constrained")
    axes = figure.subplots(1, len(sets) + 2)
    for axis, (name, judged) in zip(axes, sets.items(), strict=False):
        _draw_scores(axis, judged, band)
        axis.set_title(name)
    _draw_roc(axes[-2], sets)
    _draw_reliability(axes[-1], sets, bins)
    return figure


def slices_figure(report: pl.DataFrame, set_: str) -> Figure:
    """Per metric one panel: every slice of `set_`, a mark per model with its interval."""
    figure = Figure(figsize=(12, 3.4), layout="constrained")
    shown = report.filter(pl.col("set") == set_, pl.col("value").is_not_null())
    slices = shown["slice"].unique(maintain_order=True).to_list()
    models = shown["model"].unique(maintain_order=True).to_list()
    axes = figure.subplots(1, len(_BY_SLICE), sharey=True)
    for axis, metric in zip(axes, _BY_SLICE, strict=True):
        for number, model in enumerate(models):
            rows = shown.filter(pl.col("metric") == metric, pl.col("model") == model)
            _draw_intervals(axis, rows, slices, shift=0.2 * (number - (len(models) - 1) / 2), label=model)
        axis.set(title=metric, xlim=(-0.02, 1.02), yticks=range(len(slices)), yticklabels=slices)
        axis.grid(axis="x", alpha=0.3)
    axes[0].invert_yaxis()
    if models:
        axes[-1].legend(fontsize="small")
    return figure


def _draw_scores(axis: Axes, judged: Judged, band: OperatingBand) -> None:
    edges = np.linspace(0, 1, 26).tolist()
    for kind, frames_N in (("sound", ~judged.defective), ("defective", judged.defective)):
        axis.hist(judged.defect[frames_N], bins=edges, alpha=0.6, color=_SHADES[kind], label=kind)
    for threshold in (band.lower, band.upper):
        if threshold <= 1:
            axis.axvline(threshold, color="black", linestyle="--", linewidth=1)
    axis.set(xlabel="defect score", ylabel="frames", xlim=(0, 1))
    axis.legend(fontsize="small")


def _draw_roc(axis: Axes, sets: Mapping[str, Judged]) -> None:
    for name, judged in sets.items():
        if judged.defective.any() and not judged.defective.all():
            false_rate, true_rate, _ = roc_curve(judged.defective, judged.defect)
            axis.plot(false_rate, true_rate, label=name)
    axis.plot([0, 1], [0, 1], linestyle=":", color="grey", label="chance")
    axis.set(title="ROC", xlabel="sound frames above", ylabel="defective frames above")
    axis.legend(fontsize="small", loc="lower right")


def _draw_reliability(axis: Axes, sets: Mapping[str, Judged], bins: int) -> None:
    for name, judged in sets.items():
        bin_N = calibration_bins(judged.defect, bins)
        means = [
            (judged.defect[bin_N == one].mean(), judged.defective[bin_N == one].mean())
            for one in np.unique(bin_N)
        ]
        axis.plot(*np.array(means).T, marker="o", markersize=3, label=name)
    axis.plot([0, 1], [0, 1], linestyle=":", color="grey", label="calibrated")
    axis.set(title="reliability", xlabel="defect score", ylabel="share defective", xlim=(0, 1), ylim=(0, 1))
    axis.legend(fontsize="small")


def _draw_intervals(axis: Axes, rows: pl.DataFrame, slices: list[str], *, shift: float, label: str) -> None:
    values = rows["value"].to_numpy()
    ends = np.stack([values - rows["low"].to_numpy(), rows["high"].to_numpy() - values])
    heights = [slices.index(name) + shift for name in rows["slice"]]
    axis.errorbar(values, heights, xerr=ends, fmt="o", markersize=3, linewidth=1, capsize=2, label=label)
