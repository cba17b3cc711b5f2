"""The labels step in a lake: from an export's bytes to labels, with what was diverted and what judges."""

import hashlib
import json
import threading

import cv2
import dagster as dg
import numpy as np
import polars as pl
import pytest
from make_labels import coco, imports_great_expectations, publish
from run_results import checks, metadata

from cv_assets.labels.assets import annotations, benchmark_frames, label_table, rejected_annotations
from cv_assets.spec.assets import project_spec
from resources.git_lake import GitLake
from resources.partitions import exports
from resources.tables import Tables

pytestmark = imports_great_expectations

LABELS = [annotations, rejected_annotations, benchmark_frames, label_table]
NAMES = ("a.png", "b.png", "c.png", "g.png")


def picture(seed):
    return cv2.imencode(".png", np.random.default_rng(seed).integers(0, 256, (300, 300), dtype=np.uint8))[
        1
    ].tobytes()


PICTURES = {name: picture(seed) for seed, name in enumerate(NAMES)}
IDS = {name: hashlib.sha256(content).hexdigest() for name, content in PICTURES.items()}


@pytest.fixture
def take(materialize, deployment, instance):
    """Put an export into the folder and materialize everything that follows from it."""

    def run(name, content, **arguments):
        key = f"{name.split('.')[0]}-{hashlib.sha256(content).hexdigest()[:8]}"
        folder = deployment.data_dir / "exports"
        folder.mkdir(exist_ok=True)
        (folder / name).write_bytes(content)
        instance.add_dynamic_partitions(exports.name, [key])
        return materialize([project_spec, *LABELS], selection=LABELS, partition_key=key, **arguments)

    return run


def votes(image, *classes, **arguments):
    return coco([(image, who, label) for who, label in zip("xyz", classes, strict=False)], **arguments)


def test_an_export_becomes_labels_with_evidence_rejections_and_a_benchmark(tables, spec, take):
    publish(tables, spec=spec, frames=PICTURES)
    golden = take(
        "golden.json",
        coco([("g.png", "x", "sound")], info={"benchmark": "golden", "verified_by": "quality.lead"}),
    )
    assert metadata(golden, "benchmark_frames")["version"] == 1
    shown = metadata(golden, "benchmark_frames")["golden"]
    assert shown.startswith("![golden frames with their labels](data:image/jpeg;base64,")
    assert len(shown) < 150_000
    said = [
        *(("a.png", who, label) for who, label in zip("xyz", ("sound", "sound", "defective"), strict=True)),
        *(("b.png", who, "defective") for who in "xyz"),
        ("c.png", "x", "sound"), ("c.png", "y", "scratch"),
        ("g.png", "x", "defective"), ("unknown.png", "x", "sound"),
    ]  # fmt: skip
    result, head = take("votes.json", coco(said)), tables.head()

    labels = head.table("label_table")
    assert {row["frame_id"]: (row["label"], row["resolution"]) for row in labels.iter_rows(named=True)} == {
        IDS["a.png"]: ("sound", "majority"),
        IDS["b.png"]: ("defective", "unanimous"),
        IDS["c.png"]: (None, "too_few_votes"),
    }
    assert head.table("rejected_annotations")["broken_rule"].to_list() == ["class_is_known"]
    assert head.table("benchmark_frames").select("frame_id", "label", "version").rows() == [
        (IDS["g.png"], "sound", 1)
    ]
    evidence = head.tables("annotations").filter(pl.col("benchmark").is_null())["evidence"][0]
    assert head.read(evidence) == coco(said)

    told = metadata(result, "label_table")
    assert "data:image/jpeg;base64," in told["disputed"]
    assert told["annotations that wait for"].records[0].data == {
        "waits_for": "a frame of that name",
        "rows": 1,
    }
    assert b"Great Expectations" in head.read(told["validation page"])
    answers = checks(result)
    assert not answers["no_row_is_diverted"].passed
    assert answers["no_row_is_diverted"].severity is dg.AssetCheckSeverity.WARN
    assert answers["no_row_is_diverted"].description == "1 of 11 rows (9.1%) are diverted and do not count."
    assert answers["agreed_frames_have_enough_votes"].description.endswith("Yes.")
    assert answers["annotators_agree"].description == (
        "Fleiss' kappa is 0.250 on 2 frames; the spec asks for at least 0.6."
    )


def test_a_later_revision_changes_the_label_and_labels_before_frames_wait(tables, spec, take):
    publish(tables, spec=spec)
    take("first.json", votes("a.png", "sound", "sound", "sound"))
    assert tables.head().table("label_table").is_empty()
    publish(tables, spec=spec, frames=PICTURES)
    take("second.json", votes("a.png", "defective", "defective", minute=5))
    assert tables.head().table("label_table").select("label", "resolution").rows() == [
        ("defective", "majority")
    ]


def test_a_malformed_export_fails_with_one_message_and_publishes_nothing(tables, spec, take):
    publish(tables, spec=spec)
    with pytest.raises(dg.Failure, match=r"^bad\.json: `info` is missing: expected an object"):
        take("bad.json", json.dumps({"images": []}).encode())
    assert not tables.head().partitions("annotations")


def test_an_export_that_is_gone_is_read_again_from_its_evidence(
    tables, spec, deployment, instance, take, materialize
):
    publish(tables, spec=spec)
    take("first.json", votes("a.png", "sound"))
    (deployment.data_dir / "exports" / "first.json").unlink()
    before = tables.head()
    (key,) = before.partitions("annotations")
    materialize([project_spec, annotations], selection=[annotations], partition_key=key)
    instance.add_dynamic_partitions(exports.name, ["none-00000000"])
    assert tables.head().table("annotations", key).equals(before.table("annotations", key))
    with pytest.raises(dg.Failure, match=r"No file in exports/ is the export none-00000000"):
        materialize([project_spec, annotations], selection=[annotations], partition_key="none-00000000")


def test_votes_taken_by_two_runs_at_once_are_both_in_the_label_table(tables, spec, deployment, take):
    publish(tables, spec=spec, frames=PICTURES)
    other = take  # the second export is taken while the first one's labels are about to be published

    class Interrupted(GitLake):
        pending = True

        def merge(self, source, branch, message, metadata):
            if message.startswith("label_table") and self.pending:
                self.pending = False
                thread = threading.Thread(target=lambda: other("second.json", votes("b.png", *["sound"] * 3)))
                thread.start()
                thread.join()
            return super().merge(source, branch, message, metadata)

    slow = Tables(deployment, Interrupted(deployment.data_dir / "lake"))
    resources = {"io_manager": slow, "tables": slow, "deployment": deployment}
    result = take("first.json", votes("a.png", *["defective"] * 3), resources=resources)
    assert result.success
    assert dict(tables.head().table("label_table").select("frame_id", "label").iter_rows()) == {
        IDS["a.png"]: "defective",
        IDS["b.png"]: "sound",
    }
