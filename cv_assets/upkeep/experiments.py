"""Experiments: deployments of their own, each on a data branch that was cut from main.

The branch shares every stored byte with main and writes to itself alone. Dagster's storage, inbox, exports, outbox and
manifests are in the experiment's own folder, so that nothing of the production is touched or taken.
"""

import fcntl
import os
import shutil
import signal
import socket
import subprocess
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Final

from cv_assets.release.schema import Releases
from cv_assets.spec.load import load_spec
from cv_assets.upkeep.branches import cut
from cv_assets.words import counted, listed, sentence
from resources.deployments import ROOT, Deployment, environment, lake_place
from resources.lake import Lake, LakeError
from resources.lake_names import MAIN, check_branch
from resources.tables import KINDS, Snapshot, candidate_branch, served
from resources.workspaces import write_workspace

HOME: Final = ROOT / ".experiments"

LONGEST_NAME: Final = 60
"""In letters: the names of its work, candidate and refused branches begin with it and are bounded too."""

_HOST: Final = "127.0.0.1"
_PORTS: Final = range(3001, 3100)
"""From 3001 on: on 3000 is the production's."""


@dataclass(frozen=True)
class Experiment:
    """One experiment: its folder, and itself as a deployment."""

    folder: Path
    deployment: Deployment

    @property
    def name(self) -> str:
        """Of the experiment and of its data branch."""
        return self.deployment.branch

    @property
    def dagster_home(self) -> Path:
        """Dagster's own storage: its runs, schedules and sensors are known nowhere else."""
        return self.folder / "dagster"

    @property
    def is_ours(self) -> bool:
        """Whether it was begun here, and not elsewhere on a lake that others use too."""
        return self._of_lake.exists()

    @property
    def _of_lake(self) -> Path:
        return self.folder / "lake.txt"

    @property
    def _dropping(self) -> Path:
        """There from the first moment of a drop on."""
        return self.folder / "dropping"

    @property
    def _lock(self) -> Path:
        """Locked while the experiment runs or is dropped; holds the process's number."""
        return self.folder / "running.lock"


def name_mistake(name: str) -> str:
    """Why `name` cannot be an experiment's, in a sentence; empty when it can."""
    if not name:
        return "Name the experiment, for example my-idea."
    try:
        check_branch(name)
    except ValueError as error:
        return sentence(str(error))
    if len(name) > LONGEST_NAME:
        return f"The name of an experiment has at most {LONGEST_NAME} letters, got {len(name)}: choose a shorter one."
    if name.casefold() == MAIN:
        return f"{MAIN} is the production's branch: choose another name for an experiment."
    if words := [word for word in name.casefold().split("-") if word in KINDS]:
        return f"The word {words[0]!r} in {name!r} marks branches of another kind: choose another name."
    return ""


def known(lake: Lake, name: str) -> str:
    """The name of an experiment on this lake. Raises ValueError for a bad name, LookupError for an unknown one."""
    if mistake := name_mistake(name):
        raise ValueError(mistake)
    if name not in lake.branches(name):
        raise LookupError(f"There is no experiment {name} on this lake.")
    return name


def experiment(production: Deployment, name: str, *, home: Path = HOME, port: int = 0) -> Experiment:
    """The experiment of that name beside `production`. Raises ValueError for a bad name."""
    if mistake := name_mistake(name):
        raise ValueError(mistake)
    folder = home / name
    deployment = replace(
        production,
        spec_file=folder / "spec.yaml",
        data_dir=folder / "data",
        branch=name,
        dagster_url=f"http://{_HOST}:{port}" if port else production.dagster_url,
        # People were promised news of the production.
        notify="",
        lake_dir=production.embedded_lake,
    )
    return Experiment(folder, deployment)


def begin(one: Experiment, lake: Lake, spec_file: Path, *, force: bool = False) -> list[str]:
    """Make what the experiment lacks, and say where it stands; again changes nothing.

    It takes a copy of `spec_file` and of main's open candidates, each a branch of its own. Raises SpecError, LakeError
    when the folder is of an experiment on another lake or of one whose drop was cut off, or, without `force`, when the
    data branch is there and was not made here; RefExistsError when the name is a tag's.
    """
    if one._dropping.exists():
        raise LakeError(f"The drop of experiment {one.name} was cut off: drop it again first.")
    is_new = one.name not in lake.branches(one.name)
    if not is_new:
        _refuse_foreign(one, force=force)
    spec = load_spec(one.deployment.spec_file if one.deployment.spec_file.exists() else spec_file)
    _claim(one)
    if not one.deployment.spec_file.exists():
        shutil.copyfile(spec_file, one.deployment.spec_file)
    one.dagster_home.mkdir(exist_ok=True)
    shutil.copyfile(ROOT / "infra" / "dagster.yaml", one.dagster_home / "dagster.yaml")
    folders = [one.deployment.folder(name) for name in (spec.acquisition.inbox, spec.labels.exports)]
    for folder in folders:
        folder.mkdir(parents=True, exist_ok=True)
    if is_new:
        _cut_branches(one, lake)
    return [
        f"Experiment {one.name} {'begins' if is_new else 'goes on'}. {cut(lake, one.name)}",
        f"Its spec is {one.deployment.spec_file}, a copy of its own: edit it there.",
        f"Frames come from {folders[0]}, label exports from {folders[1]}.",
    ]


def _refuse_foreign(one: Experiment, *, force: bool) -> None:
    """Raises LakeError for a data branch that was not made here, unless `force`."""
    if not one.is_ours and not force:
        raise LakeError(
            f"The branch {one.name} on this lake is no experiment that was begun in {one.folder.parent}: choose "
            "another name, or insist with --force."
        )


def _claim(one: Experiment) -> None:
    """Note the lake in the experiment's folder. Raises LakeError when another one is noted."""
    place = lake_place(one.deployment)
    one.folder.mkdir(parents=True, exist_ok=True)
    if not one._of_lake.exists():
        one._of_lake.write_text(place)
    if (noted := one._of_lake.read_text()) != place:
        raise LakeError(
            f"{one.folder} is an experiment on the lake {noted}, this is {place}: drop it there, or choose another "
            "name."
        )


def _cut_branches(one: Experiment, lake: Lake) -> None:
    """The data branch comes last: it says that the others are there."""
    head = Snapshot(lake, lake.resolve(MAIN))
    concluded = set(head.table("releases", or_empty=Releases)["candidate"])
    for key in head.partitions("training_request"):
        theirs = lake.branches().get(candidate_branch(MAIN, key))
        mine = candidate_branch(one.name, key)
        if theirs and key not in concluded and mine not in lake.branches():
            lake.create_branch(mine, theirs)
    lake.create_branch(one.name, head.commit)


@contextmanager
def running(one: Experiment) -> Iterator[int]:
    """While the experiment is started, runs or is dropped. Raises LakeError when it is already.

    It gives the file descriptor of the lock: a process that inherits it holds the lock as long as it lives.
    """
    one.folder.mkdir(parents=True, exist_ok=True)
    with one._lock.open("a") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise LakeError(
                f"Experiment {one.name} is running: end its Dagster first, process {one._lock.read_text()}, with "
                "Ctrl-C or kill."
            ) from None
        one._lock.write_text(str(os.getpid()))
        # Closing frees the lock once no process has it; unlocking would take it from all.
        yield lock.fileno()


def serve(one: Experiment, port: int, lock: int) -> int:
    """Run Dagster on the experiment until it is ended; its exit status. It holds the `lock`, too."""
    workspace = write_workspace(one.dagster_home, {one.deployment.project: one.deployment.spec_file})
    dagster = (sys.executable, "-m", "dagster", "dev", "-w", str(workspace))
    process = started(one, (*dagster, "--host", _HOST, "--port", str(port)), lock)
    # Ctrl-C reaches Dagster from the terminal; what would end this process alone is passed on.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    signal.signal(signal.SIGTERM, lambda *_: process.terminate())
    return process.wait()


def started(one: Experiment, command: Sequence[str], lock: int) -> subprocess.Popen[bytes]:
    """A process on the experiment, which holds the `lock` of `running` even when this one is killed."""
    variables = {**environment(one.deployment), "DAGSTER_HOME": str(one.dagster_home)}
    process = subprocess.Popen(command, cwd=ROOT, env=variables, pass_fds=[lock])
    one._lock.write_text(str(process.pid))
    return process


def free_port() -> int:
    """The first port for a UI where nobody listens. Raises OSError when all are taken."""
    for port in _PORTS:
        with socket.socket() as probe:
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            if probe.connect_ex((_HOST, port)):
                return port
    raise OSError(f"all ports from {_PORTS.start} to {_PORTS.stop - 1} are taken: name another with --port")


def refs(lake: Lake, name: str) -> tuple[list[str], list[str]]:
    """The branches and the tags of the experiment, its data branch last. Raises ValueError for a bad name."""
    if mistake := name_mistake(name):
        raise ValueError(mistake)
    branches = [ref for ref in lake.branches(f"{name}-") if _is_of(ref, name)]
    tags = [ref for ref in lake.tags(f"{name}-") if _is_of(ref, name)]
    return [*branches, *([name] if name in lake.branches(name) else [])], tags


def _is_of(ref: str, name: str) -> bool:
    serves = served(ref)
    return serves is not None and serves.data_branch == name


def drop(one: Experiment, lake: Lake, *, force: bool = False) -> list[str]:
    """Forget the experiment's branches and tags and remove its folder; says what was removed, again changes nothing.

    One that was cut off is finished by the next. Raises LakeError while the experiment is running, when the folder is
    of an experiment on another lake, or, without `force`, when it was not begun here.
    """
    shutil.rmtree(_aside(one), ignore_errors=True)
    there = any(refs(lake, one.name))
    if not one.folder.exists() and not there:
        return [f"There is no experiment {one.name}: nothing was to be removed."]
    if there:
        _refuse_foreign(one, force=force)
    with running(one):
        _claim(one)
        one._dropping.touch()
        branches, tags = _forget(lake, one.name)
        # In one step, so that no part of the folder is taken for an experiment's.
        shutil.rmtree(one.folder.rename(_aside(one)))
    told = [f"Removed {told}: {listed(names)}." for told, names in _counted(branches, tags)]
    return [
        *told,
        f"Removed {os.path.relpath(one.folder)}.",
        "What was published there stays in the lake's commits until these are collected; main is as it was.",
    ]


def _aside(one: Experiment) -> Path:
    return one.folder.with_name(f".dropped-{one.name}")


def _forget(lake: Lake, name: str) -> tuple[list[str], list[str]]:
    branches, tags = refs(lake, name)
    for tag in tags:
        lake.delete_tag(tag)
    for branch in branches:
        lake.delete_branch(branch)
    return branches, tags


def _counted(branches: list[str], tags: list[str]) -> Iterator[tuple[str, list[str]]]:
    if branches:
        yield counted(len(branches), "branch", "branches"), branches
    if tags:
        yield counted(len(tags), "tag"), tags
