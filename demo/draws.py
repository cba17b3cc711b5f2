"""How much the demo's figures owe to the draw: the same recipe on many other draws of the same modules.

    python -m demo.draws [draws] [picture]

Draw 0 is the demo's. Every draw trains the spec's models on its own training modules, chooses one by its out-of-fold
scores and judges it on its own golden modules. Nothing here feeds the demo; the acceptance criteria of the spec are
what a sound system meets on most draws. `demo.seeds` repeats the whole story.
"""

import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
from matplotlib.figure import Figure
from rich.console import Console
from rich.progress import track
from rich.table import Table

from cv_assets.spec.load import load_spec
from cv_assets.spec.schema import Spec
from demo.cast import MONO_SHARES, SEED, STRATA
from demo.modules import Module, draw, read_modules
from demo.trials import Cells, embed, golden_figures, train
from resources.deployments import ROOT

DRAWS = 101
COLUMNS = {
    "out_of_fold_auc": "out-of-fold AUC",
    "golden_auc": "golden AUC",
    "escape_rate": "escapes",
    "overkill": "overkill",
    "fail_precision": "precision of FAIL",
    "review_share": "sent to review",
}


def judge(cells: Cells, dealt: dict[str, list[Module]], spec: Spec) -> dict[str, Any]:
    """Train on the draw's training modules, choose by out-of-fold AUC, judge on its golden modules."""
    trained = train(cells, dealt["train"], spec)
    golden = golden_figures(cells, trained, dealt["golden"], spec)
    values = {name: None if np.isnan(value) else value for name, value in golden.items()}
    return {
        "model": trained.model,
        "out_of_fold_auc": trained.out_of_fold_auc,
        "golden_auc": values["roc_auc"],
        **{name: values[name] for name in COLUMNS if name in values},
    }


def study(draws: int, spec: Spec, cache: Path) -> pl.DataFrame:
    """One row per draw; draw `SEED` is the demo's."""
    modules = [module for module in read_modules() if module.product == "mono"]
    cells = embed(modules, spec, cache)
    rows = []
    for seed in track(range(SEED, SEED + draws), "draws"):
        dealt = draw(modules, MONO_SHARES, strata=STRATA, seed=seed)
        golden = sorted(one.number for one in dealt["golden"])
        rows.append({"seed": seed, "golden": golden, **judge(cells, dealt, spec)})
    return pl.DataFrame(rows)


def _bounds(spec: Spec) -> dict[str, tuple[str, float]]:
    """The acceptance criteria that the study can judge: column -> (side, bound)."""
    found = {}
    for criterion in spec.evaluation.acceptance:
        prefix = "out_of_fold_auc" if criterion.set == "out_of_fold" else "golden_auc"
        column = prefix if criterion.metric == "roc_auc" else criterion.metric
        if column in COLUMNS and criterion.slice == "all":
            side = "at_least" if criterion.at_least is not None else "at_most"
            found[column] = (side, getattr(criterion, side))
    return found


def met(rows: pl.DataFrame, spec: Spec) -> dict[str, pl.Series]:
    """Which draws meet each criterion that the study can judge."""
    return {
        column: rows[column] >= bound if side == "at_least" else rows[column] <= bound
        for column, (side, bound) in _bounds(spec).items()
    }


def show(rows: pl.DataFrame, spec: Spec) -> Table:
    """Quantiles over the draws, the demo's own draw, and how many draws meet the spec's criterion."""
    table = Table("figure", "5 %", "median", "95 %", "the demo's draw", "criterion", "met by")
    passed = met(rows, spec)
    for column, words in COLUMNS.items():
        side, bound = _bounds(spec).get(column, ("", float("nan")))
        table.add_row(
            words,
            *(f"{np.nanquantile(rows[column].to_numpy(), share):.2f}" for share in (0.05, 0.5, 0.95)),
            f"{rows[column][0]:.2f}",
            f"{side.replace('_', ' ')} {bound:g}" if side else "",
            f"{passed[column].sum() / rows.height:.0%}" if side else "",
        )
    together = pl.DataFrame(passed).select(pl.all_horizontal(pl.all())).to_series()
    table.add_row(
        "all criteria together", "", "", "", str(together[0]), "", f"{together.sum() / rows.height:.0%}"
    )
    return table


def picture(rows: pl.DataFrame, spec: Spec, file: Path) -> None:
    """Every draw a dot, the demo's draw a ring, the spec's criterion a line."""
    figure = Figure(figsize=(9, 3.4), layout="constrained")
    axis = figure.subplots()
    values_DC, places_C = rows.select(list(COLUMNS)).to_numpy().astype(float), np.arange(len(COLUMNS))
    jitter_D1 = (np.arange(rows.height) * 0.618 % 1 - 0.5)[:, None] * 0.5
    axis.scatter(places_C + jitter_D1, values_DC, s=9, color="tab:blue", alpha=0.5, label="other draws")
    ring: dict[str, Any] = {"facecolors": "none", "edgecolors": "black", "linewidths": 1.6}
    axis.scatter(places_C, values_DC[0], s=70, **ring, zorder=3, label="the demo's draw")
    bounds = {
        place: _bounds(spec)[column][1] for place, column in enumerate(COLUMNS) if column in _bounds(spec)
    }
    at = np.array(list(bounds))
    axis.hlines(list(bounds.values()), at - 0.4, at + 0.4, color="tab:red", label="acceptance criterion")
    for place, median in enumerate(np.nanmedian(values_DC, axis=0)):
        axis.text(place, 1.04, f"median {median:.2f}", ha="center", fontsize=8)
    axis.set(xticks=range(len(COLUMNS)), xticklabels=COLUMNS.values(), ylim=(-0.03, 1.12))
    axis.set_title(
        f"Solar cells, season 1: {rows.height} draws of 11 training and 3 golden modules", fontsize=10
    )
    axis.legend(loc="center left", fontsize=8)
    figure.savefig(file, dpi=130)


def main(arguments: Sequence[str]) -> None:
    """Study, print, and draw when a picture is named."""
    spec = load_spec(ROOT / "specs" / "solar_cells.yaml")
    rows = study(int(arguments[0]) if arguments else DRAWS, spec, ROOT / ".demo" / "data" / "cache")
    Console().print(show(rows, spec))
    if len(arguments) > 1:
        picture(rows, spec, Path(arguments[1]))


if __name__ == "__main__":
    main(sys.argv[1:])
