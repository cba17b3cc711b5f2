"""After old runs went, the sensors' next ticks ask for nothing that they asked for before."""

from datetime import timedelta

import dagster as dg
import make_frames
import pytest
from by_hand import edit_spec

from cv_assets.drift.assets import drift_metrics
from cv_assets.frames.assets import prepared_frames, raw_frames
from cv_assets.inspection.assets import inspections, outbox
from cv_assets.spec.assets import project_spec
from cv_assets.spec.retention import Retention
from cv_assets.upkeep import assets, pruning
from cv_assets.upkeep.assets import run_pruning
from jobs.receive import receive
from resources.partitions import OURS, deliveries, in_project
from sensors.new_deliveries import new_deliveries
from sensors.prune_weekly import prune_weekly

STEPS = [project_spec, raw_frames, prepared_frames, inspections, outbox, drift_metrics]


@pytest.fixture
def instance(tmp_path):
    with dg.instance_for_test(temp_dir=str(tmp_path)) as instance:
        yield instance


@pytest.fixture
def prune(materialize, monkeypatch):
    """`prune(dry_run)`: as if all that ended were old; what the run says in short, and its rows."""
    monkeypatch.setattr(assets, "timedelta", lambda days: timedelta(0))
    monkeypatch.setattr(pruning, "NEWEST_OF_A_JOB", 0)

    def run(dry_run):
        config = {"ops": {"run_pruning": {"config": {"dry_run": dry_run}}}}
        result = materialize(
            [project_spec, run_pruning], selection=[run_pruning], run_config=config, tags=OURS
        )
        (event,) = result.get_asset_materialization_events()
        return event.materialization.metadata["in short"].value

    return run


@pytest.fixture
def tick(instance, resources):
    def evaluate():
        given = {key: resources[key] for key in ("tables", "deployment")}
        return new_deliveries(dg.build_sensor_context(instance=instance, resources=given))

    return evaluate


def drop(deployment, number):
    inbox = deployment.data_dir / "inbox"
    inbox.mkdir(exist_ok=True)
    name = f"line1_cam1_20260302T081501_mono_m{number}of1_m{number}c001.png"
    (inbox / name).write_bytes(make_frames.png(make_frames.cell(number, size=(300, 300))))


def test_without_days_in_the_spec_nothing_is_pruned_by_itself():
    assert prune_weekly(Retention()) == []
    (schedule,) = prune_weekly(Retention(runs_days=90))
    assert schedule.job_name == "prune_runs"


def test_after_pruning_no_sensor_acts_again(deployment, materialize, instance, resources, prune, tick):
    edit_spec(deployment, "\nclasses:", "\nretention: {runs_days: 1}\nclasses:")
    materialize([project_spec], tags=OURS)
    materialize([project_spec], tags=OURS)
    defs = dg.Definitions(assets=in_project(STEPS), jobs=[receive], resources=resources)
    job = defs.resolve_job_def("receive")
    for number in (1, 2):
        drop(deployment, number)
        tick()
        (request,) = tick().run_requests
        instance.add_dynamic_partitions(deliveries.name, [request.partition_key])
        if number == 2:
            (deployment.data_dir / "inbox").rename(deployment.data_dir / "unmounted")
        job.execute_in_process(
            instance=instance,
            partition_key=request.partition_key,
            tags={**OURS, "dagster/run_key": request.run_key},
            raise_on_error=False,
        )
        tick()
    (deployment.data_dir / "unmounted").rename(deployment.data_dir / "inbox")
    tick()
    before, known = tick().skip_message, instance.get_runs_count()
    assert "before raw_frames was published" in before
    would = prune(dry_run=True)
    assert would.startswith("1 run would go, 2 runs that something needs would lose the messages")
    assert instance.get_runs_count() == known + 1
    assert prune(dry_run=False).startswith("1 run went, 3 runs that something needs lost the messages")
    assert instance.get_runs_count() == known + 2 - 1
    assert tick().skip_message == before
