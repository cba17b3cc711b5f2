"""The story on all draws as one picture: every draw a dot, the demo's draw a ring, the spec's bounds lines."""

from pathlib import Path
from typing import Any, Final

import numpy as np
import polars as pl
from matplotlib.figure import Figure

from cv_assets.spec.schema import Spec
from demo.figures import WORDS
from demo.loop_claims import limits

TITLES: Final = {
    "season2": "2: later mono\nv1.0.0",
    "season3": "3: poly arrives\nv1.0.0",
    "poly": "4: later poly\nv1.1.0",
    "mono": "4: mono again\nv1.1.0",
}

_SHADES: Final = {"season2": "tab:blue", "season3": "tab:red", "poly": "tab:green", "mono": "tab:blue"}


def picture(rows: pl.DataFrame, spec: Spec, file: Path) -> None:
    """Draw the rows of the study, the demo's draw first, into `file`."""
    figure = Figure(figsize=(11, 3.6), layout="constrained")
    axes = figure.subplots(1, len(WORDS), sharey=True)
    bound = limits(spec)
    for axis, (name, words) in zip(axes, WORDS.items(), strict=True):
        _panel(axis, rows, name)
        if name in bound:
            axis.axhline(bound[name], color="grey", linestyle="--", linewidth=1, label="bound")
        axis.set_title(words.replace(": ", ":\n"), fontsize=9)
    axes[0].set(ylim=(-0.03, 1.1), ylabel="share")
    axes[0].legend(loc="upper right", bbox_to_anchor=(1, 0.9), fontsize=7)
    figure.suptitle(f"Solar cells: the four seasons on {rows.height} draws of the modules", fontsize=10)
    figure.savefig(file, dpi=130)


def _panel(axis: Any, rows: pl.DataFrame, name: str) -> None:
    jitter_D = (np.arange(rows.height) * 0.618 % 1 - 0.5) * 0.5
    for place, season in enumerate(TITLES):
        values_D = rows[f"{season}.{name}"].to_numpy().astype(float)
        axis.scatter(place + jitter_D, values_D, s=10, color=_SHADES[season], alpha=0.55)
        axis.scatter(
            place, values_D[0], s=60, facecolors="none", edgecolors="black", linewidths=1.4,
            label="the demo's draw" if place == 0 else None,
        )  # fmt: skip
        axis.hlines(np.nanmedian(values_D), place - 0.35, place + 0.35, color="black", linewidth=1.5)
        axis.text(place, 1.04, f"{np.nanmedian(values_D):.2f}", ha="center", fontsize=8)
    shown = [title.replace(" ", "\n", 2) for title in TITLES.values()]
    axis.set_xticks(range(len(TITLES)), shown, fontsize=7)
