"""Two of everything by mistake: two daemons and two UIs on one DAGSTER_HOME, and two Dagsters on one data folder.

Dagster supports neither; somebody starts them all the same, and what the plant delivers must not suffer from it.
"""

import os
import shutil
import sys
import time
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, Final

import dagster as dg

from cv_assets.frames.schema import RawFrames
from cv_assets.labels.schema import Annotations
from demo.server import HOST, Location, Server, free_port, serving
from proofs.pictures import drop
from proofs.proof import Proof
from resources.deployments import ROOT
from resources.git_lake import GitLake
from resources.tables import Snapshot
from sensors.new_deliveries import FINISHED_BY

ASKED: Final = (
    "With two daemons and two UIs on one DAGSTER_HOME, and with two Dagsters on one data folder, every "
    "delivery and every export is taken in exactly once, and each run that failed says why in words."
)

_LOCATION: Final = Location("solar_cells", "cv_assets.definitions", ROOT)
_PARTS: Final = 2
_LIMIT_SECONDS: Final = 150.0
"""So long all of one mistake may take, once Dagster runs."""

_QUIET_SECONDS: Final = 12.0
"""So long nothing new may happen before it counts as over: two looks of each daemon."""


def prove(modules: int = 2) -> Proof:
    """So many modules and two exports, in each of the two mistakes."""
    figures = {"one home": _tried(one_home, modules), "two homes": _tried(two_homes, modules)}
    wrong = [f"{name}: {mistake}" for name, one in figures.items() for mistake in mistakes(one)]
    why = "Everything was taken in exactly once, and no run failed without a sentence."
    return Proof(ASKED, not wrong, " ".join(wrong) or why, figures)


def mistakes(figures: Mapping[str, Any]) -> list[str]:
    """What the figures of one mistake say against the claim, each in a sentence."""
    found = {
        f"it was not over after {_LIMIT_SECONDS:g} s": not figures["over"],
        f"{figures['captures']} captures of {figures['files']} files": figures["captures"]
        != figures["files"],
        f"{figures['doubled']} captures are there twice": figures["doubled"],
        f"{figures['unaccounted']} files are nowhere": figures["unaccounted"],
        f"{figures['annotations']} statements of {figures['stated']}": figures["annotations"]
        != figures["stated"],
        f"{figures['outbox']} files in the outbox for {figures['deliveries']} deliveries": figures["outbox"]
        != figures["deliveries"],
        f"runs failed without a sentence: {figures['unexplained']}": figures["unexplained"],
    }
    return [f"{sentence}." for sentence, holds in found.items() if holds]


@contextmanager
def one_home(folder: Path, environment: Mapping[str, str]) -> Iterator[list[Server]]:
    """One Dagster, to which somebody starts another daemon and another UI."""
    with serving(folder / "home", _LOCATION, _CONFIGURATION, folder / "pids.json", environment) as found:
        workspace = ("--workspace", str(found.home / "workspace.yaml"))
        port = str(free_port())
        variables = {**os.environ, **environment, "DAGSTER_URL": found.url}
        for name, command in {
            "daemon2": ("dagster._daemon", "run", *workspace),
            "webserver2": ("dagster_webserver", "--host", HOST, "--port", port, *workspace),
        }.items():
            found.processes.start(
                (sys.executable, "-m", *command),
                log=found.home / f"{name}.log",
                cwd=ROOT,
                environment=variables,
            )
        yield [found]


@contextmanager
def two_homes(folder: Path, environment: Mapping[str, str]) -> Iterator[list[Server]]:
    """Two Dagsters that know nothing of each other."""
    with ExitStack() as stack:
        yield [
            stack.enter_context(
                serving(folder / name, _LOCATION, _CONFIGURATION, folder / f"{name}.json", environment)
            )
            for name in ("home1", "home2")
        ]


_CONFIGURATION: Final = ROOT / "infra" / "dagster.yaml"


def _tried(mistake: Any, modules: int) -> dict[str, Any]:
    with TemporaryDirectory(prefix="proof-two-", ignore_cleanup_errors=True) as name:
        folder = Path(name)
        data = folder / "data"
        data.mkdir()
        environment = {
            "CV_DATA": str(data),
            "CV_SPEC": str(shutil.copy(ROOT / "specs" / "solar_cells.yaml", folder / "spec.yaml")),
            "LAKE_BRANCH": "main",
            "LAKEFS_ENDPOINT": "",
            "CV_NOTIFY": "",
        }
        with mistake(folder, environment) as servers:
            begun = time.monotonic()
            deadline = begun + _LIMIT_SECONDS
            stated = _deliver(data, modules, deadline)
            over = _wait(data, servers, modules, deadline)
            seconds = round(time.monotonic() - begun, 1)
            for one in servers:
                one.check()
            # While they still run: what is stopped with them did not fail.
            runs = [run for one in servers for run in _runs(one.home)]
        figures = _measured(data, modules, stated)
    return {"over": over, "waited": seconds, "stated": stated, **figures, **_told(runs)}


def _deliver(data: Path, modules: int, deadline: float) -> int:
    """Modules, one after the other, then what two people say of them, twice exported; the number of statements."""
    names = [name for module in range(modules) for name in drop(data / "inbox", f"m{module + 1:02}", _PARTS)]
    _wait_for(lambda: _finished(data) >= modules, deadline)
    (data / "exports").mkdir(exist_ok=True)
    for annotator in ("ann", "bob"):
        rows = [f"cvat,cells,{name},{annotator},sound,2026-03-02T10:00:00Z,1" for name in names]
        text = "\n".join(["tool,project,image,annotator,class,annotated_at,guideline", *rows])
        (data / "exports" / f"{annotator}.csv").write_text(text + "\n")
    return 2 * len(names)


def _wait(data: Path, servers: list[Server], modules: int, deadline: float) -> bool:
    """Whether all was taken in and put away, and everything quiet for a while."""
    if not _wait_for(lambda: _finished(data) >= modules and _put_away(data), deadline):
        return False
    time.sleep(_QUIET_SECONDS)
    return _wait_for(lambda: not any(_unfinished(one.home) for one in servers), deadline)


def _wait_for(is_so: Callable[[], bool], deadline: float) -> bool:
    """Whether it was so in time; asked once also after the time."""
    while not (found := is_so()) and time.monotonic() < deadline:
        time.sleep(0.5)
    return found


def _head(data: Path) -> Snapshot:
    lake = GitLake(data / "lake")
    return Snapshot(lake, lake.resolve("main"))


def _finished(data: Path) -> int:
    return len(_head(data).partitions(FINISHED_BY))


def _put_away(data: Path) -> bool:
    return not list((data / "inbox").glob("*.png")) and not list((data / "exports").glob("*.csv"))


def _unfinished(home: Path) -> int:
    return sum(not run.is_finished for run in _recorded(home))


def _recorded(home: Path) -> list[dg.DagsterRun]:
    with dg.DagsterInstance.from_config(str(home)) as instance:
        return list(instance.get_runs())


def _measured(data: Path, modules: int, stated: int) -> dict[str, Any]:
    head = _head(data)
    captures = head.tables("raw_frames", or_empty=RawFrames)["capture_id"].to_list()
    taken = list((data / "taken").rglob("*.png"))
    return {
        "files": modules * _PARTS,
        "deliveries": len(head.partitions("raw_frames")),
        "captures": len(captures),
        "doubled": len(captures) - len(set(captures)),
        "unaccounted": modules * _PARTS - len(taken),
        "outbox": len(list((data / "outbox").glob("*.json"))),
        "exports": len(head.partitions("annotations")),
        "annotations": head.tables("annotations", or_empty=Annotations).height if stated else 0,
        "publications": len(list(head.lake.log(head.commit))),
    }


def _runs(home: Path) -> list[tuple[str, str, str]]:
    """Job, status and what the run's failure says."""
    with dg.DagsterInstance.from_config(str(home)) as instance:
        return [(run.job_name, run.status.value, _failure(instance, run)) for run in instance.get_runs()]


def _failure(instance: dg.DagsterInstance, run: dg.DagsterRun) -> str:
    if run.status is not dg.DagsterRunStatus.FAILURE:
        return ""
    events = [one.dagster_event for one in instance.all_logs(run.run_id) if one.dagster_event]
    said = [event.step_failure_data.error for event in events if event.is_step_failure]
    steps = [f"{one.cls_name}: {one.message.strip()[:400]}" for one in said if one]
    ends = [str(event.message) for event in events if event.event_type_value == "PIPELINE_FAILURE"]
    return " | ".join(steps or ends)


def _told(runs: list[tuple[str, str, str]]) -> dict[str, Any]:
    failed = [f"{job}: {words}" for job, status, words in runs if status == "FAILURE"]
    return {
        "runs": dict(Counter(f"{job} {status.lower()}" for job, status, _ in runs)),
        "failures": failed,
        "unexplained": [one for one in failed if ": Failure: " not in one],
    }
