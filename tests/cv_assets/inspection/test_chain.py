"""From a file in the inbox to the line's file in the outbox, by a model that was trained and released here."""

import json

import dagster as dg
import make_frames
import polars as pl
import pytest
import torch
from make_candidates import CANDIDATE, Plant, as_table
from run_results import metadata

from cv_assets.drift.assets import drift_metrics
from cv_assets.evaluation.schema import ReleaseDecision
from cv_assets.frames.assets import prepared_frames, raw_frames
from cv_assets.inspection.assets import inspections, outbox
from cv_assets.release.assets import releases
from cv_assets.spec.assets import project_spec
from cv_assets.training.features import read_image
from cv_assets.training.inference import load_predictor
from jobs.receive import receive
from resources.partitions import deliveries, in_project
from resources.tables import candidate_branch, table_path
from sensors.new_deliveries import new_deliveries


@pytest.fixture(autouse=True)
def one_thread():
    """PyTorch's threads wait for each other in a loop: on busy cores tiny models then take many times as long."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


def released(plant):
    """Train a candidate, judge it by hand and release it."""
    plant.publish()
    assert plant.run("split_table", "cnn_checkpoint").success
    decision = {
        "number": 1,
        "candidate": CANDIDATE,
        "model": "cnn",
        "passed": True,
        "lower": 0.2,
        "upper": 0.8,
    }
    branch, path = candidate_branch("main", CANDIDATE), table_path("release_decision", CANDIDATE)
    plant.tables.lake.commit(
        branch, {path: as_table(pl.DataFrame([decision]), ReleaseDecision)}, "decided", {}
    )
    config = {"candidate": CANDIDATE, "approver": "quality.lead"}
    result = dg.materialize(
        [*plant.steps, releases],
        selection=["releases"],
        run_config={"ops": {"releases": {"config": config}}},
        resources=plant.resources,
        instance=plant.instance,
    )
    assert metadata(result, "releases")["in force"] == "v1.0.0 (cnn of first)"


def test_a_released_model_judges_what_is_dropped_and_the_line_is_told(
    deployment, tables, instance, resources
):
    released(Plant(deployment, tables, instance))
    box = deployment.data_dir / "inbox"
    box.mkdir()
    for part in (1, 2):
        picture = make_frames.cell(part, (300, 300), crack=part == 2)
        (box / f"line1_cam1_20260302T08150{part}_mono_m08of3_m08c00{part}.png").write_bytes(
            make_frames.png(picture)
        )
    (box / "line1_cam1_20260302T081503_mono_m08of3_m08c003.png").write_bytes(
        make_frames.png(make_frames.blurred(make_frames.cell(3, (300, 300))))
    )

    def tick():
        given = {key: resources[key] for key in ("tables", "deployment")}
        return new_deliveries(dg.build_sensor_context(instance=instance, resources=given))

    tick()
    (request,) = tick().run_requests
    key = request.partition_key
    assert request.tags["why"] == f"{key}: closed with 3 files: m08 is complete (3 of 3)"
    instance.add_dynamic_partitions(deliveries.name, [key])
    defs = dg.Definitions(
        assets=in_project([project_spec, raw_frames, prepared_frames, inspections, outbox, drift_metrics]),
        jobs=[receive],
        resources=resources,
    )
    job = defs.resolve_job_def("receive")
    assert job.execute_in_process(instance=instance, partition_key=key).success

    head = tables.head()
    rows = head.table("inspections", key)
    checkpoint = head.table("cnn_checkpoint", CANDIDATE).row(0, named=True)
    predictor = load_predictor(checkpoint, head.fetch, deployment.cache_dir)
    expected = [predictor.score(read_image(head.fetch(path))).tolist() for path in rows["prepared_path"][:2]]
    assert rows["scores"].to_list() == [*expected, None]
    assert rows["reason"][2] == "frame_rejected"
    assert rows["release"].to_list() == ["v1.0.0"] * 3
    said = json.loads((deployment.data_dir / "outbox" / f"{key}.json").read_text("utf-8"))
    assert [(one["part"], one["verdict"]) for one in said["verdicts"]] == rows.select(
        "part", "verdict"
    ).rows()
    assert (head.table("outbox", key)["seconds"] > 0).all()
    assert tick().skip_message == "3 published files were put away."
    assert tick().skip_message == "The inbox is empty."
