"""The story's figures, as shares in [0, 1], by the truth that the plant knows; intervals respect modules."""

from collections.abc import Mapping
from typing import Final

import numpy as np
import polars as pl

from cv_assets.evaluation.intervals import Interval
from cv_assets.evaluation.metrics import Measurement, measurement, share
from cv_assets.spec.evaluation import Evaluation

KPIS: Final = {
    "escape": "escape_rate",
    "overkill": "overkill",
    "precision": "fail_precision",
    "review": "review_share",
}
"""The figures and the names under which the product reports them."""

WORDS: Final = {
    "escape": "escapes: defective cells that pass",
    "overkill": "overkill: sound cells that fail",
    "precision": "precision of FAIL",
    "review": "share sent to people",
}

Figures = Mapping[str, Measurement]


def golden_figures(report: pl.DataFrame, model: str) -> dict[str, Measurement]:
    """What the product reports of `model` on all golden frames.

    Their labels are the plant's truth (a claim checks that). Raises ValueError when the report lacks a figure.
    """
    rows = report.filter(pl.col("model") == model, pl.col("set") == "golden", pl.col("slice") == "all")
    said = {row["metric"]: row for row in rows.iter_rows(named=True)}
    if missing := set(KPIS.values()) - said.keys():
        raise ValueError(f"the evaluation report of {model} lacks {sorted(missing)} on the golden frames")
    return {name: _measured(said[metric]) for name, metric in KPIS.items()}


def verdict_figures(
    inspections: pl.DataFrame, defective: Mapping[str, bool], settings: Evaluation, verdict: str = "verdict"
) -> dict[str, Measurement]:
    """What became of the captures of `inspections` by their column `verdict`; `defective` is the truth by frame.

    Every capture counts: a rejected frame has a verdict too, and a person sees it.
    """
    defective_N = np.array([defective[frame_id] for frame_id in inspections["frame_id"]], dtype=bool)
    group_N = np.unique(inspections["group"].to_numpy(), return_inverse=True)[1].astype(np.intp)
    passes_N, fails_N, asks_N = (
        (inspections[verdict] == name).to_numpy() for name in ("PASS", "FAIL", "REVIEW")
    )
    statistics = {
        "escape": share(passes_N, defective_N, group_N),
        "overkill": share(fails_N, ~defective_N, group_N),
        "precision": share(defective_N, fails_N, group_N),
        "review": share(asks_N, np.ones_like(asks_N), group_N),
    }
    return {name: measurement("all", KPIS[name], one, settings) for name, one in statistics.items()}


def values(figures: Figures) -> dict[str, float | None]:
    """The bare values; None where a share has no frames."""
    return {name: one.interval.value for name, one in figures.items()}


def number(value: float | None) -> str:
    """A figure for people."""
    return "undefined" if value is None else f"{value:.3f}" if abs(value) < 10 else f"{value:.0f}"


def span(low: float | None, high: float | None) -> str:
    """An interval for people."""
    return f"{number(low)} to {number(high)}"


def _measured(row: Mapping[str, float]) -> Measurement:
    interval = Interval(row["value"], row["low"], row["high"])
    return Measurement("all", str(row["metric"]), interval, int(row["samples"]), int(row["groups"]))
