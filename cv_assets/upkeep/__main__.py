"""The care of the lake by hand: `.venv/bin/lake init`, and what `.venv/bin/lake --help` lists beside it.

It looks after the lake of the environment: CV_DATA, LAKE_BRANCH, LAKEFS_ENDPOINT (docs/operations.md).
"""

import argparse
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, Final

from resources.deployments import Deployment, current, open_lake
from resources.lake import LakeError


def init(deployment: Deployment, _: argparse.Namespace) -> int:
    """Make the lake where it is missing, and lock its main branch; again changes nothing."""
    for sentence in open_lake(deployment).init() or ["Nothing was to be done."]:
        print(sentence)
    return 0


def move(deployment: Deployment, arguments: argparse.Namespace) -> int:
    """Move the embedded lake of the data folder to the lakeFS of the environment; again brings what is new since."""
    from cv_assets.upkeep import moving

    print(moving.move(moving.embedded(deployment), moving.server(deployment), print))
    return init(deployment, arguments)


def verify(deployment: Deployment, arguments: argparse.Namespace) -> int:
    """Read every stored byte anew and follow every row that names an object; 1 when something is wrong."""
    from cv_assets.upkeep import verification

    lake = open_lake(deployment)
    first = lake.resolve(arguments.ref or deployment.branch)
    found = verification.verify(lake, verification.refs_of(lake, first) if arguments.all else [first])
    for problem in found.problems.iter_rows(named=True):
        print(verification.told(problem))
    print(verification.in_words(found))
    return 0 if found.problems.is_empty() else 1


def experiment(deployment: Deployment, arguments: argparse.Namespace) -> int:
    """Begin an experiment on a data branch of its own, or go on with it, in a Dagster of its own."""
    from cv_assets.upkeep import experimenting

    return experimenting.begin_or_go_on(deployment, arguments)


def diff(deployment: Deployment, arguments: argparse.Namespace) -> int:
    """Say what an experiment changed against main: rows by key, table by table."""
    from cv_assets.upkeep import experimenting

    return experimenting.show_changes(deployment, arguments)


def drop(deployment: Deployment, arguments: argparse.Namespace) -> int:
    """Remove an experiment: its data branch, the branches and tags that serve it, and its folder."""
    from cv_assets.upkeep import experimenting

    return experimenting.forget(deployment, arguments)


Command = Callable[[Deployment, argparse.Namespace], int]

COMMANDS: Final[dict[str, Command]] = {
    "init": init,
    "move": move,
    "verify": verify,
    "experiment": experiment,
    "diff": diff,
    "drop": drop,
}
"""By name; each gives the exit status. The first line of its docstring is its help."""

_EXPERIMENT: Final = {"name": {"help": "the experiment, whose data branch has its name"}}

OPTIONS: Final[dict[str, dict[str, dict[str, Any]]]] = {
    "verify": {
        "--ref": {"default": "", "help": "a branch, tag or commit; else the data branch"},
        "--all": {"action": "store_true", "help": "every other branch and tag, too"},
    },
    "experiment": {
        **_EXPERIMENT,
        "--port": {"type": int, "default": 0, "help": "of its UI; else the first free one from 3001 on"},
    },
    "diff": {
        **_EXPERIMENT,
        "--table": {"default": "", "help": "one asset's table, row by row"},
        "--since-cut": {"action": "store_true", "help": "compare with main as it was then, not as it is"},
        "--rows": {"type": int, "default": 20, "help": "how many rows of the table are shown"},
        "--out": {"type": Path, "help": "write all rows of the table that changed to this Parquet file"},
    },
    "drop": _EXPERIMENT,
}
"""By command and by name, as argparse takes them."""


def main(given: Sequence[str] | None = None, deployment: Deployment | None = None) -> int:
    """Run one command; 1 with a sentence on stderr when it cannot be done."""
    arguments = _parser().parse_args(given)
    try:
        return COMMANDS[arguments.command](deployment or current(), arguments)
    except (LakeError, LookupError, OSError, ValueError) as error:
        print(error.args[0] if len(error.args) == 1 else error, file=sys.stderr)
        return 1


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="lake", description=__doc__)
    commands = parser.add_subparsers(dest="command", required=True, metavar="command")
    for name, command in COMMANDS.items():
        parser_of = commands.add_parser(name, help=(command.__doc__ or "").splitlines()[0])
        for option, how in OPTIONS.get(name, {}).items():
            parser_of.add_argument(option, **how)
    return parser


if __name__ == "__main__":
    sys.exit(main())
