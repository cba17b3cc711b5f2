"""The commands for experiments: begin one or go on with it, say what it changed, drop it."""

import argparse
from collections.abc import Sequence

import polars as pl
from rich.console import Console
from rich.table import Table
from rich.text import Text

from cv_assets.upkeep.branches import cut, differences, other_files, summary
from cv_assets.upkeep.changes import Difference
from cv_assets.upkeep.experiments import begin, drop, experiment, free_port, known, running, serve
from cv_assets.words import counted
from resources.catalogue import tell_dagster
from resources.deployments import Deployment, lake_is_there, open_lake
from resources.lake import Lake
from resources.lake_names import MAIN


def begin_or_go_on(deployment: Deployment, arguments: argparse.Namespace) -> int:
    """Make what the experiment lacks, then run its Dagster until that is ended."""
    port = arguments.port or free_port()
    one, lake = experiment(deployment, arguments.name, port=port), _lake(deployment)
    with running(one):
        for sentence in begin(one, lake, deployment.spec_file):
            print(sentence)
        told = tell_dagster(one.dagster_home, one.deployment, lake)
        print(f"Its Dagster was told of {counted(told.reported, 'table')} in the lake.")
        if told.left_out:
            print(f"It was not told of {counted(told.left_out, 'older table')}: the UI calls them missing.")
        print(f"Its UI: {one.deployment.dagster_url}", flush=True)
        return serve(one, port)


def forget(deployment: Deployment, arguments: argparse.Namespace) -> int:
    """Drop the experiment and say what was removed."""
    for sentence in drop(experiment(deployment, arguments.name), _lake(deployment)):
        print(sentence)
    return 0


def show_changes(deployment: Deployment, arguments: argparse.Namespace) -> int:
    """Print what differs between the experiment and main, by table, and of one table by row."""
    lake = _lake(deployment)
    name = known(lake, arguments.name)
    left, then = cut(lake, name), f"{MAIN} then" if arguments.since_cut else f"{MAIN} now"
    base, head = left.commit if arguments.since_cut else lake.resolve(MAIN), lake.resolve(name)
    found = list(differences(lake, base, head, arguments.table))
    console = Console(highlight=False)
    console.print(str(left))
    if not found:
        console.print(f"No row differs from {then}.")
    elif not arguments.table:
        console.print(_as_table(summary(found), f"{name}, compared with {then}"))
    else:
        _show_rows(console, found, arguments)
    if files := "" if arguments.table else other_files(lake, base, head):
        console.print(files)
    return 0


def _lake(deployment: Deployment) -> Lake:
    if not lake_is_there(deployment):
        raise LookupError(f"There is no lake in {deployment.embedded_lake}.")
    return open_lake(deployment)


def _show_rows(console: Console, found: Sequence[Difference], arguments: argparse.Namespace) -> None:
    console.print(_as_table(summary(found), arguments.table))
    rows = pl.concat([one.located for one in found], how="diagonal_relaxed")
    console.print(_as_table(rows.head(arguments.rows)))
    if (more := rows.height - arguments.rows) > 0:
        console.print(f"{counted(more, 'more row')}: ROWS=100 shows more, OUT=rows.parquet writes all.")
    if arguments.out:
        rows.write_parquet(arguments.out)
        console.print(f"All {counted(rows.height, 'row')}: {arguments.out}", soft_wrap=True, markup=False)


def _as_table(rows: pl.DataFrame, title: str = "") -> Table:
    table = Table(*rows.columns, title=title or None)
    for row in rows.iter_rows():
        table.add_row(*(_cell(value) for value in row))
    return table


def _cell(value: object) -> Text:
    return Text("" if value is None else ", ".join(value) if isinstance(value, list) else str(value))
