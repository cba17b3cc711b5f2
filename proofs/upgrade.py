"""The code location is replaced while frames and label exports keep arriving: once asked to end, once killed.

A real daemon and a real code server as infra/team runs them, on PostgreSQL. The new version is a copy of the code whose
steps say another code version of themselves. Killed, the code server takes its runs with it.
"""

import os
import shutil
import signal
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, Final

import dagster as dg

from cv_assets.frames.schema import RawFrames
from cv_assets.labels.schema import Annotations
from demo.processes import Processes
from demo.server import HOST, free_port
from proofs.pictures import drop
from proofs.postgres_server import missing, postgres
from proofs.proof import Proof
from resources.deployments import ROOT
from resources.git_lake import GitLake
from resources.tables import Snapshot
from sensors.new_deliveries import FINISHED_BY

ASKED: Final = (
    "The code server is replaced by a new version, once by asking it to end and once by killing it with its runs, "
    "while frames and label exports keep arriving. Each is taken in exactly once, without a person."
)

CONFIGURATION: Final = ROOT / "infra" / "team" / "dagster.yaml"
_CODE: Final = ("cv_assets", "resources", "jobs", "sensors")
_PARTS: Final = 2
_LIMIT_SECONDS: Final = 190.0
_POLL_SECONDS: Final = "poll_interval_seconds: 30", "poll_interval_seconds: 3"
"""How often Dagster asks which runs still live: as the team's file has it, and so that the proof ends soon."""


@dataclass
class Plant:
    """A Dagster without a UI on the data in `folder`, whose code server can be replaced; it runs in a `with` block."""

    folder: Path
    postgres_url: str
    port: int = field(default_factory=free_port)
    code: subprocess.Popen[bytes] | None = None

    def __post_init__(self) -> None:
        self.home, self.data = self.folder / "home", self.folder / "data"
        for made in (self.home, self.data / "inbox", self.data / "exports"):
            made.mkdir(parents=True)
        configuration = CONFIGURATION.read_text("utf-8").replace(*_POLL_SECONDS)
        (self.home / "dagster.yaml").write_text(
            configuration.replace("/opt/dagster/logs", str(self.home / "logs"))
        )
        place = f"{{host: {HOST}, port: {self.port}, location_name: solar_cells}}"
        (self.home / "workspace.yaml").write_text(f"load_from:\n  - grpc_server: {place}\n")
        self.processes = Processes(self.home, self.folder / "pids.json")
        self.environment = {
            **os.environ,
            "CV_SPEC": str(shutil.copy(ROOT / "specs" / "solar_cells.yaml", self.folder / "spec.yaml")),
            "CV_DATA": str(self.data),
            "CV_LAKE": "",
            "LAKE_BRANCH": "main",
            "LAKEFS_ENDPOINT": "",
            "CV_NOTIFY": "",
            "DAGSTER_HOME": str(self.home),
            "DAGSTER_POSTGRES_URL": self.postgres_url,
        }

    def serve(self, code: Path) -> None:
        """Start the code server on the tree in `code`."""
        where = ("--host", HOST, "--port", str(self.port), "--location-name", "solar_cells")
        self._start("code", code, "dagster", "api", "grpc", *where, "--module-name", "cv_assets.definitions")
        self.code = self.processes.started[-1]

    def watch(self) -> None:
        """Start the daemon."""
        workspace = ("--workspace", str(self.home / "workspace.yaml"))
        self._start("daemon", ROOT, "dagster._daemon", "run", *workspace)

    def end_code(self, how: signal.Signals) -> int:
        """Ask the code server to end, or kill it with all of its runs; its exit status."""
        if self.code is None:
            raise RuntimeError("serve first")
        if how is signal.SIGKILL:
            os.killpg(self.code.pid, how)
        else:
            self.code.send_signal(how)
        status = self.code.wait(120)
        self.processes.started.remove(self.code)
        return status

    @contextmanager
    def instance(self) -> Iterator[dg.DagsterInstance]:
        """The Dagster itself."""
        os.environ["DAGSTER_POSTGRES_URL"] = self.postgres_url
        with dg.DagsterInstance.from_config(str(self.home)) as instance:
            yield instance

    def head(self) -> Snapshot:
        """What is published."""
        lake = GitLake(self.data / "lake")
        return Snapshot(lake, lake.resolve("main"))

    def _start(self, name: str, folder: Path, *command: str) -> None:
        log = self.home / f"{name}.log"
        variables = {**self.environment, "PYTHONPATH": str(folder)}
        self.processes.start((sys.executable, "-m", *command), log=log, cwd=folder, environment=variables)


def prove(deliveries: int = 3) -> Proof:
    """So many deliveries before, during and after each replacement."""
    if why := missing():
        return Proof(ASKED, None, why, {})
    with (
        TemporaryDirectory(prefix="proof-upgrade-", ignore_cleanup_errors=True) as name,
        postgres("dagster") as urls,
    ):
        plant = Plant(Path(name), urls["dagster"])
        try:
            figures = _tried(plant, deliveries)
        finally:
            plant.processes.stop()
    wrong = mistakes(figures)
    why = "Everything was taken in exactly once, partly by the old and partly by the new version."
    return Proof(ASKED, not wrong, " ".join(wrong) or why, figures)


def mistakes(figures: Mapping[str, Any]) -> list[str]:
    """What the figures say against the claim, each in a sentence."""
    found = {
        f"it was not over after {_LIMIT_SECONDS:g} s": not figures["over"],
        f"{figures['captures']} captures of {figures['files']} files": figures["captures"]
        != figures["files"],
        f"{figures['doubled']} captures are there twice": figures["doubled"],
        f"{figures['annotations']} statements of {figures['stated']}": figures["annotations"]
        != figures["stated"],
        f"{figures['outbox']} files in the outbox for {figures['deliveries']} deliveries": figures["outbox"]
        != figures["deliveries"],
        f"only {figures['versions']} code versions took part": figures["versions"] < 2,
        "no run was in flight when the code server was killed": not figures["killed"],
        f"runs wait for a person: {figures['waiting']}": figures["waiting"],
    }
    return [f"{sentence}." for sentence, holds in found.items() if holds]


def _tried(plant: Plant, deliveries: int) -> dict[str, Any]:
    with plant.instance() as instance:
        instance.get_runs_count()
    begun = time.monotonic()
    deadline = begun + _LIMIT_SECONDS
    plant.serve(ROOT)
    plant.watch()
    expected = _arrive(plant, "a", deliveries)
    _wait_for(lambda: _in_flight(plant) > 0, deadline)
    gently = plant.end_code(signal.SIGTERM)
    plant.serve(_new_version(plant.folder))
    expected += _arrive(plant, "b", deliveries)
    _wait_for(lambda: _in_flight(plant, "receive") > 0 and _publishes(plant, "b"), deadline)
    killed = _in_flight(plant)
    plant.end_code(signal.SIGKILL)
    plant.serve(plant.folder / "code")
    expected += _arrive(plant, "c", deliveries)
    over = _wait_for(lambda: _is_over(plant, 3 * deliveries, 6), deadline)
    figures = {
        "over": over,
        "seconds": round(time.monotonic() - begun),
        "asked to end, it said": gently,
        "killed": killed,
    }
    return {**figures, "files": 3 * deliveries * _PARTS, "stated": expected, **_measured(plant)}


def _arrive(plant: Plant, name: str, deliveries: int) -> int:
    """Frames of so many modules, and what two people say of one of them; the number of their statements."""
    for number in range(deliveries):
        names = drop(plant.data / "inbox", f"{name}{number:02}", _PARTS)
    for annotator in ("ann", "bob"):
        rows = [f"cvat,cells,{one},{annotator},sound,2026-03-02T10:00:00Z,1" for one in names]
        text = "\n".join(["tool,project,image,annotator,class,annotated_at,guideline", *rows])
        (plant.data / "exports" / f"{name}-{annotator}.csv").write_text(text + "\n")
    return 2 * len(names)


def _new_version(folder: Path) -> Path:
    """A tree of the code in which the steps of frames and labels have another code version."""
    code = folder / "code"
    for package in _CODE:
        shutil.copytree(ROOT / package, code / package, ignore=shutil.ignore_patterns("__pycache__"))
    shutil.copytree(ROOT / "specs", code / "specs")
    for step in ("frames", "labels"):
        with (code / "cv_assets" / step / "assets.py").open("a", encoding="utf-8") as module:
            module.write("\n# A new version.\n")
    return code


def _runs(plant: Plant) -> list[dg.DagsterRun]:
    with plant.instance() as instance:
        return list(instance.get_runs())


def _in_flight(plant: Plant, job: str = "") -> int:
    """How many runs are being worked on."""
    started = dg.DagsterRunStatus.STARTED
    return sum(run.status is started and job in ("", run.job_name) for run in _runs(plant))


def _publishes(plant: Plant, name: str) -> bool:
    """Whether something of the modules with that name is under way."""
    return any((plant.data / "deliveries").glob(f"*{name}0*.json"))


def _is_over(plant: Plant, deliveries: int, exports: int) -> bool:
    head = plant.head()
    done = len(head.partitions(FINISHED_BY)) >= deliveries and len(head.partitions("annotations")) >= exports
    put_away = not list((plant.data / "inbox").glob("*.png")) and not list(
        (plant.data / "exports").glob("*.csv")
    )
    return done and put_away and not any(not run.is_finished for run in _runs(plant))


def _wait_for(is_so: Callable[[], bool], deadline: float) -> bool:
    while not (found := is_so()) and time.monotonic() < deadline:
        time.sleep(0.3)
    return found


def _measured(plant: Plant) -> dict[str, Any]:
    head, runs = plant.head(), _runs(plant)
    captures = head.tables("raw_frames", or_empty=RawFrames)["capture_id"].to_list()
    versions = {
        commit.metadata.get("code_version")
        for commit in head.lake.log("main")
        if commit.metadata.get("asset") == "raw_frames"
    }
    return {
        "deliveries": len(head.partitions("raw_frames")),
        "captures": len(captures),
        "doubled": len(captures) - len(set(captures)),
        "annotations": head.tables("annotations", or_empty=Annotations).height,
        "outbox": len(list((plant.data / "outbox").glob("*.json"))),
        "versions": len(versions),
        "runs": dict(Counter(f"{run.job_name} {run.status.value.lower()}" for run in runs)),
        "tried again": sum("dagster/retry_number" in run.tags for run in runs),
        "waiting": sorted({run.job_name for run in _left(runs)}),
    }


def _left(runs: list[dg.DagsterRun]) -> Iterator[dg.DagsterRun]:
    """Runs of deliveries and exports that failed, and whose group holds none that ended well."""
    well = {run.root_run_id or run.run_id for run in runs if run.is_success}
    for run in runs:
        if (
            run.is_failure
            and (run.root_run_id or run.run_id) not in well
            and run.job_name in ("receive", "take_labels")
        ):
            yield run
