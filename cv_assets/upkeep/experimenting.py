"""The commands for experiments: begin one or go on with it, say what it changed, drop it."""

import argparse
from collections.abc import Sequence

import polars as pl
from rich.console import Console
from rich.table import Table
from rich.text import Text

from cv_assets.upkeep import experiments
from cv_assets.upkeep.branches import cut, differences, has_table, other_files, summary
from cv_assets.upkeep.changes import SAID, Difference
from cv_assets.words import counted
from resources.catalogue import tell_dagster
from resources.deployments import Deployment, existing_lake
from resources.lake_names import MAIN


def experiment(deployment: Deployment, arguments: argparse.Namespace) -> int:
    """Begin an experiment on a data branch of its own, or go on with it, in a Dagster of its own."""
    port = arguments.port or experiments.free_port()
    one, lake = experiments.experiment(deployment, arguments.name, port=port), existing_lake(deployment)
    with experiments.running(one) as lock:
        for sentence in experiments.begin(one, lake, deployment.spec_file, force=arguments.force):
            print(sentence)
        told = tell_dagster(one.dagster_home, one.deployment, lake)
        print(f"Its Dagster was told of {counted(told.reported, 'table')} in the lake.")
        if told.left_out:
            print(f"It was not told of {counted(told.left_out, 'older table')}: the UI calls them missing.")
        print(f"Its UI: {one.deployment.dagster_url}", flush=True)
        return experiments.serve(one, port, lock)


def drop(deployment: Deployment, arguments: argparse.Namespace) -> int:
    """Remove an experiment: its data branch, the branches and tags that serve it, and its folder."""
    one = experiments.experiment(deployment, arguments.name)
    for sentence in experiments.drop(one, existing_lake(deployment), force=arguments.force):
        print(sentence)
    return 0


def diff(deployment: Deployment, arguments: argparse.Namespace) -> int:
    """Say what an experiment changed against main: rows by key, table by table."""
    if arguments.out and not arguments.table:
        raise ValueError("--out writes the rows of one table: name it with --table.")
    lake = existing_lake(deployment)
    name = experiments.known(lake, arguments.name)
    left, head = cut(lake, name), lake.resolve(name)
    base = left.commit if arguments.since_cut else lake.resolve(MAIN)
    if arguments.table and not has_table(lake, (base, head), arguments.table):
        raise LookupError(
            f"There is no table {arguments.table}: without --table, all that differ are listed."
        )
    found = list(differences(lake, base, head, arguments.table))
    console = Console(highlight=False)
    console.print(str(left))
    _show_tables(console, found, f"{MAIN} then" if arguments.since_cut else f"{MAIN} now")
    if arguments.table:
        _show_rows(console, found, arguments)
    elif files := other_files(lake, base, head):
        console.print(files)
    return 0


def _show_tables(console: Console, found: Sequence[Difference], base: str) -> None:
    told = _as_table(summary(found), f"compared with {base}") if found else f"No row differs from {base}."
    console.print(told)


def _show_rows(console: Console, found: Sequence[Difference], arguments: argparse.Namespace) -> None:
    nothing = pl.DataFrame(schema=SAID)
    rows = pl.concat([one.located for one in found], how="diagonal_relaxed") if found else nothing
    if shown := min(rows.height, arguments.rows):
        console.print(_as_table(rows.head(shown)))
    if more := rows.height - shown:
        console.print(f"{counted(more, 'more row')}: --rows 100 shows more, --out rows.parquet writes all.")
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
