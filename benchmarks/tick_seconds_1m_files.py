"""A tick of `new_deliveries` in a plant that took in a million files, while ten thousand more wait in the inbox.

Taken are real files below `taken/`, the manifests and receipts of a thousand deliveries, their tables in an embedded
lake and their runs in Dagster's storage, on disk. The ticks are the whole way of the waiting files: seen first, closed
and requested, under way, put away. `rebuilt` is the tick that finds the memory of the last look gone.
"""

import json
import os
import time
import uuid
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from functools import cached_property
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, Final

import dagster as dg  # noqa: TID251  (what is measured is a sensor)

from benchmarks.figure import Figure
from cv_assets.frames.assets import inbox, receipt_path
from cv_assets.frames.deliveries import Manifest, Receipt
from cv_assets.frames.files import identity_of
from cv_assets.frames.inbox import Inbox
from cv_assets.spec.acquisition import Acquisition
from cv_assets.spec.load import load_spec, to_table
from resources.deployments import ROOT, Deployment
from resources.git_lake import GitLake
from resources.partitions import OURS, deliveries
from resources.tables import Tables, parquet, table_path
from sensors.new_deliveries import TABLES, new_deliveries

TAKEN: Final = 1_000_000
WAITING: Final = 10_000
DELIVERIES: Final = 1000
GROUP: Final = 100
"""Files of each delivery that waits."""

LOOKS: Final = 2
"""Files settle over so many looks; then nothing may wait for another one."""

_SHA256: Final = "0" * 64


def measure() -> Figure:
    """The slowest of the four ticks, in seconds; the tick after a lost memory is told beside it."""
    with (
        TemporaryDirectory(prefix="bench-tick-") as folder,
        dg.DagsterInstance.local_temp(folder) as instance,
    ):
        plant = _Plant.made(Path(folder), instance)
        plant.take(TAKEN)
        seconds = plant.ticks()
    told = ", ".join(f"{name} {value:.2f}" for name, value in seconds.items())
    slowest = max(value for name, value in seconds.items() if name != "rebuilt")
    return Figure(slowest, f"s ({told})", f"{TAKEN:,} files taken, {WAITING:,} waiting", "<= 1")


@dataclass(frozen=True)
class _Plant:
    deployment: Deployment
    tables: Tables
    instance: dg.DagsterInstance

    @staticmethod
    def made(folder: Path, instance: dg.DagsterInstance) -> "_Plant":
        """A plant whose spec is in force."""
        deployment = Deployment(
            ROOT / "specs" / "solar_cells.yaml", folder / "data", "main", "http://127.0.0.1:3000"
        )
        tables = Tables(deployment, GitLake(folder / "lake"))
        plant = _Plant(deployment, tables, instance)
        plant.publish({table_path("project_spec"): parquet(to_table(load_spec(deployment.spec_file)))})
        plant.box.folder.mkdir(parents=True)
        plant.box.state.mkdir()
        return plant

    @property
    def acquisition(self) -> Acquisition:
        return load_spec(self.deployment.spec_file).acquisition

    @cached_property
    def box(self) -> Inbox:
        return inbox(self.deployment, self.acquisition)

    def publish(self, files: dict[str, bytes]) -> None:
        lake = self.tables.lake
        lake.create_branch("by-hand", lake.resolve("main"))
        lake.merge(lake.commit("by-hand", files, "by hand", {}), "main", "by hand", {})
        lake.delete_branch("by-hand")

    def take(self, files: int) -> None:
        """So many files in `taken/`, with the manifests, tables and runs of their deliveries."""
        keys = [f"line1-m{number}-{number:06}" for number in range(DELIVERIES)]
        for number, key in enumerate(keys):
            names = [_name(number, part, files // DELIVERIES) for part in range(files // DELIVERIES)]
            self._fill(self.box.taken / key, names)
            self._note(key, names)
            self.instance.add_run(_run(key))
        self.publish({table_path(table, key): b"" for key in keys for table in TABLES})
        self.instance.add_dynamic_partitions(str(deliveries.name), keys)

    def drop(self, files: int) -> None:
        """So many files in the inbox, in groups."""
        for group in range(files // GROUP):
            self._fill(self.box.folder, [_name(DELIVERIES + group, part, GROUP) for part in range(GROUP)])

    def ticks(self) -> dict[str, float]:
        """Seconds of each kind of tick. Raises RuntimeError when a file waits longer than it has to settle."""
        seconds = {"rebuilt": self._tick()}
        self.drop(WAITING)
        seconds |= {"seen": self._tick(), "closed": self._tick()}
        under_way = self.box.under_way()
        waiting = WAITING - sum(len(manifest.files) for manifest in under_way)
        if waiting:
            raise RuntimeError(f"{waiting} files wait after {LOOKS} looks")
        seconds["under way"] = self._tick()
        # So many can be published between two looks.
        self._finish(under_way[: self.acquisition.runs_at_once])
        return {**seconds, "put away": self._tick()}

    def _tick(self) -> float:
        context = dg.build_sensor_context(
            instance=self.instance, resources={"tables": self.tables, "deployment": self.deployment}
        )
        start = time.perf_counter()
        said = new_deliveries(context)
        seconds = time.perf_counter() - start
        for request in said.run_requests or [] if isinstance(said, dg.SensorResult) else []:
            self.instance.add_run(_run(str(request.partition_key)))
        return seconds

    def _finish(self, manifests: list[Manifest]) -> None:
        """What the runs of these deliveries publish."""
        receipts = {receipt_path(one.key): _receipts(list(one.files)) for one in manifests}
        published = {table_path(table, one.key): b"" for one in manifests for table in TABLES}
        self.publish({**published, **{path: json.dumps(found).encode() for path, found in receipts.items()}})

    def _fill(self, folder: Path, names: list[str]) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        for name in names:
            os.close(os.open(folder / name, os.O_CREAT | os.O_WRONLY))

    def _note(self, key: str, names: list[str]) -> None:
        found = {name: identity_of(self.box.taken / key / name) for name in names}
        files = {name: identity._asdict() for name, identity in found.items() if identity}
        manifest = Manifest(key, "line1", key, "complete", datetime.now(UTC).isoformat(), {})
        values: dict[str, Any] = {**asdict(manifest), "files": files, "receipts": _receipts(names)}
        received = self.box.state / "received" / f"{key}.json"
        received.parent.mkdir(exist_ok=True)
        received.write_text(json.dumps(values))


def _name(module: int, part: int, parts: int) -> str:
    return f"line1_cam1_20260302T08{part // 60 % 60:02}{part % 60:02}_mono_m{module}of{parts}_m{module}c{part:04}.png"


def _receipts(names: list[str]) -> dict[str, dict[str, Any]]:
    return {name: asdict(Receipt("taken", _SHA256)) for name in names}


def _run(key: str) -> dg.DagsterRun:
    return dg.DagsterRun(
        "receive",
        run_id=str(uuid.uuid4()),
        status=dg.DagsterRunStatus.SUCCESS,
        tags={**OURS, "dagster/partition": key},
    )
