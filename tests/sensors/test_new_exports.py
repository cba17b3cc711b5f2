"""The sensor takes each settled export once, and says why it does nothing."""

from resource import RUSAGE_SELF, getrusage

import dagster as dg
import pytest
from by_hand import edit_spec
from make_labels import coco, imports_great_expectations, publish

from cv_assets.labels.assets import annotations, benchmark_frames, label_table, rejected_annotations
from cv_assets.spec.assets import project_spec
from jobs.take_labels import take_labels
from resources.partitions import exports, in_project
from sensors.new_exports import new_exports

pytestmark = imports_great_expectations


@pytest.fixture
def folder(deployment):
    folder = deployment.data_dir / "exports"
    folder.mkdir()
    return folder


@pytest.fixture
def tick(tables, deployment, instance):
    """One look of the sensor; it remembers its cursor from tick to tick."""
    memory = {"cursor": None}

    def run():
        context = dg.build_sensor_context(instance=instance, cursor=memory["cursor"])
        result = new_exports(context, tables=tables, deployment=deployment)
        memory["cursor"] = result.cursor
        for request in result.dynamic_partitions_requests or []:
            instance.add_dynamic_partitions(exports.name, request.partition_keys)
        return result

    return run


@pytest.fixture
def run_job(resources, instance):
    defs = dg.Definitions(
        assets=in_project([project_spec, annotations, rejected_annotations, benchmark_frames, label_table]),
        jobs=[take_labels],
        resources=resources,
    )

    def run(request):
        return defs.resolve_job_def("take_labels").execute_in_process(
            instance=instance, partition_key=request.partition_key, tags=request.tags, raise_on_error=False
        )

    return run


def reason(result):
    assert not result.run_requests
    return (
        result.skip_reason.skip_message if hasattr(result.skip_reason, "skip_message") else result.skip_reason
    )


def test_without_a_published_spec_it_waits_for_one(tick):
    assert reason(tick()) == "No spec is published yet: materialize project_spec."


def test_a_spec_file_that_differs_from_the_published_spec_is_named(tables, spec, deployment, tick):
    publish(tables, spec=spec)
    edit_spec(deployment, "min_kappa: 0.6", "min_kappa: 0.5")
    assert "spec.yaml and the published project_spec differ in: labels" in reason(tick())


def test_an_export_is_requested_once_it_has_settled_and_put_away_once_published(
    tables, spec, folder, tick, run_job
):
    publish(tables, spec=spec)
    assert reason(tick()) == "No new label export in exports/."
    (folder / "batch 1.json").write_bytes(coco([("a.png", "ann", "sound")]))
    assert reason(tick()) == "batch 1.json may still be written, or cannot be read"
    (request,) = tick().run_requests
    assert request.partition_key.startswith("batch-1-")
    assert run_job(request).success
    assert reason(tick()) == "No new label export in exports/."
    assert [path.name for path in (folder / "taken").iterdir()] == [f"{request.partition_key}.json"]

    # The same bytes again, under another name, are known; the same name with other bytes is new.
    (folder / "copy.json").write_bytes(coco([("a.png", "ann", "sound")]))
    (folder / "batch 1.json").write_bytes(coco([("a.png", "ann", "defective")], minute=1))
    tick()
    (second,) = tick().run_requests
    assert second.partition_key.startswith("batch-1-")
    assert second.partition_key != request.partition_key
    assert not (folder / "copy.json").exists()


def test_a_malformed_export_is_not_tried_again_and_its_run_is_named(tables, spec, folder, tick, run_job):
    publish(tables, spec=spec)
    (folder / "bad.json").write_bytes(b"{")
    tick()
    (request,) = tick().run_requests
    failed = run_job(request)
    assert not failed.success
    for _ in range(2):
        assert f"bad.json was not taken: run {failed.run_id} failed and says why" in reason(tick())
    assert (folder / "bad.json").exists()

    (folder / "bad.json").write_bytes(coco([("a.png", "ann", "sound")]))
    tick()
    assert len(tick().run_requests) == 1


def test_a_request_whose_tick_died_is_made_again(tables, spec, folder, tick, instance):
    publish(tables, spec=spec)
    (folder / "a.json").write_bytes(coco([("a.png", "ann", "sound")]))
    tick()
    (lost,) = tick().run_requests
    assert instance.get_dynamic_partitions(exports.name) == [lost.partition_key]
    (again,) = tick().run_requests
    assert again.run_key == lost.run_key


def test_a_file_of_a_gigabyte_fails_its_run_with_what_to_do_and_no_other_waits(
    tables, spec, folder, tick, run_job
):
    publish(tables, spec=spec)
    with (folder / "huge.csv").open("wb") as stream:
        stream.truncate(1_000_000_000)
    (folder / "votes.json").write_bytes(coco([("a.png", "ann", "sound")]))
    tick()
    refused, other = tick().run_requests
    assert other.partition_key.startswith("votes-")
    before = getrusage(RUSAGE_SELF).ru_maxrss
    failed = run_job(refused)
    assert (getrusage(RUSAGE_SELF).ru_maxrss - before) < 300_000  # kB, of which libraries take most
    assert not failed.success
    said = failed.failure_data_for_node("annotations").user_failure_data.description
    assert said.startswith("huge.csv: it has 1000.0 MB: expected at most 200 MB (`labels.max_export_mb`")
    (folder / "votes.json").unlink()
    assert f"huge.csv was not taken: run {failed.run_id} failed and says why" in reason(tick())
