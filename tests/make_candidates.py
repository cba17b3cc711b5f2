"""Makes a small plant in a lake: two deliveries of drawn cells, labels, a benchmark and a request for a candidate."""

import hashlib
import json
import shutil
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any, Self

import cv2
import dagster as dg
import polars as pl
from by_hand import publish_by_hand
from make_drift import reference, reference_row
from make_frames import cell
from ruamel.yaml import YAML

from cv_assets.evaluation.assets import evaluation_report_asset, release_decision
from cv_assets.frames.preparation import preparation_digest
from cv_assets.frames.schema import PreparedFrames, RawFrames
from cv_assets.labels.schema import BenchmarkFrames, LabelTable
from cv_assets.release.assets import releases
from cv_assets.requests.schema import TrainingRequest
from cv_assets.spec.assets import project_spec
from cv_assets.spec.load import digest as spec_digest
from cv_assets.spec.load import load_spec
from cv_assets.splits.assets import split_table
from cv_assets.training.assets import checkpoints
from resources.deployments import ROOT, Deployment
from resources.git_lake import GitLake
from resources.partitions import candidates, deliveries
from resources.tables import Snapshot, Tables, candidate_branch, parquet, table_path

NOON = datetime(2026, 3, 2, 12, tzinfo=UTC)
MODELS = [
    {
        "name": name,
        "architecture": "test_efficientnet",
        "weights": {"source": "random"},
        "input_size": 32,
        "recipe": {"kind": "frozen", "C": C},
    }
    for name, C in (("cnn", 0.1), ("weak", 1e-6))
]
GOLDEN = ("m6", "m7")
CANDIDATE = "first"


def cells() -> pl.DataFrame:
    """64 cells of the modules m0 to m7, one in three cracked: m0, m2, … are mono, m1, m3, … poly."""
    rows = []
    for number in range(64):
        content = cv2.imencode(".png", cell(number, (48, 48), crack=number % 3 == 0))[1].tobytes()
        rows.append(
            {
                "capture_id": f"c{number}",
                "frame_id": f"{number:064x}",
                "delivery": f"d{number // 32}",
                "group": f"m{number // 8}",
                "part": f"p{number}",
                "attributes": json.dumps({"product": ("mono", "poly")[number // 8 % 2]}),
                "captured_at": NOON + timedelta(minutes=number),
                "label": ("sound", "defective")[number % 3 == 0],
                "content": content,
                "path": f"prepared_frames/d{number // 32}/{hashlib.sha256(content).hexdigest()}.png",
            }
        )
    return pl.DataFrame(rows)


def as_table(rows: pl.DataFrame, schema: Any) -> bytes:
    """The rows as a published table of `schema`; columns that they lack are null."""
    empty = schema.create_empty()
    known = [name for name in rows.columns if name in empty.columns]
    return parquet(pl.concat([empty, rows.select(known)], how="diagonal_relaxed").cast(empty.schema))


class Plant:
    """What lies before and after a candidate's steps, in one lake; earlier steps' tables are written by hand."""

    def __init__(
        self,
        deployment: Deployment,
        tables: Tables,
        instance: dg.DagsterInstance,
        data_dir: Path | None = None,
    ) -> None:
        """With `data_dir`, caches lie there: exporting a backbone takes seconds, and tests can share it."""
        sections = YAML(typ="safe").load(deployment.spec_file)
        sections["training"] = {"folds": 3, "models": MODELS}
        sections["evaluation"]["acceptance"] = [
            {"metric": "roc_auc", "set": "golden", "at_least": 0.6, "min_samples": 16},
            {"metric": "recall", "set": "golden", "slice": "class=defective", "at_least": 0.1},
            {"metric": "latency_p95_ms", "set": "golden", "at_most": 60_000, "min_samples": 16},
            {"metric": "label_agreement", "set": "out_of_fold", "at_least": 0.9},
        ]
        sections["evaluation"]["regression"] = [
            {"metric": "roc_auc", "max_loss": 0.05, "min_samples": 16},
            {"metric": "escape_rate", "set": "challenge", "max_loss": 0.1},
        ]
        sections["evaluation"]["new_condition_frames"] = 8
        deployment.spec_file.write_text(json.dumps(sections))
        self.spec = load_spec(deployment.spec_file)
        self.tables, self.instance = tables, instance
        shared = replace(deployment, data_dir=data_dir or deployment.data_dir)
        self.resources = {"io_manager": tables, "tables": tables, "deployment": shared}
        self.steps = [
            project_spec,
            dg.AssetSpec("label_table"),
            dg.AssetSpec("benchmark_frames"),
            *(
                dg.AssetSpec(name, partitions_def=candidates)
                for name in ("training_request", "drift_reference")
            ),
            *(dg.AssetSpec(name, partitions_def=deliveries) for name in ("raw_frames", "prepared_frames")),
            split_table,
            *checkpoints(self.spec),
            evaluation_report_asset(self.spec),
            release_decision,
        ]
        instance.add_dynamic_partitions(deliveries.name, ["d0", "d1"])
        assert self.run("project_spec", partition_key=None).success

    @classmethod
    def in_folder(cls, folder: Path, instance: dg.DagsterInstance, data_dir: Path | None = None) -> Self:
        """A plant with a folder, a copy of the demo's spec and a lake of its own."""
        (folder / "data").mkdir()
        shutil.copyfile(ROOT / "specs" / "solar_cells.yaml", folder / "spec.yaml")
        deployment = Deployment(folder / "spec.yaml", folder / "data", "main", "http://127.0.0.1:3000")
        return cls(deployment, Tables(deployment, GitLake(deployment.data_dir / "lake")), instance, data_dir)

    def publish(self, *, benchmark: bool = True, digest: str | None = None, **changed: pl.DataFrame) -> None:
        """Put frames, labels, benchmark and request on main; `changed` replaces cells or labels."""
        frames = changed.get("frames", cells())
        prepared = frames.with_columns(
            accepted=pl.lit(True),
            reason=pl.lit("ok"),
            preparation=pl.lit(digest or preparation_digest(self.spec.preparation)),
        )
        judges = pl.col("group").is_in(GOLDEN)
        labels = changed.get("labels", frames.filter(~judges).unique("frame_id")).with_columns(
            status=pl.lit("agreed"), agreement=pl.lit(1.0)
        )
        golden = frames.filter(judges).with_columns(set=pl.lit("golden"))
        files: dict[str, Any] = {
            table_path("label_table"): as_table(labels, LabelTable),
            **({table_path("benchmark_frames"): as_table(golden, BenchmarkFrames)} if benchmark else {}),
            **dict(frames.select("path", "content").iter_rows()),
        }
        for (key,), part in prepared.group_by("delivery"):
            rows = frames.filter(pl.col("delivery") == key).drop("path")
            files[table_path("raw_frames", str(key))] = as_table(rows, RawFrames)
            files[table_path("prepared_frames", str(key))] = as_table(part, PreparedFrames)
        publish_by_hand(self.tables.lake, files)
        self.request(CANDIDATE)

    def request(self, candidate: str, *, released_version: str | None = None) -> None:
        """Put the request for a candidate on main, which is judged against `released_version`."""
        self.instance.add_dynamic_partitions(str(candidates.name), [candidate])
        asked = {"candidate": candidate, "reason": "person", "spec_digest": spec_digest(self.spec)}
        row = pl.DataFrame([{**asked, "released_version": released_version}])
        path = table_path("training_request", candidate)
        publish_by_hand(self.tables.lake, {path: as_table(row, TrainingRequest)})

    def refer(self, candidate: str = CANDIDATE) -> None:
        """Put a reference on the candidate's branch, in place of the step that makes it from its checkpoint."""
        path = table_path("drift_reference", candidate)
        rows = parquet(reference(reference_row()))
        publish_by_hand(self.tables.lake, {path: rows}, candidate_branch("main", candidate))

    def conclude(self, candidate: str = CANDIDATE) -> None:
        """Conclude a candidate that was judged."""
        config = {"candidate": candidate, "approver": "quality.lead"}
        result = dg.materialize(
            [*self.steps, releases],
            selection=["releases"],
            run_config={"ops": {"releases": {"config": config}}},
            resources=self.resources,
            instance=self.instance,
        )
        assert result.success

    def run(self, *names: str, partition_key: str | None = CANDIDATE) -> dg.ExecuteInProcessResult:
        """Materialize these steps of the candidate."""
        return dg.materialize(
            self.steps,
            selection=list(names),
            partition_key=partition_key,
            resources=self.resources,
            instance=self.instance,
            raise_on_error=False,
        )

    @property
    def candidate(self) -> Snapshot:
        """The candidate's branch as it is now."""
        return self.tables.candidate(CANDIDATE)

    def table(self, name: str, candidate: str = CANDIDATE) -> pl.DataFrame:
        """A table of a candidate."""
        return self.tables.candidate(candidate).table(name, candidate)
