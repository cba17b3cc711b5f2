"""The schedule exists when the spec names one, and retrains when people labelled something since the last training."""

from datetime import UTC, datetime

import dagster as dg
import polars as pl
import pytest
from make_retraining import DRIFT, Plant

from cv_assets.spec.drift import Retraining
from resources.partitions import candidates
from sensors.retrain_on_schedule import retrain_on_schedule

FIRST_OF_MARCH = datetime(2026, 3, 1, 5, tzinfo=UTC)
RETRAINING = Retraining(schedule="0 5 1 * *")


@pytest.fixture
def instance(tmp_path):
    """A schedule's context takes no other than one that is kept on disk."""
    (tmp_path / "dagster").mkdir()
    with dg.DagsterInstance.local_temp(str(tmp_path / "dagster")) as instance:
        yield instance


@pytest.fixture
def plant(tables, deployment, instance):
    return Plant(tables, deployment, instance)


@pytest.fixture
def tick(plant):
    """What the schedule does at five on the first of March."""
    (schedule,) = retrain_on_schedule(RETRAINING)

    def run():
        context = dg.build_schedule_context(instance=plant.instance, scheduled_execution_time=FIRST_OF_MARCH)
        result = schedule(context, tables=plant.tables, deployment=plant.deployment)
        return str(result.skip_message) if isinstance(result, dg.SkipReason) else result

    return run


def test_there_is_a_schedule_only_when_the_spec_names_one():
    assert retrain_on_schedule(Retraining()) == []
    (schedule,) = retrain_on_schedule(RETRAINING)
    assert (schedule.name, schedule.job_name) == ("retrain_on_schedule", "retrain")
    assert (schedule.cron_schedule, schedule.execution_timezone) == ("0 5 1 * *", "UTC")
    assert schedule.default_status is dg.DefaultScheduleStatus.RUNNING


def test_enough_labels_that_no_training_has_seen_are_a_reason(plant, tick):
    plant.labels(199)
    assert tick() == "schedule-20260301T0500: waits for fresh labels: 199 of 200 are there."
    plant.labels(200)
    request = tick()
    assert (request.run_key, request.partition_key) == (
        "schedule-20260301T0500-1",
        "schedule-20260301T0500-1",
    )
    assert request.tags == {
        "why": "schedule-20260301T0500: the schedule asks for 2026-03-01 05:00 UTC; 200 fresh labels are there.",
        "dagster/max_retries": "2",
        "dagster/retry_strategy": "FROM_FAILURE",
    }
    assert plant.instance.has_dynamic_partition(candidates.name, request.partition_key)
    assert plant.run(request).success
    row = plant.tables.head().table("training_request", "schedule-20260301T0500-1").row(0, named=True)
    assert (row["reason"], row["evidence"]) == ("schedule", "schedule-20260301T0500")
    assert "is open (requested" in tick()


def test_labels_that_the_last_training_could_see_are_not_fresh_whoever_asked_for_it(plant, tick):
    plant.labels(250)
    plant.requested("by-hand", hours_ago=0, reason="person", evidence="wanted")
    plant.conclude("by-hand", "refused")
    assert tick() == "schedule-20260301T0500: waits for fresh labels: 0 of 200 are there."
    plant.labels(300)
    assert tick() == "schedule-20260301T0500: waits for fresh labels: 50 of 200 are there."
    plant.labels(300, label="defective")
    assert tick().run_key == "schedule-20260301T0500-1"


def test_a_training_that_nobody_judged_has_spent_no_labels(plant, tick):
    plant.labels(250)
    plant.requested("by-hand", reason="person", evidence="wanted")
    plant.conclude("by-hand", "refused", model=None)
    assert tick().run_key == "schedule-20260301T0500-1"


def test_what_would_train_must_be_in_the_benchmark(plant, tick):
    labels = plant.labels(250)
    cells = {
        "station": "line1",
        "camera": "cam1",
        "part": "p",
        "group": "g",
        "attributes": '{"product": "poly"}',
    }
    one = {"delivery": "d", "captured_at": FIRST_OF_MARCH, "received_at": FIRST_OF_MARCH, **cells}
    frames = labels.select("frame_id", capture_id="frame_id").with_columns(
        **{name: pl.lit(value) for name, value in one.items()}
    )
    accepted = frames.select("capture_id", path=pl.format("p/{}.png", "frame_id"))
    plant.put("d", raw_frames=frames, prepared_frames=accepted)
    assert tick() == "schedule-20260301T0500: waits until the benchmark holds golden frames of product=poly."


def test_an_open_drift_alarm_goes_first(plant, tick):
    plant.labels(250)
    plant.alarms(DRIFT)
    assert tick() == "schedule-20260301T0500: drift-r1 is open for the same release and goes first."


def test_a_scheduled_run_that_comes_too_late_gives_way(plant, tick):
    plant.labels(250)
    request = tick()
    plant.requested("by-hand", reason="person", evidence="wanted", requested_by="ada")
    late = plant.run(request)
    assert late.success
    assert not late.asset_materializations_for_node("trained")
    assert plant.tables.head().partitions("training_request") == ["by-hand"]
