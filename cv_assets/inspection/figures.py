"""Pictures of an inspection, for people: the defect scores with the thresholds, and frames with their scores."""

from collections.abc import Callable
from pathlib import Path
from typing import Final

import numpy as np
import polars as pl
from matplotlib.figure import Figure

from cv_assets.evaluation.band import OperatingBand
from cv_assets.frames.preparing import Shown, fetch_to_show
from cv_assets.inspection.schema import VERDICTS

_SHADES: Final = {"PASS": "tab:green", "REVIEW": "tab:orange", "FAIL": "tab:red"}
_BINS: Final = 25
_SHOWN: Final = 12


def scores_figure(inspections: pl.DataFrame, band: OperatingBand) -> Figure:
    """A histogram of the defect scores by verdict, with the two thresholds; one above 1 is out of reach."""
    figure = Figure(figsize=(5, 2.4), layout="constrained")
    axes = figure.subplots()
    by_verdict = {
        name: inspections.filter(verdict=name)["defect_score"].drop_nulls().to_numpy() for name in VERDICTS
    }
    axes.hist(
        list(by_verdict.values()),
        bins=np.linspace(0, 1, _BINS + 1).tolist(),
        stacked=True,
        color=[_SHADES[name] for name in by_verdict],
        label=[f"{name} ({len(scores)})" for name, scores in by_verdict.items()],
    )
    for name, threshold, style in (("lower", band.lower, ":"), ("upper", band.upper, "--")):
        if threshold <= 1:
            label = f"{name} threshold {threshold:.3f}"
            axes.axvline(threshold, color="black", linestyle=style, linewidth=1, label=label)
    axes.set(xlabel="defect score", ylabel="frames", xlim=(0, 1))
    axes.legend(fontsize="small")
    return figure


def frames_of(
    inspections: pl.DataFrame, verdict: str, fetch: Callable[[str], Path], max_pixels: int
) -> Shown:
    """Frames with this verdict, the highest defect scores first, as the model saw them, or else as they were taken."""
    some = (
        inspections.filter(verdict=verdict)
        .sort("defect_score", descending=True, nulls_last=True, maintain_order=True)
        .head(_SHOWN)
    )
    shown = Shown([], [])
    for row in some.iter_rows(named=True):
        shown.images.append(fetch_to_show(fetch, row["prepared_path"] or row["raw_path"], max_pixels))
        score = row["defect_score"]
        shown.captions.append(f"{row['part']}: {row['why'] if score is None else f'{score:.3f}'}")
    return shown
