"""Pictures of a delivery's drift, for people: its distributions beside the reference's, and its most novel frames."""

from collections.abc import Callable
from pathlib import Path
from typing import Final

import numpy as np
import polars as pl
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from cv_assets.frames.preparing import Shown, fetch_to_show
from cv_assets.reference.bins import counts_in
from cv_assets.reference.schema import NOVELTY
from cv_assets.words import figure as said

_OTHERS: Final = 3
_SHOWN: Final = 12


def distributions_figure(
    metrics: pl.DataFrame, values: pl.DataFrame, reference: pl.DataFrame
) -> Figure | None:
    """Shares of frames per bin of the reference, of the novelty and of what changed most beside it.

    None when nothing was measured.
    """
    shown = most_changed(metrics)
    if not shown:
        return None
    panels = Figure(figsize=(3.2 * len(shown), 2.6), layout="constrained")
    axes = np.atleast_1d(panels.subplots(1, len(shown)))
    for axis, name in zip(axes, shown, strict=True):
        row = reference.row(by_predicate=pl.col("statistic") == name, named=True)
        values_N = values[name].fill_nan(None).drop_nulls().to_numpy()
        _draw(axis, counts_in(row["edges"], values_N), np.asarray(row["counts"]), row["edges"])
        (measured,) = metrics.filter(statistic=name).iter_rows(named=True)
        axis.set_title(f"{name}: PSI {said(measured['psi'])}, {measured['verdict']}", fontsize="small")
    axes[0].set_ylabel("share of frames")
    axes[0].legend(fontsize="x-small")
    return panels


def most_changed(metrics: pl.DataFrame) -> list[str]:
    """The novelty, and the statistics with the largest PSI beside their levels; of all, those that were measured."""
    measured = metrics.filter(pl.col("psi").is_not_null())
    ratio = pl.col("psi") / pl.max_horizontal("psi_level", "tolerance")
    others = measured.filter(pl.col("statistic") != NOVELTY).sort(-ratio, "statistic", nulls_last=True)
    return [*measured.filter(statistic=NOVELTY)["statistic"], *others["statistic"].head(_OTHERS)]


def most_novel(
    values: pl.DataFrame, inspections: pl.DataFrame, fetch: Callable[[str], Path], max_pixels: int
) -> Shown:
    """The delivery's most novel frames as the model saw them, each with its part and its novelty."""
    if NOVELTY not in values.columns:
        return Shown([], [])
    some = (
        values.select("capture_id", pl.col(NOVELTY).fill_nan(None))
        .drop_nulls()
        .join(inspections.select("capture_id", "part", "prepared_path"), on="capture_id")
        .sort(NOVELTY, "capture_id", descending=[True, False])
        .head(_SHOWN)
    )
    shown = Shown([], [])
    for part, path, novelty in some.select("part", "prepared_path", NOVELTY).iter_rows():
        shown.images.append(fetch_to_show(fetch, path, max_pixels))
        shown.captions.append(f"{part}: {said(novelty)}")
    return shown


def _draw(axis: Axes, counts_B: np.ndarray, reference_B: np.ndarray, edges: list[float]) -> None:
    places_B = np.arange(len(counts_B))
    for shift, some_B, name, shade in (
        (-0.2, reference_B, "training frames", "tab:grey"),
        (0.2, counts_B, "this delivery", "tab:orange"),
    ):
        axis.bar(places_B + shift, some_B / max(some_B.sum(), 1), width=0.4, color=shade, label=name)
    step = max(1, len(edges) // 4)
    axis.set_xticks(
        places_B[1::step] - 0.5, [_edge(edges, one) for one in range(0, len(edges), step)], fontsize="x-small"
    )


def _edge(edges: list[float], place: int) -> str:
    """The edge in words; nothing where it is the next number after the one before, the end of a bin of one value."""
    ends_one_value = place > 0 and edges[place] == np.nextafter(edges[place - 1], np.inf)
    return "" if ends_one_value else said(edges[place])
