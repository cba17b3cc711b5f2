"""Figures as ratios against a peer or a limit, measured in one run, into benchmarks/results.json.

Each figure has a module in this folder with `measure() -> Figure`. `python -m benchmarks` measures all of them,
`python -m benchmarks NAME …` these alone, and keeps what is written down of the others.
"""

import importlib
import json
import sys
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path

from rich.console import Console
from rich.table import Column, Table

from benchmarks.figure import Figure, NotMeasuredError

FIGURES = (
    "definitions_load_ratio",
    "prepare_vs_bare_opencv",
    "train_vs_bare_timm",
    "inspect_vs_bare_forward",
    "psi_kl_vs_evidently",
    "psi_kl_vs_evidently_512",
    "drift_false_alarm_share",
    "drift_power",
    "receive_overhead",
    "tick_seconds_1m_files",
    "ingest_vs_copy_and_hash",
    "lakefs_door_overhead",
    "lakefs_upload_vs_raw",
)


def main(names: Sequence[str]) -> None:
    """Measure these figures, or all, print them and write them down. Raises ValueError for an unknown one."""
    if unknown := set(names) - set(FIGURES):
        raise ValueError(f"there is no figure {', '.join(sorted(unknown))}: there are {', '.join(FIGURES)}")
    measured, left_out = _measure(names or FIGURES)
    _write_down({name: asdict(figure) for name, figure in measured.items()}, keep=bool(names))
    table = Table(Column("figure", no_wrap=True), "value", "unit", "peer", "goal")
    for name, figure in measured.items():
        table.add_row(name, f"{figure.value:.2f}", figure.unit, figure.peer, figure.goal)
    Console().print(table, *(f"{name} is not measured: {why}" for name, why in left_out.items()), sep="\n")


def _measure(names: Sequence[str]) -> tuple[dict[str, Figure], dict[str, str]]:
    """The figures, and why some are left out: what they need is not on this machine."""
    measured, left_out = dict[str, Figure](), dict[str, str]()
    for name in names:
        try:
            measured[name] = importlib.import_module(f"benchmarks.{name}").measure()
        except NotMeasuredError as error:
            left_out[name] = str(error)
    return measured, left_out


def _write_down(measured: dict[str, dict[str, object]], *, keep: bool) -> None:
    file = Path(__file__).parent / "results.json"
    found = {**(json.loads(file.read_text()) if keep and file.exists() else {}), **measured}
    ordered = {name: found[name] for name in FIGURES if name in found}
    file.write_text(json.dumps(ordered, indent=2) + "\n")


main(sys.argv[1:])
