"""Figures as ratios against a peer or a limit, measured in one run, into benchmarks/results.json.

Each figure has a module in this folder with `measure() -> Figure`.
"""

import importlib
import json
from dataclasses import asdict
from pathlib import Path

from rich.console import Console
from rich.table import Column, Table

FIGURES = (
    "definitions_load_ratio",
    "psi_kl_vs_evidently",
    "psi_kl_vs_evidently_512",
    "drift_false_alarm_share",
    "drift_power",
)


def main() -> None:
    """Measure every figure, print them and write them down."""
    folder = Path(__file__).parent
    figures = {name: importlib.import_module(f"benchmarks.{name}").measure() for name in FIGURES}
    (folder / "results.json").write_text(
        json.dumps({name: asdict(figure) for name, figure in figures.items()}, indent=2) + "\n"
    )
    table = Table(Column("figure", no_wrap=True), "value", "unit", "peer", "goal")
    for name, figure in figures.items():
        table.add_row(name, f"{figure.value:.2f}", figure.unit, figure.peer, figure.goal)
    Console().print(table)


main()
