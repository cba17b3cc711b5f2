"""What Dagster, checks, pictures and the tables' publication add to taking in a delivery.

The peer is a script that calls the same functions over the same frames and publishes with the lake itself: no run, no
checks, no previews, no data versions. Neither has a release, so every part goes to people: what is measured is how a
delivery is received, not how fast a model is.
"""

import json
import shutil
import statistics
import time
from collections.abc import Mapping
from dataclasses import asdict
from datetime import UTC, datetime
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Final

import cv2
import dagster as dg  # noqa: TID251  (what is measured is a run)
import numpy as np
import polars as pl

from benchmarks.figure import Figure
from cv_assets.definitions import definitions
from cv_assets.drift.inspected import inspected
from cv_assets.drift.metrics import metrics
from cv_assets.frames.assets import inbox, receipt_path
from cv_assets.frames.files import write_atomically
from cv_assets.frames.preparing import prepare_delivery
from cv_assets.frames.receiving import receive
from cv_assets.frames.schema import RawFrames
from cv_assets.inspection.outbox import told_rows, verdict_file
from cv_assets.inspection.verdicts import inspect
from cv_assets.reference.schema import DriftReference
from cv_assets.reference.statistics import frame_values, station_shares
from cv_assets.spec.load import load_spec, to_table
from resources.deployments import ROOT, Deployment
from resources.git_lake import GitLake
from resources.lake import Content
from resources.partitions import deliveries
from resources.tables import Snapshot, parquet, table_path

FRAMES: Final = 10_000
SMALL: Final = 100
SIDE: Final = 64
"""Pixels."""

ROUNDS: Final = 3


def measure() -> Figure:
    """The median of the ratios of alternating rounds; the latency of a small delivery is told beside it."""
    with TemporaryDirectory(prefix="bench-receive-") as name:
        folder = Path(name)
        _ours(folder / "warm", SMALL), _peer(folder / "warm peer", SMALL)
        small = statistics.median(_ours(folder / f"small {one}", SMALL) for one in range(ROUNDS))
        ratios = []
        for one in range(ROUNDS):
            ratios.append(_ours(folder / f"ours {one}", FRAMES) / _peer(folder / f"peer {one}", FRAMES))
            for which in ("ours", "peer"):
                shutil.rmtree(folder / f"{which} {one}")
    unit = f"times ({SMALL} frames take {small:.2f} s)"
    return Figure(statistics.median(ratios), unit, "the same functions, and the lake itself", "<= 1.10")


def _ours(folder: Path, frames: int) -> float:
    """Seconds of a run of `receive`."""
    deployment, key = _delivered(folder, frames)
    job = definitions(deployment).resolve_job_def("receive")
    with dg.DagsterInstance.local_temp(str(folder)) as instance:
        instance.add_dynamic_partitions(str(deliveries.name), [key])
        start = time.perf_counter()
        job.execute_in_process(instance=instance, partition_key=key)
        return time.perf_counter() - start


def _peer(folder: Path, frames: int) -> float:
    """Seconds of the script."""
    deployment, key = _delivered(folder, frames)
    start = time.perf_counter()
    _script(deployment, key)
    return time.perf_counter() - start


def _script(deployment: Deployment, key: str) -> None:
    spec, lake = load_spec(deployment.spec_file), GitLake(deployment.embedded_lake)
    scratch, now = deployment.cache_dir / "scratch", datetime.now(UTC)
    scratch.mkdir(parents=True)
    box = inbox(deployment, spec.acquisition)
    received = receive(
        box,
        box.manifest(key),
        acquisition=spec.acquisition,
        elsewhere=(),
        published=RawFrames.create_empty(),
        received_at=now,
        folder=scratch,
    )
    raw = received.rows
    receipts = json.dumps({name: asdict(receipt) for name, receipt in received.receipts.items()}).encode()
    _publish(lake, "raw_frames", key, raw, {**received.files, receipt_path(key): receipts})
    head = Snapshot(lake, lake.resolve("main"))
    prepared = prepare_delivery(
        raw, head.fetch, preparation=spec.preparation, acquisition=spec.acquisition, folder=scratch
    )
    _publish(lake, "prepared_frames", key, prepared.rows, prepared.files)
    verdicts = inspect(raw, prepared.rows, None, {}, spec=spec, decided_at=now)
    _publish(lake, "inspections", key, verdicts, {})
    content, file = (
        verdict_file(verdicts, raw, key),
        deployment.told_in(spec.inspection.outbox) / f"{key}.json",
    )
    write_atomically(file, content)
    _publish(lake, "outbox", key, told_rows(content, raw, file=file.name, told_at=now), {})
    about = inspected(verdicts)
    if about is None:
        raise RuntimeError("no capture came")
    values = parquet(frame_values(prepared.rows))
    rows = metrics(
        about,
        frame_values(prepared.rows),
        station_shares(raw, prepared.rows),
        DriftReference.create_empty(),
        lacks="no release judged it",
        spec=spec,
        stored="values",
        measured_at=now,
    )
    _publish(lake, "drift_metrics", key, rows, {f"drift_metrics/{key}/values.parquet": values})


def _publish(lake: GitLake, asset: str, key: str, rows: pl.DataFrame, files: Mapping[str, Content]) -> None:
    lake.create_branch("work", lake.resolve("main"))
    commit = lake.commit("work", {**files, table_path(asset, key): parquet(rows)}, asset, {})
    lake.merge(commit, "main", asset, {})
    lake.delete_branch("work")


def _delivered(folder: Path, frames: int) -> tuple[Deployment, str]:
    """A plant with one closed delivery of so many frames, and its key."""
    folder.mkdir()
    spec_file = folder / "spec.yaml"
    text = (ROOT / "specs" / "solar_cells.yaml").read_text("utf-8")
    spec_file.write_text(text.replace("size: [300, 300]", f"size: [{SIDE}, {SIDE}]"), "utf-8")
    deployment = Deployment(spec_file, folder / "data", "main", "http://127.0.0.1:3000")
    spec = load_spec(spec_file)
    _publish_spec(GitLake(deployment.embedded_lake), parquet(to_table(spec)))
    box = inbox(deployment, spec.acquisition)
    _draw(box.folder, frames)
    box.state.mkdir()
    for look in range(spec.acquisition.settle_ticks):
        found = box.look(spec.acquisition, lambda _: None, time.time() + look)
    (manifest,) = found.closed
    return deployment, manifest.key


def _publish_spec(lake: GitLake, table: bytes) -> None:
    lake.create_branch("work", lake.resolve("main"))
    lake.merge(lake.commit("work", {table_path("project_spec"): table}, "spec", {}), "main", "spec", {})
    lake.delete_branch("work")


def _draw(folder: Path, frames: int) -> None:
    folder.mkdir(parents=True)
    rng = np.random.default_rng(20261121)
    for part in range(frames):
        picture = rng.integers(90, 150, (SIDE, SIDE)).astype(np.uint8)
        name = f"line1_cam1_20260302T08{part // 60 % 60:02}{part % 60:02}_mono_m1of{frames}_m1c{part:05}.png"
        (folder / name).write_bytes(cv2.imencode(".png", picture)[1].tobytes())
