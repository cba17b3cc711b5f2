"""The story's figures, as shares in [0, 1], by the truth that the plant knows; intervals respect modules."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final

import numpy as np
import polars as pl

from cv_assets.evaluation.metrics import Measurement, measurement, share
from cv_assets.reference.quantiles import Interval
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


@dataclass(frozen=True)
class Estimate:
    """What the product says of one figure from people's answers alone, and the truth on the same captures.

    None where a share has no frames, or too little is answered to tell.
    """

    name: str
    value: float | None
    low: float | None
    high: float | None
    verdict: str
    deliveries: int
    truth: float | None

    @property
    def words(self) -> str:
        """The estimate for people."""
        ends = "" if self.value is None else f" ({span(self.low, self.high)})"
        said = f"{number(self.value)}{ends}, by the truth {number(self.truth)}"
        return f"{self.name} over {self.deliveries} deliveries: {said}; {self.verdict}"


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


def estimates(
    kpis: pl.DataFrame, inspections: pl.DataFrame, defective: Mapping[str, bool], settings: Evaluation
) -> list[Estimate]:
    """What `kpis` says of the newest window of each figure of one release, which gave all of `inspections`."""
    newest = kpis.sort("captured_to", "until").unique("metric", keep="last")
    said = {row["metric"]: row for row in newest.iter_rows(named=True)}
    found = []
    for name, metric in KPIS.items():
        if (row := said.get(metric)) is None:
            continue
        window = inspections.filter(pl.col("delivery").is_in(_newest(inspections, row["deliveries"])))
        truth = verdict_figures(window, defective, settings)[name].interval.value
        told = (row["value"], row["low"], row["high"], row["verdict"], row["deliveries"])
        found.append(Estimate(name, *told, truth))
    return found


def _newest(inspections: pl.DataFrame, deliveries: int) -> list[str]:
    """The deliveries that were captured last."""
    first = inspections.group_by("delivery").agg(pl.col("captured_at").min())
    return first.sort("captured_at", "delivery")["delivery"].tail(deliveries).to_list()


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
