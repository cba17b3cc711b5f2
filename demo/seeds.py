"""How much the story owes to the draw: all four seasons on other draws of the same modules.

    python -m demo.seeds [draws] [picture]

Draw 0 is the demo's. Each draw deals the modules anew; both candidates are trained, judged by the spec's criteria and
used, and drift is measured, by the product's own functions; the spec's criteria are held against estimates alone, but
for agreement and latency. A draw whose candidate the gate refuses is played on all the same, and counted. Nothing here
feeds the demo; the claims that it checks are those that most draws keep.
"""

import multiprocessing
import os
import sys
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any, Final

import numpy as np
import polars as pl
from rich.console import Console
from rich.progress import track
from rich.table import Table

from cv_assets.drift.episodes import episodes
from cv_assets.spec.evaluation import SMALLER_IS_BETTER
from cv_assets.spec.load import load_spec
from cv_assets.spec.schema import Spec
from demo.cast import SEED, Cast, cast
from demo.figures import WORDS, values, verdict_figures
from demo.loop_claims import bands
from demo.modules import Module, read_modules
from demo.plant import part_name
from demo.seeds_picture import TITLES, picture
from demo.trials import Cells, Trained, drift, embed, golden_figures, inspect, train
from resources.deployments import ROOT

DRAWS: Final = 24
SEASONS: Final = ("season2", "season3", "poly", "mono")
NOT_REPEATED: Final = ("label_agreement", "latency_p95_ms")
"""Criteria that do not depend on the draw, or on the machine alone."""


@dataclass(frozen=True)
class Gate:
    """What a candidate measured on the golden modules, by slice, and what the release before it did."""

    now: Mapping[str, Mapping[str, float]]
    before: Mapping[str, Mapping[str, float]] | None

    def missed(self, spec: Spec) -> list[str]:
        """The criteria that it misses, of those that can be repeated here."""
        found = []
        for one in spec.evaluation.acceptance:
            if one.metric in NOT_REPEATED or (one.applies == "when_trained" and one.slice not in self.now):
                continue
            value = self.now["out_of_fold" if one.set == "out_of_fold" else one.slice][one.metric]
            bound = one.at_most if one.at_least is None else one.at_least
            if bound is None or not (value <= bound if one.at_least is None else value >= bound):
                found.append(f"{one.metric} {one.slice}")
        return found + ([] if self.before is None else self._lost(spec, self.before))

    def _lost(self, spec: Spec, before: Mapping[str, Mapping[str, float]]) -> list[str]:
        found = []
        for one in spec.evaluation.regression:
            sign = 1 if one.metric in SMALLER_IS_BETTER else -1
            if sign * (self.now[one.slice][one.metric] - before[one.slice][one.metric]) > one.max_loss + 1e-9:
                found.append(f"{one.metric} {one.slice} lost")
        return found


def play(cells: Cells, modules: Sequence[Module], spec: Spec, seed: int) -> dict[str, Any]:
    """The whole story of one draw as one row: figures by season, what drift said, what the gate would have refused."""
    parts = cast(modules, seed)
    first = train(cells, parts.train, spec)
    second = train(cells, (*parts.train, *parts.poly_relabelled), spec)
    truth = {part_name(cell): cell.defective for module in modules for cell in module.cells}
    seasons = {
        "season2": inspect(cells, first, parts.later),
        "season3": inspect(cells, first, parts.third_season),
        "poly": inspect(cells, second, parts.poly_imaged),
        "poly_all": inspect(cells, second, parts.poly_later),
        "mono": inspect(cells, second, parts.later),
    }
    figures = {
        f"{season}.{name}": value
        for season, rows in seasons.items()
        for name, value in values(verdict_figures(rows, truth, spec.evaluation)).items()
    }
    return {
        "seed": seed,
        **figures,
        **_gates(cells, parts, first, second, spec),
        **_drift(cells, parts, spec),
    }


def study(draws: int, spec: Spec, cache: Path) -> pl.DataFrame:
    """One row per draw; draw `SEED` is the demo's."""
    modules = read_modules()
    cells = embed(modules, spec, cache)
    # A process that is forked has none of Polars' threads, and waits for them.
    context, one = multiprocessing.get_context("spawn"), partial(play, cells, modules, spec)
    with ProcessPoolExecutor(os.cpu_count(), context, _keep, (one,)) as workers:
        rows = workers.map(_play_kept, range(SEED, SEED + draws))
        return pl.DataFrame(list(track(rows, "draws", total=draws)))


_kept: list[Callable[[int], dict[str, Any]]] = []
"""How a worker plays a draw: sent once, for the cells are many."""


def _keep(one: Callable[[int], dict[str, Any]]) -> None:
    _kept[:] = [one]


def _play_kept(seed: int) -> dict[str, Any]:
    return _kept[0](seed)


def _gates(cells: Cells, parts: Cast, first: Trained, second: Trained, spec: Spec) -> dict[str, Any]:
    then = _golden(cells, first, {"all": parts.golden, "product=mono": parts.golden}, spec)
    of_both = {
        "all": (*parts.golden, *parts.poly_golden),
        "product=mono": parts.golden,
        "product=poly": parts.poly_golden,
    }
    now = _golden(cells, second, of_both, spec)
    return {
        "first_missed": "; ".join(Gate(then, None).missed(spec)),
        "second_missed": "; ".join(Gate(now, _golden(cells, first, of_both, spec)).missed(spec)),
    }


def _golden(
    cells: Cells, trained: Trained, slices: Mapping[str, Sequence[Module]], spec: Spec
) -> dict[str, dict[str, float]]:
    found = {name: golden_figures(cells, trained, modules, spec) for name, modules in slices.items()}
    return {**found, "out_of_fold": {"roc_auc": trained.out_of_fold_auc}}


def _drift(cells: Cells, parts: Cast, spec: Spec) -> dict[str, Any]:
    """What the novelty said of each season; deliveries follow one another as in the demo."""
    retrained = (*parts.train, *parts.poly_relabelled)
    under_first = drift(cells, parts.train, (*parts.later, *parts.third_season), spec, 1)
    mono, poly = under_first[: len(parts.later)], under_first[len(parts.later) :]
    later = drift(cells, retrained, parts.poly_imaged, spec, 2)
    all_later = drift(cells, retrained, parts.poly_later, spec, 2)
    again = drift(cells, retrained, parts.later, spec, 2)
    return {
        "mono_warnings": _drifted(mono),
        "mono_deliveries": mono.height,
        "mono_alarm": _alarms(mono, spec),
        "poly_drifted": _drifted(poly),
        "poly_deliveries": poly.height,
        "first_warns": poly["verdict"][0] == "drifted",
        "second_alarms": _alarms(poly.head(2), spec),
        "later_warnings": _drifted(later),
        "later_deliveries": later.height,
        "later_alarm": _alarms(later, spec),
        "all_later_warnings": _drifted(all_later),
        "all_later_deliveries": all_later.height,
        "all_later_alarm": _alarms(all_later, spec),
        "again_warnings": _drifted(again),
        "again_alarm": _alarms(again, spec),
    }


def _drifted(metrics: pl.DataFrame) -> int:
    return metrics.filter(verdict="drifted").height


def _alarms(metrics: pl.DataFrame, spec: Spec) -> bool:
    return any(one.confirmed for one in episodes(metrics, spec.drift.patience))


def kept(rows: pl.DataFrame, spec: Spec) -> dict[str, tuple[int, int]]:
    """What the story claims: in how many draws it held, of how many it can be said of."""
    found: dict[str, tuple[int, int]] = {}
    told: Mapping[str, Callable[[Mapping[str, Any]], bool]] = {
        "season 2 opens no drift alarm": lambda row: not row["mono_alarm"],
        "the first poly delivery gives a drift warning": lambda row: row["first_warns"],
        "the second poly delivery makes it an alarm": lambda row: row["second_alarms"],
        "v1.0.0 meets every criterion": lambda row: not row["first_missed"],
        "v1.1.0 meets every criterion, and loses no more than it may": lambda row: not row["second_missed"],
        **{
            band.words: lambda row, band=band: band.holds(_by_season(row))  # type: ignore[misc]
            for band in bands(spec)
        },
        "season 4 opens no drift alarm": lambda row: not (row["later_alarm"] or row["again_alarm"]),
    }
    for words, holds in told.items():
        found[words] = (sum(map(holds, rows.iter_rows(named=True))), rows.height)
    return found


def _by_season(row: Mapping[str, Any]) -> dict[str, dict[str, float | None]]:
    return {season: {name: row[f"{season}.{name}"] for name in WORDS} for season in SEASONS}


def show(rows: pl.DataFrame) -> Table:
    """Median over the draws between their 5 and 95 % quantiles, and the demo's own draw."""
    table = Table("figure", "season", "5 %", "median", "95 %", "the demo's draw")
    for name, words in WORDS.items():
        for season, title in TITLES.items():
            column = rows[f"{season}.{name}"].to_numpy().astype(float)
            spread = (f"{np.nanquantile(column, share):.2f}" for share in (0.05, 0.5, 0.95))
            table.add_row(words, title.replace("\n", ", "), *spread, f"{column[0]:.2f}")
    return table


def show_kept(rows: pl.DataFrame, spec: Spec) -> Table:
    """In how many draws each claim held, and whether in the demo's."""
    table = Table("the story claims that", "held in", "in the demo's draw")
    own = kept(rows.head(1), spec)
    for words, (held, of) in kept(rows, spec).items():
        table.add_row(words, f"{held} of {of}", "yes" if own[words][0] else "no")
    return table


def show_drift(rows: pl.DataFrame) -> Table:
    """How often a single delivery drifted, and how often that was an alarm."""
    table = Table("deliveries", "drifted", "draws with an alarm")
    for words, counted, of, alarm in (
        ("later mono under v1.0.0", "mono_warnings", "mono_deliveries", "mono_alarm"),
        ("poly under v1.0.0", "poly_drifted", "poly_deliveries", "second_alarms"),
        ("later poly under v1.1.0, the imaged", "later_warnings", "later_deliveries", "later_alarm"),
        ("later poly under v1.1.0, all", "all_later_warnings", "all_later_deliveries", "all_later_alarm"),
        ("later mono under v1.1.0", "again_warnings", "mono_deliveries", "again_alarm"),
    ):
        drifted, deliveries = int(rows[counted].sum()), int(rows[of].sum())
        share = f"{drifted} of {deliveries} ({drifted / deliveries:.1%})"
        table.add_row(words, share, f"{rows[alarm].sum()} of {rows.height}")
    return table


def main(arguments: Sequence[str]) -> None:
    """Study, print, and draw when a picture is named."""
    spec = load_spec(ROOT / "specs" / "solar_cells.yaml")
    rows = study(int(arguments[0]) if arguments else DRAWS, spec, ROOT / ".demo" / "data" / "cache")
    console = Console()
    for table in (show(rows), show_kept(rows, spec), show_drift(rows)):
        console.print(table)
    if len(arguments) > 1:
        picture(rows, spec, Path(arguments[1]))


if __name__ == "__main__":
    main(sys.argv[1:])
