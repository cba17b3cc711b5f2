"""The care of the lake by hand, and experiments on it.

The lake is the one of the environment: CV_DATA and CV_LAKE, or LAKEFS_ENDPOINT; LAKE_BRANCH is its data branch.
"""

import argparse
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, Final

from cv_assets.upkeep import experimenting
from resources.deployments import (
    Deployment,
    current,
    dagster_place,
    existing_lake,
    lake_errors_in_words,
    open_lake,
)
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

    found = verification.verify(existing_lake(deployment), arguments.ref)
    for problem in found.problems.iter_rows(named=True):
        print(verification.told(problem))
    print(verification.in_words(found))
    return 0 if found.problems.is_empty() else 1


def backup(deployment: Deployment, arguments: argparse.Namespace) -> int:
    """Copy Dagster's storage, the spec, what is remembered of deliveries and the embedded lake, while all goes on."""
    from cv_assets.upkeep import backup
    from resources.dagster_storage import DagsterStorage

    storage = DagsterStorage(*dagster_place())
    return 0 if backup.back_up(deployment, storage, arguments.folder, print) else 1


def restore(deployment: Deployment, arguments: argparse.Namespace) -> int:
    """Bring a backup back where there is no lake and no Dagster storage yet, and make the two agree."""
    from cv_assets.upkeep import backup
    from resources.dagster_storage import DagsterStorage

    storage = DagsterStorage(*dagster_place())
    return 0 if backup.restore(deployment, storage, arguments.folder, print) else 1


def settle(deployment: Deployment, _: argparse.Namespace) -> int:
    """Make Dagster's runs and the plant's folders agree with a lake that was brought back; before the daemon starts."""
    from cv_assets.upkeep import backup
    from resources.dagster_storage import DagsterStorage

    return 0 if backup.take_up(deployment, DagsterStorage(*dagster_place()), print) else 1


Command = Callable[[Deployment, argparse.Namespace], int]

COMMANDS: Final[dict[str, Command]] = {
    "init": init,
    "move": move,
    "verify": verify,
    "backup": backup,
    "restore": restore,
    "settle": settle,
    "experiment": experimenting.experiment,
    "diff": experimenting.diff,
    "drop": experimenting.drop,
}
"""By name; each gives the exit status. The first line of its docstring is its help."""


def _row_count(given: str) -> int:
    if (rows := int(given)) < 0:
        raise argparse.ArgumentTypeError(f"a number of rows is 0 or more, got {rows}")
    return rows


_EXPERIMENT: Final = {"name": {"help": "the experiment, whose data branch has its name"}}

_FORCE: Final = {"--force": {"action": "store_true", "help": "even if the data branch was made elsewhere"}}

_FOLDER: Final = {"folder": {"type": Path, "help": "the backup; better on another machine's disk"}}

OPTIONS: Final[dict[str, dict[str, dict[str, Any]]]] = {
    "verify": {
        "--ref": {
            "default": "",
            "help": "only this branch, tag or commit; else all that any of them reaches",
        },
    },
    "backup": _FOLDER,
    "restore": _FOLDER,
    "experiment": {
        **_EXPERIMENT,
        **_FORCE,
        "--port": {"type": int, "default": 0, "help": "of its UI; else the first free one from 3001 on"},
    },
    "diff": {
        **_EXPERIMENT,
        "--table": {"default": "", "help": "one asset's table, row by row"},
        "--since-cut": {"action": "store_true", "help": "compare with main as it was then, not as it is"},
        "--rows": {"type": _row_count, "default": 20, "help": "how many rows of the table are shown"},
        "--out": {"type": Path, "help": "write all rows of --table that changed to this Parquet file"},
    },
    "drop": {**_EXPERIMENT, **_FORCE},
}
"""By command and by name, as argparse takes them."""


def main(given: Sequence[str] | None = None, deployment: Deployment | None = None) -> int:
    """Run one command; 1 with a sentence on stderr when it cannot be done."""
    arguments = _parser().parse_args(given)
    try:
        with lake_errors_in_words():
            return COMMANDS[arguments.command](deployment or current(), arguments)
    except (LakeError, LookupError, OSError, ValueError) as error:
        print(error.args[0] if len(error.args) == 1 else error, file=sys.stderr)
        return 1


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="lake", description=__doc__)
    commands = parser.add_subparsers(dest="command", required=True, metavar="command")
    for name, command in COMMANDS.items():
        what = (command.__doc__ or "").splitlines()[0]
        parser_of = commands.add_parser(name, help=what, description=what)
        for option, how in OPTIONS.get(name, {}).items():
            parser_of.add_argument(option, **how)
    return parser


if __name__ == "__main__":
    sys.exit(main())
