"""The disk fills up: in a publication, while a delivery is taken in, on the line's own disk, and where Dagster writes.

How far a run gets follows from the room that it finds. So the room is varied, a little more each time, until all fits:
the disk fills at one place after the other.
"""

import json
import re
import shutil
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, Final

import dagster as dg
import dataframely as dy
import polars as pl

from cv_assets.drift.assets import drift_metrics
from cv_assets.frames.assets import prepared_frames, raw_frames
from cv_assets.inspection.assets import inspections, outbox
from cv_assets.spec.assets import project_spec
from jobs.receive import receive
from proofs.pictures import drop
from proofs.proof import Proof
from proofs.small_disk import PAGE, NoMountError, fill, make_room, small_disk
from resources.contracts import Audited, TableAsset
from resources.deployments import ROOT, Deployment
from resources.git_lake import GitLake
from resources.partitions import deliveries
from resources.tables import Tables
from sensors.new_deliveries import TABLES, new_deliveries

ASKED: Final = (
    "The disk fills up while a table is published, a delivery is taken in, the outbox or Dagster's "
    "records are written. The run ends in one sentence that says what to do, nothing is half visible, and "
    "with room the same result is made."
)

_WORDS: Final = ("full", "No space left")
_SQLITE_SAYS: Final = ("database or disk is full", "disk I/O error")
"""Dagster passes its storage's words on; docs/operations.md says what they mean."""


class Numbers(dy.Schema):
    """One number."""

    number = dy.Int64(primary_key=True)


BULKY: Final = TableAsset("bulky", Numbers, step="frames")


@dg.asset(**BULKY.arguments)
def bulky() -> Audited:
    """A table with bytes beside it that take several pages."""
    files = {f"bulky/{number}": bytes([number]) * (3 * PAGE) for number in range(3)}
    yield from BULKY.audited(pl.DataFrame({"number": [1]}), files=files)


_ASSETS: Final = [project_spec, raw_frames, prepared_frames, inspections, outbox, drift_metrics]


@dataclass
class Scene:
    """What came of one place to fill, at each room that was tried."""

    rooms: int = 0
    failed: int = 0
    unclear: list[str] = field(default_factory=list)
    half_visible: list[str] = field(default_factory=list)
    not_repeated: list[str] = field(default_factory=list)
    said: dict[str, int] = field(default_factory=dict)

    def ended(self, room: int, words: str, is_clear: bool) -> None:
        """Note how a run failed that had so much room."""
        self.failed += 1
        self.said[words] = self.said.get(words, 0) + 1
        if not is_clear:
            self.unclear.append(f"with {room} bytes: {words}")

    @property
    def holds(self) -> bool:
        """Whether every failure was as it should be, and there was one."""
        return bool(self.failed) and not (self.unclear or self.half_visible or self.not_repeated)


def prove(publications: int = 40, delivered: int = 16) -> Proof:
    """Each scene at up to so many rooms."""
    with TemporaryDirectory(prefix="proof-disk-") as folder:
        try:
            scenes = {
                "publication": publication(Path(folder) / "publication", publications),
                "delivery": delivery(Path(folder) / "delivery", delivered),
                "verdicts": delivery(Path(folder) / "verdicts", delivered, TABLES[:2]),
                "inbox watched": inbox_watched(Path(folder) / "inbox"),
                "outbox on its own disk": outbox_alone(Path(folder) / "outbox"),
                "Dagster's records": records(Path(folder) / "records", delivered),
            }
        except NoMountError as error:
            return Proof(ASKED, None, f"Skipped: {error}", {})
    wrong = [name for name, scene in scenes.items() if not scene.holds]
    failed = sum(scene.failed for scene in scenes.values())
    why = f"All {failed} runs that met a full disk ended in words, and were repeated with the same result."
    return Proof(
        ASKED,
        not wrong,
        f"Not so: {', '.join(wrong)}." if wrong else why,
        {n: vars(s) for n, s in scenes.items()},
    )


def publication(folder: Path, most: int, step: int = PAGE) -> Scene:
    """One table with its bytes, on a disk that has room for a page more each time."""
    scene = Scene()
    with small_disk(folder, 16) as disk:
        for room in range(0, most * step, step):
            place = Place(disk / f"data{room}")
            scene.rooms += 1
            before = place.state()
            fill(disk, room)
            result = place.publish(bulky)
            is_whole = place.state() in (before, {**before, **_readable(place.lake, "bulky")})
            make_room(disk)
            if result.success:
                return scene
            scene.ended(room, *_said(result, place))
            if place.state() != before or not is_whole:
                scene.half_visible.append(f"{room}")
            if not (place.publish(bulky).success and len(place.state()) == 4):
                scene.not_repeated.append(f"{room}")
    raise AssertionError(f"{most} rooms were not enough for one publication")


def delivery(folder: Path, rooms: int, before: Sequence[str] = ()) -> Scene:
    """A delivery taken in, prepared, inspected and told on one disk, which fills after the tables `before`."""
    scene = Scene()
    with small_disk(folder, 64) as disk:
        after = [table for table in TABLES if table not in before]
        expected, needed = _undisturbed(disk, before)
        # On its way a delivery lies on the disk more than once.
        for room in (2 * needed * number // rooms for number in range(rooms)):
            place = Place(disk / f"data{room}")
            key = place.closed_delivery()
            _make(place, key, before)
            scene.rooms += 1
            fill(disk, room)
            result = place.take_in(key, *after)
            make_room(disk)
            if result.success:
                return scene
            scene.ended(room, *_said(result, place))
            if wrong := place.half_visible(key):
                scene.half_visible.append(f"with {room} bytes: {wrong}")
            if not (place.take_in(key).success and place.verdicts(key) == expected):
                scene.not_repeated.append(f"{room}")
    return scene


def inbox_watched(folder: Path) -> Scene:
    """The sensor looks at the inbox, and cannot write down what it saw."""
    scene = Scene(rooms=1)
    with small_disk(folder, 16) as disk, dg.DagsterInstance.ephemeral() as instance:
        place = Place(disk / "data")
        place.publish(project_spec)
        drop(place.deployment.data_dir / "inbox", "m01", 3)
        fill(disk, 0)
        words = str(getattr(place.tick(instance), "skip_message", "no reason"))
        scene.ended(
            0, words.replace(str(disk), "DISK"), "cannot be looked at now" in words and _WORDS[1] in words
        )
        make_room(disk)
        place.tick(instance)
        if not isinstance(place.tick(instance), dg.SensorResult):
            scene.not_repeated.append("0")
    return scene


def outbox_alone(folder: Path) -> Scene:
    """The line's folder is a disk of its own, and full."""
    scene = Scene(rooms=1)
    place = Place(folder / "data")
    with small_disk(place.deployment.data_dir / "outbox", 1) as disk:
        key = place.closed_delivery()
        fill(disk, 0)
        result = place.take_in(key)
        if not result.success:
            scene.ended(0, *_said(result, place))
        if list(disk.glob("*.json")) or any(disk.glob(f".{key}*")):
            scene.half_visible.append("a file in the outbox")
        make_room(disk)
        if not (place.take_in(key).success and place.verdicts(key)):
            scene.not_repeated.append("0")
    return scene


def records(folder: Path, most: int) -> Scene:
    """Dagster's own records are on the full disk. Its words are its own; the lake must be whole."""
    scene = Scene()
    place = Place(folder / "data")
    with small_disk(folder / "home", 16) as disk:
        for room in range(0, most * 4 * PAGE, 4 * PAGE):
            home = disk / f"home{room}"
            home.mkdir()
            with dg.DagsterInstance.local_temp(str(home)) as instance:
                instance.get_runs_count()
                scene.rooms += 1
                fill(disk, room)
                words = _tried(partial(place.publish, bulky, instance))
                make_room(disk)
                if words:
                    scene.ended(room, words, any(one in words for one in _SQLITE_SAYS))
                if place.state() and len(place.state()) != 4:
                    scene.half_visible.append(f"{room}")
                if not (place.publish(bulky, instance).success and len(place.state()) == 4):
                    scene.not_repeated.append(f"{room}")
            shutil.rmtree(home)
    return scene


class Place:
    """A deployment with an embedded lake in a folder of its own."""

    def __init__(self, data: Path) -> None:
        """The folder is made; the lake is, too."""
        data.mkdir(parents=True, exist_ok=True)
        self.deployment = Deployment(
            ROOT / "specs" / "solar_cells.yaml", data, "main", "http://127.0.0.1:3000"
        )
        self.lake = GitLake(data / "lake")
        self.lake.resolve("main")
        self.tables = Tables(self.deployment, self.lake)
        self.resources = {"io_manager": self.tables, "tables": self.tables, "deployment": self.deployment}

    def publish(
        self, asset: dg.AssetsDefinition, instance: dg.DagsterInstance | None = None
    ) -> dg.ExecuteInProcessResult:
        """Materialize one asset; a failed run is returned."""
        with _instance(instance) as used:
            return dg.materialize([asset], instance=used, resources=self.resources, raise_on_error=False)

    def closed_delivery(self) -> str:
        """The key of a delivery of three frames that waits to be taken in."""
        self.publish(project_spec)
        drop(self.deployment.data_dir / "inbox", "m01", 3)
        with dg.DagsterInstance.ephemeral() as instance:
            self.tick(instance)
            result = self.tick(instance)
        (request,) = result.run_requests or []
        return str(request.partition_key)

    def tick(self, instance: dg.DagsterInstance) -> Any:
        """The sensor's look at the inbox."""
        given = {"tables": self.tables, "deployment": self.deployment}
        return new_deliveries(dg.build_sensor_context(instance=instance, resources=given))

    def take_in(self, key: str, *assets: str) -> dg.ExecuteInProcessResult:
        """The job `receive` of one delivery, or these assets of it; a failed run is returned."""
        defs = dg.Definitions(assets=_ASSETS, jobs=[receive], resources=self.resources)
        selected = [dg.AssetKey(name) for name in assets] or None
        with dg.DagsterInstance.ephemeral() as instance:
            instance.add_dynamic_partitions(deliveries.name or "", [key])
            job = defs.resolve_job_def("receive")
            return job.execute_in_process(
                instance=instance, partition_key=key, asset_selection=selected, raise_on_error=False
            )

    def state(self) -> dict[str, bytes]:
        """All that a reader of `main` sees, by path."""
        return _readable(self.lake, "")

    def half_visible(self, key: str) -> str:
        """What a reader would see in part; empty when there is nothing of it."""
        head = self.tables.head()
        has = [head.has(table, key) for table in TABLES]
        if has != sorted(has, reverse=True):
            return f"tables published out of their order: {has}"
        self.state()
        files = list((self.deployment.data_dir / "outbox").glob("*.json"))
        broken = [file.name for file in files if not _is_json(file)]
        return f"a broken file in the outbox: {broken[0]}" if broken else ""

    def verdicts(self, key: str) -> list[tuple[Any, ...]]:
        """What came of the delivery, without its name and times."""
        head = self.tables.head()
        told = head.table("outbox", key).select("part", "verdict").sort("part").rows()
        frames = head.table("prepared_frames", key).select("accepted", "path").height
        file = json.loads((self.deployment.data_dir / "outbox" / f"{key}.json").read_text("utf-8"))
        return [*told, (frames, head.table("raw_frames", key).height, len(file["verdicts"]))]


def _make(place: Place, key: str, tables: Sequence[str]) -> None:
    if tables and not place.take_in(key, *tables).success:
        raise AssertionError(f"{', '.join(tables)} could not be made on a disk with room")


def _undisturbed(disk: Path, made: Sequence[str]) -> tuple[list[tuple[Any, ...]], int]:
    """What comes of the delivery, and how many bytes it needs."""
    place = Place(disk / "undisturbed")
    key = place.closed_delivery()
    _make(place, key, made)
    before = _used(disk)
    _make(place, key, [table for table in TABLES if table not in made])
    return place.verdicts(key), _used(disk) - before


def _used(disk: Path) -> int:
    return shutil.disk_usage(disk).used


@contextmanager
def _instance(given: dg.DagsterInstance | None) -> Iterator[dg.DagsterInstance]:
    if given:
        yield given
        return
    with dg.DagsterInstance.ephemeral() as instance:
        yield instance


def _readable(lake: GitLake, prefix: str) -> dict[str, bytes]:
    head = lake.resolve("main")
    return {path: lake.read(head, path) for path in lake.paths(head) if prefix in path}


def _said(result: dg.ExecuteInProcessResult, place: "Place") -> tuple[str, bool]:
    """What people read of a failed run, without the names that change, and whether that is clear."""
    (failed,) = (event for event in result.all_events if event.is_step_failure)
    error = failed.step_failure_data.error
    if error is None:
        return "no reason", False
    words = error.message.strip().splitlines()[0].partition("Failure: ")[2] or error.message
    is_clear = error.cls_name == "Failure" and any(one in words for one in _WORDS) and "re-execute" in words
    told = words.replace(str(place.deployment.data_dir), "DATA")
    return f"{failed.step_key}: {re.sub('line1-m01-[0-9a-f]+', 'DELIVERY', told)}", is_clear


def _tried(run: Callable[[], dg.ExecuteInProcessResult]) -> str:
    """Empty, or what the run failed with; Dagster raises where it cannot even write that."""
    try:
        result = run()
    except Exception as error:  # noqa: BLE001  whatever Dagster raises is what people read
        return str(error).splitlines()[0]
    return "" if result.success else "the run failed, and Dagster recorded it"


def _is_json(file: Path) -> bool:
    try:
        json.loads(file.read_bytes())
    except ValueError:
        return False
    return True
