"""Check specs before anything is started: python -m cv_assets.spec specs/mine.yaml [specs/other.yaml …]."""

import argparse
import os
import sys
from collections.abc import Iterator, Sequence
from itertools import combinations
from pathlib import Path

from cv_assets.spec.acquisition import overlap
from cv_assets.spec.load import SpecError, digest, load_spec
from cv_assets.spec.schema import Spec
from resources.deployments import data_folder, data_of_an_earlier_version, for_one_project
from resources.workspaces import write_workspace


def main(given: Sequence[str] | None = None) -> int:
    """Check each spec, then write the workspace that shows them side by side; 1 when something is wrong."""
    arguments = _parser().parse_args(given)
    specs, mistakes = _loaded(arguments.specs)
    mistakes = mistakes or _why_not_together(specs) or list(_shared_folders(specs))
    if arguments.workspace and not mistakes:
        mistakes = list(filter(None, (data_of_an_earlier_version(spec.name) for spec in specs.values())))
    for mistake in mistakes:
        print(mistake, file=sys.stderr)
    if not mistakes and arguments.workspace:
        write_workspace(arguments.workspace, {spec.name: path for path, spec in specs.items()})
        for spec in specs.values():
            print(_where(spec))
    return 1 if mistakes else 0


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m cv_assets.spec", description=__doc__)
    parser.add_argument("specs", nargs="+", type=Path)
    parser.add_argument("--workspace", type=Path, help="write a workspace of Dagster into this folder")
    return parser


def _loaded(paths: Sequence[Path]) -> tuple[dict[Path, Spec], list[str]]:
    specs, mistakes = {}, []
    for path in paths:
        try:
            specs[path] = spec = load_spec(path)
        except SpecError as error:
            mistakes.append(str(error))
            continue
        print(f"{path} is valid: {spec.name}, {len(spec.training.models)} models, version {digest(spec)}.")
    return specs, mistakes


def _where(spec: Spec) -> str:
    folder = data_folder(spec.name)
    frames, labels = (os.path.normpath(folder / one) for one in (spec.acquisition.inbox, spec.labels.exports))
    return f"{spec.name}: frames go into {frames}, label exports into {labels}."


def _why_not_together(specs: dict[Path, Spec]) -> list[str]:
    """What several projects in one Dagster would share and must not."""
    named: dict[str, Path] = {}
    twice = [
        f"{path} and {other} are both named {spec.name}: give one of them another `name`."
        for path, spec in specs.items()
        if (other := named.setdefault(spec.name, path)) != path
    ]
    shared = for_one_project() if len(specs) > 1 else []
    return twice + [f"{variable} is for one project: unset it to show several." for variable in shared]


def _shared_folders(specs: dict[Path, Spec]) -> Iterator[str]:
    """The folders that two projects would both work in: the frames, exports or worklists of one are the other's."""
    for one, other in combinations(specs.values(), 2):
        for name, folder in _folders(one).items():
            for taken, elsewhere in _folders(other).items():
                if overlap(str(folder), str(elsewhere)):
                    yield (
                        f"{one.name}'s {name} is {folder}, {other.name}'s {taken} is {elsewhere}: give each project "
                        "folders that neither hold nor lie in the other's."
                    )
                    break


def _folders(spec: Spec) -> dict[str, Path]:
    """Where each folder of a project is, by what a message calls it."""
    data = data_folder(spec.name)
    inbox = (data / spec.acquisition.inbox).resolve()
    named = {
        "`labels.exports`": spec.labels.exports,
        "`inspection.outbox`": spec.inspection.outbox,
        "`review.folder`": spec.review.folder,
    }
    return {
        "data folder": data,
        "`acquisition.inbox`": inbox,
        "`taken` beside the inbox": inbox.parent / "taken",
        **{name: (data / folder).resolve() for name, folder in named.items()},
    }


if __name__ == "__main__":
    sys.exit(main())
