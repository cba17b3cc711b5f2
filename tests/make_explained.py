"""Makes a plant whose every table was published by a run: some by the real steps, the others by stand-ins.

Frames, labels and the evaluation come from stand-ins, which publish given rows through the real IO manager; the
request, the split, the checkpoint, the release, the verdicts and the review queue are made by the real steps.
"""

import hashlib
from collections.abc import Mapping
from datetime import timedelta
from typing import Any

import cv2
import dagster as dg
import polars as pl
from make_candidates import GOLDEN, NOON, Plant, cells
from make_frames import cell
from make_labels import annotations, statement

from cv_assets.evaluation.schema import EvaluationReport, ReleaseDecision
from cv_assets.frames.preparation import preparation_digest
from cv_assets.frames.schema import PreparedFrames, RawFrames
from cv_assets.inspection.assets import inspections, outbox
from cv_assets.labels.schema import BenchmarkFrames, LabelTable
from cv_assets.lookback.assets import LakeArchive
from cv_assets.lookback.chain import explain
from cv_assets.lookback.explanation import Explanation
from cv_assets.release.assets import releases
from cv_assets.requests.assets import training_request
from cv_assets.review.assets import review_queue
from resources.contracts import ON_CANDIDATE, Audited, Table
from resources.partitions import candidates, deliveries, exports
from resources.tables import Snapshot

ANNOTATORS = ("ada", "ben", "cleo")
CANDIDATE = "explained"
DECISION = {
    "number": 1, "candidate": CANDIDATE, "kind": "acceptance", "criterion": "escape_rate on golden frames: at most 0.3",
    "metric": "escape_rate", "set": "golden", "slice": "all", "required": 0.3, "comparison": "at_most",
    "judge": "estimate", "measured": 0.125, "low": 0.05, "high": 0.25, "samples": 16, "passed": True,
    "why": "escape_rate on golden frames is 0.125; at most 0.3 is met", "model": "cnn", "lower": 0.2, "upper": 0.8,
    "released_version": None,
}  # fmt: skip
FIGURE = {
    "model": "cnn", "set": "golden", "slice": "all", "metric": "escape_rate", "value": 0.125, "low": 0.05,
    "high": 0.25, "samples": 16, "groups": 2,
}  # fmt: skip
PARTITIONS = {
    "raw_frames": deliveries,
    "prepared_frames": deliveries,
    "inspections": deliveries,
    "annotations": exports,
    "evaluation_report": candidates,
    "release_decision": candidates,
}
INPUTS = ("project_spec", "label_table", "benchmark_frames", "raw_frames", "prepared_frames", "inspections")
"""What the real steps are given as inputs; they read it from the lake."""


def votes(frames: pl.DataFrame, export: str, **other: Any) -> pl.DataFrame:
    """Three annotators' statements about each frame: its `label`, or nothing seen where it is sound."""
    evidence = f"annotations/{export}/0.json"
    said = [
        statement(f"{frame_id}.png", name, *seen, export=export, evidence=evidence, **other)
        for frame_id, label in frames.select("frame_id", "label").iter_rows()
        for name in ANNOTATORS
        for seen in [[] if label == "sound" else [label]]
    ]
    return annotations(*said)


def agreed(frames: pl.DataFrame, said: pl.DataFrame) -> pl.DataFrame:
    """The label table of these frames, whose `label` was voted for in `said`."""
    frame_id = pl.col("image").str.strip_suffix(".png")
    ids = said.group_by(frame_id=frame_id).agg(annotations="annotation_id")
    rows = frames.select("frame_id", "label").join(ids, on="frame_id").to_dicts()
    same = {"objects": [], "status": "agreed", "resolution": "unanimous", "disputed": False, "votes": 3}
    return _rows(
        LabelTable,
        *({**row, **same, "agreement": 1.0, "annotators": ANNOTATORS, "labelled_at": NOON} for row in rows),
    )


def verified(frames: pl.DataFrame) -> pl.DataFrame:
    """The benchmark of these frames, verified by eva."""
    same = {"set": "golden", "objects": [], "verified_by": "eva", "verified_at": NOON, "version": 1}
    rows = frames.select("frame_id", "label").to_dicts()
    return _rows(BenchmarkFrames, *({**row, **same, "annotation_id": "golden"} for row in rows))


class Explained(Plant):
    """A plant with a released model and verdicts by it; it begins with nothing but the spec."""

    def stand_in(
        self, name: str, rows: pl.DataFrame, partition: str = "", files: Mapping[str, bytes] | None = None
    ) -> None:
        """Publish these rows as a run of an asset of that name does."""
        kind = PARTITIONS.get(name)
        tags = ON_CANDIDATE if kind is candidates else {}

        @dg.asset(name=name, partitions_def=kind, code_version="stand-in", op_tags=tags)
        def published() -> Audited:
            yield dg.MaterializeResult(value=Table(rows, files=files or {}))

        if kind:
            self.instance.add_dynamic_partitions(str(kind.name), [partition])
        self._materialize([published], name, partition)

    def step(self, asset: dg.AssetsDefinition, partition: str = "", **config: Any) -> None:
        """Materialize one real asset."""
        name = asset.key.path[-1]
        inputs = [dg.AssetSpec(one, partitions_def=PARTITIONS.get(one)) for one in INPUTS if one != name]
        self._materialize([*inputs, asset], name, partition, config)

    def deliver(self, delivery: str, parts: Mapping[str, bool], *, minute: int = 0, **changed: str) -> None:
        """A delivery of cells, cracked or not, received and prepared; `changed` replaces columns of raw_frames."""
        digest = preparation_digest(self.spec.preparation)
        captures = [
            _capture(delivery, part, crack, minute + number)
            for number, (part, crack) in enumerate(parts.items())
        ]
        for name, schema in (("raw_frames", RawFrames), ("prepared_frames", PreparedFrames)):
            rows = [{**row, "path": f"{name}/{row['path']}", "preparation": digest} for row, _ in captures]
            files = {f"{name}/{row['path']}": content for row, content in captures}
            self.stand_in(name, _rows(schema, *({**row, **changed} for row in rows)), delivery, files)

    def inspect(self, delivery: str) -> None:
        """The verdicts on a delivery, told to the line, and what people are asked."""
        self.step(inspections, delivery)
        self.step(outbox, delivery)
        self.step(review_queue)

    def release(self) -> None:
        """Label, request, train, judge and release a candidate; 48 frames train, 16 judge."""
        self.publish()
        judges, frames = pl.col("group").is_in(GOLDEN), cells()
        said = votes(frames.filter(~judges), "e1")
        self.stand_in("annotations", said, "e1", {"annotations/e1/0.json": b"the export as it arrived"})
        self.stand_in("label_table", agreed(frames.filter(~judges), said))
        self.stand_in("benchmark_frames", verified(frames.filter(judges)))
        self.instance.add_dynamic_partitions(str(candidates.name), [CANDIDATE])
        asked = {"reason": "first_release", "evidence": "64 cells", "requested_by": "ml.engineer"}
        self.step(training_request, CANDIDATE, **asked)
        for name in ("split_table", "cnn_checkpoint"):
            assert self.run(name, partition_key=CANDIDATE).success, name
        self.stand_in("evaluation_report", _rows(EvaluationReport, FIGURE), CANDIDATE)
        self.stand_in("release_decision", _rows(ReleaseDecision, DECISION), CANDIDATE)
        self.step(releases, candidate=CANDIDATE, approver="quality.lead", why="it meets them all")

    def explain(self, part: str, commit: str = "") -> Explanation:
        """The explanation of a part as of a commit, the newest one by default."""
        return explain(self.archive(commit), part)

    def archive(self, commit: str = "") -> LakeArchive:
        """The lake as of a commit, the newest one by default."""
        return LakeArchive(Snapshot(self.tables.lake, commit or self.head), self.resources["deployment"])

    @property
    def head(self) -> str:
        """The newest commit."""
        return self.tables.head().commit

    def _materialize(self, assets: list[Any], name: str, partition: str, config: Any = None) -> None:
        result = dg.materialize(
            assets,
            selection=[name],
            partition_key=partition or None,
            run_config={"ops": {name: {"config": config}}} if config else None,
            resources=self.resources,
            instance=self.instance,
        )
        assert result.success


def plant_in(folder: Any, instance: dg.DagsterInstance) -> Explained:
    """A plant with a folder and a lake of its own."""
    return Explained.in_folder(folder, instance)


def _capture(delivery: str, part: str, crack: bool, minute: int) -> tuple[dict[str, Any], bytes]:
    """What raw_frames and prepared_frames say of a capture, each taking its columns, and its bytes."""
    content = cv2.imencode(".png", cell(100 + minute, (48, 48), crack=crack))[1].tobytes()
    sha256, taken = hashlib.sha256(content).hexdigest(), NOON + timedelta(days=1, minutes=minute)
    row = {
        "capture_id": f"{delivery}-{part}", "frame_id": sha256, "delivery": delivery, "station": "line1",
        "file_name": f"line1_cam1_{part}.png", "camera": "cam1", "part": part, "group": "m9",
        "attributes": '{"product": "mono"}', "path": f"{delivery}/{sha256}.png", "size_bytes": len(content),
        "width": 48, "height": 48, "channels": 1, "depth_bits": 8, "captured_at": taken,
        "captured_at_source": "file_name", "arrived_at": taken, "received_at": taken, "accepted": True, "reason": "ok",
    }  # fmt: skip
    return row, content


def _rows(schema: Any, *rows: Mapping[str, Any]) -> pl.DataFrame:
    """The rows as a table of `schema`; columns that a row lacks are null, those that are none of it are left out."""
    columns = schema.create_empty().schema
    return pl.DataFrame([{name: row.get(name) for name in columns} for row in rows], schema=columns)
