"""Makes deliveries and releases that decide on them, in one lake: a line with verdicts, in a fraction of a second.

The released model is a real checkpoint whose graph is the mean grey level: bright cells are sound, dark ones defective.
A frame of brightness b has the defect score 1 / (1 + exp((b - 128) / 16)): 0.018 at 192, 0.5 at 128, 0.982 at 64.
"""

import copy
import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import cv2
import dagster as dg
import numpy as np
import onnx
import polars as pl
from by_hand import publish_by_hand

from cv_assets.frames.preparation import preparation_digest
from cv_assets.frames.schema import PreparedFrames, RawFrames
from cv_assets.inspection.assets import inspections, outbox
from cv_assets.release.schema import Releases
from cv_assets.spec.load import load_spec, to_table
from cv_assets.spec.training import Model
from cv_assets.training.cache import cached_file
from cv_assets.training.heads import Head
from cv_assets.training.inference import load_predictor
from cv_assets.training.schema import Checkpoint
from resources.deployments import Deployment
from resources.partitions import deliveries
from resources.tables import Tables, parquet, table_path

NOON = datetime(2026, 3, 2, 12, tzinfo=UTC)
BAND = (0.284, 0.641)
CLASSES = ("sound", "defective")
BIAS = (-128 / 16, 0.0)
BACKBONE = b"the mean grey level needs no weights"
MODEL = Model.model_validate(
    {
        "name": "cnn",
        "architecture": "test_efficientnet",
        "weights": {"source": "random"},
        "input_size": 16,
        "recipe": {"kind": "frozen", "C": 1.0},
    }
)


def score_of(brightness: float) -> float:
    """The defect score of a frame of this mean grey level."""
    return float(1 / (1 + np.exp((brightness - 128) / 16)))


def delivered(
    delivery: str, cells: Mapping[str, int | str], digest: str
) -> tuple[pl.DataFrame, pl.DataFrame, dict[str, bytes]]:
    """A delivery as raw_frames, as prepared_frames, and its bytes by lake path.

    `cells` maps a part to the brightness of its one frame, or to the reason why that is rejected.
    """
    raw, prepared, files = [], [], {}
    for number, (part, cell) in enumerate(cells.items()):
        accepted = not isinstance(cell, str)
        image = np.full((12, 12), cell if accepted else 0, dtype=np.uint8)
        # What follows a PNG's end makes every frame another one, and changes no picture.
        content = cv2.imencode(".png", image)[1].tobytes() + f"{delivery} {part}".encode()
        frame_id = hashlib.sha256(content).hexdigest()
        path, seen = (f"{step}/{delivery}/{frame_id}.png" for step in ("raw_frames", "prepared_frames"))
        capture = {"capture_id": f"{delivery}-{part}", "frame_id": frame_id, "delivery": delivery}
        taken = NOON + timedelta(seconds=10 * number)
        raw.append(
            {
                **capture,
                "file_name": f"line1_cam1_{part}.png",
                "station": "line1",
                "camera": "cam1",
                "part": part,
                "group": delivery,
                "attributes": "{}",
                "path": path,
                "size_bytes": len(content),
                "width": 12,
                "height": 12,
                "captured_at": taken,
                "captured_at_source": "file_name",
                "arrived_at": taken + timedelta(seconds=1),
                "received_at": NOON + timedelta(hours=1),
            }
        )
        prepared.append(
            {
                **capture,
                "accepted": accepted,
                "reason": "ok" if accepted else cell,
                "score": None if accepted else 3.1,
                "bound": None if accepted else 4.5,
                "path": seen if accepted else None,
                "preparation": digest,
            }
        )
        files |= {path: content, **({seen: content} if accepted else {})}
    return (
        pl.DataFrame(raw, schema=RawFrames.create_empty().schema),
        pl.DataFrame(prepared, schema=PreparedFrames.create_empty().schema),
        files,
    )


def release_row(number: int, version: str, candidate: str, **changed: Any) -> dict[str, Any]:
    """A row of `releases`: the candidate released; `changed` replaces columns."""
    return {
        "number": number,
        "outcome": "released",
        "version": version,
        "candidate": candidate,
        "trigger": "person",
        "why": "all 4 criteria are met",
        "approver": "quality.lead",
        "concluded_at": NOON,
        "model": MODEL.name,
        "candidate_commit": "c" * 40,
        "lower": BAND[0],
        "upper": BAND[1],
        "pass_class": CLASSES[0],
        "spec_digest": "s",
        **changed,
    }


class Line:
    """A line whose deliveries and releases a test puts into the lake, and the real steps that inspect and tell."""

    def __init__(self, tables: Tables, deployment: Deployment, instance: dg.DagsterInstance) -> None:
        """The deployment's spec is in force, without asking timm about its models."""
        self.tables, self.deployment, self.instance = tables, deployment, instance
        self.resources = {"io_manager": tables, "tables": tables, "deployment": deployment}
        self.spec = load_spec(deployment.spec_file)
        self.put({table_path("project_spec"): parquet(to_table(self.spec))})

    def on(self, branch: str, commit: str) -> "Line":
        """The same line on a new data branch that begins at `commit`: with the lake as it was then."""
        self.tables.lake.create_branch(branch, commit)
        other, deployment = copy.copy(self), replace(self.deployment, branch=branch)
        other.deployment, other.tables = deployment, Tables(deployment, self.tables.lake)
        other.resources = {"io_manager": other.tables, "tables": other.tables, "deployment": deployment}
        return other

    def put(self, files: Mapping[str, Any]) -> None:
        """Put files on main."""
        publish_by_hand(self.tables.lake, files)

    def deliver(self, delivery: str, cells: Mapping[str, int | str], *, digest: str = "") -> None:
        """Publish the raw and the prepared frames of a delivery; `digest` names another pass than the spec's."""
        self.instance.add_dynamic_partitions(deliveries.name, [delivery])
        raw, prepared, files = delivered(delivery, cells, digest or self.digest)
        self.put(
            {
                table_path("raw_frames", delivery): parquet(raw),
                table_path("prepared_frames", delivery): parquet(prepared),
                **files,
            }
        )

    def release(self, version: str = "v1.0.0", **changed: Any) -> None:
        """Put a candidate in force under `version`; `changed` replaces columns of its row in `releases`, and `bias`."""
        candidate = str(changed.pop("candidate", f"candidate-of-{version}"))
        checkpoints, files = checkpoint(candidate, self.digest, changed.pop("bias", BIAS))
        history = self.tables.head().table("releases", or_empty=Releases)
        row = release_row(history.height + 1, version, candidate, **changed)
        self.put(
            {
                table_path("releases"): parquet(history.vstack(pl.DataFrame([row], schema=history.schema))),
                table_path(f"{MODEL.name}_checkpoint", candidate): parquet(checkpoints),
                **files,
            }
        )
        _cache_graph(checkpoints.row(0, named=True), files, self.deployment.cache_dir)

    def inspect(self, delivery: str, *steps: str) -> dg.ExecuteInProcessResult:
        """Materialize `inspections` and `outbox` of a delivery, or some `steps` only."""
        upstream = [
            dg.AssetSpec("project_spec"),
            *(dg.AssetSpec(name, partitions_def=deliveries) for name in ("raw_frames", "prepared_frames")),
        ]
        return dg.materialize(
            [*upstream, inspections, outbox],
            selection=list(steps) or ["inspections", "outbox"],
            partition_key=delivery,
            resources=self.resources,
            instance=self.instance,
            raise_on_error=False,
        )

    def verdicts(self, delivery: str) -> dict[str, tuple[str, str]]:
        """Part -> verdict and reason."""
        rows = self.tables.head().table("inspections", delivery)
        return {
            part: (verdict, reason)
            for part, verdict, reason in rows.select("part", "verdict", "reason").rows()
        }

    @property
    def digest(self) -> str:
        """The digest of the spec's pass."""
        return preparation_digest(self.spec.preparation)

    @property
    def outbox(self) -> Path:
        """Where the line reads."""
        return self.deployment.data_dir / self.spec.inspection.outbox


def checkpoint(
    candidate: str, preparation: str, bias: Sequence[float] = BIAS
) -> tuple[pl.DataFrame, dict[str, bytes]]:
    """The checkpoint table of a candidate of the model above, with a bias per class, and the bytes it points to."""
    # Logits of sound and defective; their difference is (128 - brightness) / 16.
    weight_CD = np.array([[1 / 48] * 3, [0.0] * 3])
    head = Head(np.zeros(3), np.ones(3), weight_CD, np.array(bias)).to_bytes()
    sha256 = hashlib.sha256(head).hexdigest()
    weights, backbone = (
        f"cnn_checkpoint/{candidate}/{sha256}.safetensors",
        hashlib.sha256(BACKBONE).hexdigest(),
    )
    row = {
        "model": MODEL.name,
        "candidate": candidate,
        "architecture": MODEL.architecture,
        "weights": weights,
        "weights_sha256": sha256,
        "backbone": f"cnn_checkpoint/backbones/{backbone}.safetensors",
        "backbone_sha256": backbone,
        "classes": list(CLASSES),
        "preparation": preparation,
        "recipe": json.dumps(MODEL.model_dump(mode="json")),
        "seed": 0,
        "frames": 48,
        "groups": 6,
        "curve": [],
        "out_of_fold": [],
        "libraries": "{}",
        "seconds": 1.0,
    }
    rows = pl.DataFrame([row], schema=Checkpoint.create_empty().schema)
    return rows, {row["weights"]: head, row["backbone"]: BACKBONE}


def _cache_graph(row: Mapping[str, Any], files: Mapping[str, bytes], cache_dir: Path) -> None:
    """Keep the graph where a predictor finds the one that it made: PyTorch is then never asked."""
    folder = cache_dir / "made"
    folder.mkdir(parents=True, exist_ok=True)

    def fetch(path: str) -> Path:
        (folder / Path(path).name).write_bytes(files[path])
        return folder / Path(path).name

    extractor = load_predictor(row, fetch, cache_dir).extractor
    cached_file(cache_dir / "graphs", extractor.digest, ".onnx", lambda: mean_levels(extractor.input_size))


def mean_levels(size: int) -> bytes:
    """An ONNX graph from frames (1, size, size, 3) to the mean level of each channel (1, 3)."""
    nodes = [
        onnx.helper.make_node("Cast", ["frames"], ["levels"], to=onnx.TensorProto.FLOAT),
        onnx.helper.make_node("ReduceMean", ["levels", "axes"], ["features"], keepdims=0),
    ]
    graph = onnx.helper.make_graph(
        nodes,
        "mean_levels",
        [onnx.helper.make_tensor_value_info("frames", onnx.TensorProto.UINT8, [1, size, size, 3])],
        [onnx.helper.make_tensor_value_info("features", onnx.TensorProto.FLOAT, [1, 3])],
        [onnx.helper.make_tensor("axes", onnx.TensorProto.INT64, [2], [1, 2])],
    )
    opset = [onnx.helper.make_opsetid("", 18)]
    content: bytes = onnx.helper.make_model(graph, opset_imports=opset, ir_version=9).SerializeToString()
    return content
