import dagster as dg
import make_frames
import pytest
from by_hand import edit_spec
from filelock import FileLock

from cv_assets.drift.assets import drift_metrics
from cv_assets.frames.assets import prepared_frames, raw_frames
from cv_assets.inspection.assets import inspections, outbox
from cv_assets.spec.assets import project_spec
from jobs.receive import receive
from resources import lakefs_connection
from resources.lake import LakeUnreachableError
from resources.lakefs_lake import LakeFSLake
from resources.partitions import OURS, asset_key, deliveries, in_project
from resources.tables import Tables
from sensors.new_deliveries import new_deliveries


def name(part, group="m01", of=2):
    return f"line1_cam1_20260302T0815{part:02d}_mono_{group}of{of}_{group}c{part:03d}.png"


@pytest.fixture
def spec_in_force(materialize):
    materialize([project_spec])


@pytest.fixture
def drop(deployment):
    def write(*names):
        (deployment.data_dir / "inbox").mkdir(exist_ok=True)
        for place, file in enumerate(names):
            picture = make_frames.cell(place, size=(300, 300))
            (deployment.data_dir / "inbox" / file).write_bytes(make_frames.png(picture))

    return write


@pytest.fixture
def tick(instance, resources):
    """`tick(times)`: evaluate the sensor, as the daemon does; the last answer."""

    def evaluate(times=1):
        for _ in range(times):
            given = {key: resources[key] for key in ("tables", "deployment")}
            context = dg.build_sensor_context(instance=instance, resources=given)
            answer = new_deliveries(context)
            if isinstance(answer, dg.SensorResult):
                for request in answer.dynamic_partitions_requests:
                    instance.add_dynamic_partitions(deliveries.name, request.partition_keys)
        return answer

    return evaluate


@pytest.fixture
def job(resources):
    assets = [project_spec, raw_frames, prepared_frames, inspections, outbox, drift_metrics]
    defs = dg.Definitions(assets=in_project(assets), jobs=[receive], resources=resources)
    return defs.resolve_job_def("receive")


@pytest.fixture
def run(instance, job):
    """`run(key)`: what the daemon launches for a requested delivery."""

    def launch(key, **arguments):
        return job.execute_in_process(instance=instance, partition_key=key, **arguments)

    return launch


def test_a_delivery_is_requested_taken_in_and_put_away(spec_in_force, drop, tick, run, deployment, tables):
    drop(name(1), name(2))
    assert "2 more may still be written to" in tick().skip_message
    (request,) = tick().run_requests
    assert request.partition_key == request.run_key
    assert request.tags["why"] == f"{request.run_key}: closed with 2 files: m01 is complete (2 of 2)"
    assert run(request.partition_key).success
    assert tick().skip_message == "2 published files were put away."
    assert tick().skip_message == "The inbox is empty."
    assert tables.head().table("raw_frames", request.partition_key)["part"].to_list() == [
        "m01c001",
        "m01c002",
    ]
    assert len(list((deployment.data_dir / "taken" / request.partition_key).iterdir())) == 2
    assert (deployment.data_dir / "outbox" / f"{request.partition_key}.json").is_file()


def test_what_waits_is_said_in_words(spec_in_force, drop, tick):
    drop(name(1, group="m07", of=60))
    assert tick(2).skip_message.startswith(
        "1 file waits for line1: m07 has 1 of 60; the delivery closes when complete or at "
    )


def test_a_delivery_whose_tick_died_before_its_run_was_launched_is_requested_again(spec_in_force, drop, tick):
    drop(name(1, of=1))
    first, second = tick(2), tick()
    assert [one.run_key for one in first.run_requests] == [one.run_key for one in second.run_requests]


def test_a_delivery_in_flight_is_not_requested_again(spec_in_force, drop, tick, instance, job):
    drop(name(1, of=1))
    (request,) = tick(2).run_requests
    run = instance.create_run_for_job(job, tags={**OURS, "dagster/partition": request.partition_key})
    assert tick().skip_message == f"{request.partition_key} is being taken in by run {run.run_id}."


def test_a_failed_delivery_waits_for_a_person_and_can_be_taken_in_again(
    spec_in_force, drop, tick, run, deployment, tables
):
    drop(name(1, of=1))
    (request,) = tick(2).run_requests
    (deployment.data_dir / "inbox").rename(deployment.data_dir / "unmounted")
    failed = run(request.partition_key, raise_on_error=False)
    (deployment.data_dir / "unmounted").rename(deployment.data_dir / "inbox")
    said = tick().skip_message
    assert said == (
        f"Run {failed.run_id} of {request.partition_key} ended as failure before raw_frames was published: read why "
        "there, mend it, then re-execute it from failure, or materialize raw_frames, prepared_frames, inspections, "
        "outbox and drift_metrics of this partition. Its files stay where they are."
    )
    assert run(request.partition_key).success
    assert tick().skip_message == "1 published file was put away."


def test_a_run_whose_process_died_is_tried_again_and_takes_its_place_among_those_at_once(
    spec_in_force, drop, tick, instance, job
):
    drop(*(name(1, group=f"m{group:02d}", of=1) for group in range(5)))
    requests = tick(2).run_requests
    assert {request.tags["dagster/max_retries"] for request in requests} == {"2"}
    assert {request.tags["dagster/retry_on_asset_or_op_failure"] for request in requests} == {"false"}
    for request in requests:
        run = instance.create_run_for_job(job, tags={**OURS, "dagster/partition": request.partition_key})
    instance.report_run_failed(run)
    instance.add_run_tags(run.run_id, {"dagster/will_retry": "true"})
    said = tick().skip_message
    assert f"The process of run {run.run_id} of {request.partition_key} died; Dagster tries it again." in said
    assert "1 more wait until fewer than 4 are being taken in." in said
    again = instance.create_run_for_job(job, tags=run.tags, root_run_id=run.run_id, parent_run_id=run.run_id)
    assert f"{request.partition_key} is being taken in by run {again.run_id}." in tick().skip_message


def test_a_delivery_whose_run_failed_between_its_tables_says_which_are_missing(
    spec_in_force, drop, tick, run, deployment
):
    drop(name(1, of=1))
    (request,) = tick(2).run_requests
    (deployment.data_dir / "outbox").write_text("a file where the folder should be")
    failed = run(request.partition_key, raise_on_error=False)
    assert tick().skip_message == (
        f"Run {failed.run_id} of {request.partition_key} ended as failure before outbox was published: read why there, "
        "mend it, then re-execute it from failure, or materialize outbox and drift_metrics of this partition. Its "
        "frames are safe in the lake. 1 published file was put away."
    )
    (deployment.data_dir / "outbox").unlink()
    told = run(request.partition_key, asset_selection=[asset_key("outbox")])
    assert tick().skip_message == (
        f"Run {told.run_id} ended well, but {request.partition_key} is not finished here: materialize drift_metrics of "
        "this partition."
    )
    assert run(request.partition_key, asset_selection=[asset_key("drift_metrics")]).success
    assert tick().skip_message == "The inbox is empty."


def test_a_delivery_that_was_taken_in_before_it_could_be_inspected_says_what_to_materialize(
    spec_in_force, drop, tick, run
):
    drop(name(1, of=1))
    (request,) = tick(2).run_requests
    taken = run(
        request.partition_key, asset_selection=[asset_key("raw_frames"), asset_key("prepared_frames")]
    )
    assert tick().skip_message.startswith(
        f"Run {taken.run_id} ended well, but {request.partition_key} is not finished here: materialize inspections, "
        "outbox and drift_metrics of this partition."
    )


def test_without_a_spec_in_force_nothing_is_looked_at(tick, drop, materialize, deployment):
    drop(name(1, of=1))
    assert tick(3).skip_message == "No spec is published yet: materialize project_spec."
    materialize([project_spec])
    edit_spec(deployment, "minutes: 30", "minutes: 31")
    assert "differ in: acquisition" in tick(3).skip_message


def test_a_backlog_does_not_start_all_its_runs_at_once(spec_in_force, drop, tick):
    drop(*(name(1, group=f"m{group:02d}", of=1) for group in range(7)))
    assert len(tick(2).run_requests) == 4


def test_folders_and_links_are_mentioned_and_left_alone(spec_in_force, tick, deployment):
    (deployment.data_dir / "inbox" / "old").mkdir(parents=True)
    (deployment.data_dir / "inbox" / "a.png").symlink_to(deployment.spec_file)
    assert tick(3).skip_message == "Not taken: 1 folder, 1 link."


def test_two_ticks_never_look_at_once(spec_in_force, drop, tick, deployment):
    drop(name(1, of=1))
    tick()
    with FileLock(deployment.data_dir / "deliveries" / "look.lock"):
        assert tick().skip_message == "Another tick is looking at the inbox."
    assert len(tick().run_requests) == 1


def test_a_lakefs_that_is_down_is_named_in_the_error_of_the_tick_with_what_to_do(
    tick, deployment, resources, monkeypatch, tmp_path
):
    monkeypatch.setattr(lakefs_connection, "_RETRIES", False)
    lake = LakeFSLake("http://127.0.0.1:1", "key", "secret", "cv-assets", tmp_path / "cache")
    resources["tables"] = Tables(deployment, lake)
    with pytest.raises(LakeUnreachableError, match=r"lakeFS at .* does not answer: start it or correct"):
        tick()
