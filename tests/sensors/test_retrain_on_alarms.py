"""An open alarm gets its retraining, and each tick without one says what is waited for."""

import uuid

import dagster as dg
import pytest
from by_hand import edit_spec
from make_retraining import DRIFT, KPI, STATION, Plant
from run_results import checks

from resources.partitions import OURS, candidates
from sensors.retrain_on_alarms import retrain_on_drift, retrain_on_kpi

FAILED, STARTED = dg.DagsterRunStatus.FAILURE, dg.DagsterRunStatus.STARTED


@pytest.fixture
def instance():
    """One that retries failed runs, as infra/dagster.yaml says."""
    with dg.DagsterInstance.ephemeral(settings={"run_retries": {"enabled": True}}) as instance:
        yield instance


@pytest.fixture
def plant(tables, deployment, instance):
    return Plant(tables, deployment, instance)


def test_without_an_alarm_the_tick_says_so(plant):
    assert plant.tick(retrain_on_drift) == "No drift or station alarm is open."
    plant.alarms({**DRIFT, "state": "closed"}, {**KPI, "state": "closed"})
    assert plant.tick(retrain_on_drift) == "No drift or station alarm is open."
    assert plant.tick(retrain_on_kpi) == "No KPI alarm is open."


@pytest.mark.parametrize(
    ("sensor", "alarm", "reason"), [(retrain_on_drift, DRIFT, "drift"), (retrain_on_kpi, KPI, "kpi")]
)
def test_an_alarm_with_enough_fresh_labels_is_requested_with_all_that_its_run_needs(
    plant, sensor, alarm, reason
):
    plant.alarms(alarm)
    (request,) = plant.tick(sensor).run_requests
    candidate = f"{alarm['alarm_id']}-1"
    assert (request.run_key, request.partition_key) == (candidate, candidate)
    assert request.tags == {
        "why": f"{alarm['alarm_id']}: {alarm['why'][:-1]}; 214 fresh labels are there.",
        "dagster/max_retries": "2",
        "dagster/retry_strategy": "FROM_FAILURE",
    }
    assert request.run_config == {
        "ops": {
            "training_request": {
                "config": {"reason": reason, "evidence": alarm["alarm_id"], "requested_by": sensor.name}
            }
        }
    }
    assert plant.instance.has_dynamic_partition(candidates.name, candidate)


def test_both_sensors_look_every_few_seconds_and_run_from_the_start():
    for sensor, seconds in ((retrain_on_drift, 4), (retrain_on_kpi, 14)):
        assert (sensor.minimum_interval_seconds, sensor.default_status.value) == (seconds, "RUNNING")
        assert sensor.job_name == "retrain"


@pytest.mark.parametrize(
    ("alarm", "why"),
    [
        ({**DRIFT, "fresh_labels": 120}, "drift-r1: waits for fresh labels: 120 of 200 are there."),
        (
            {**DRIFT, "lacking_conditions": ["product=poly"]},
            "drift-r1: waits until the benchmark holds golden frames of product=poly.",
        ),
        (
            {**DRIFT, "state": "warning", "waiting": "Another one."},
            "drift-r1: a warning, no alarm yet. Another one.",
        ),
        (
            STATION,
            "rejected-line1-d3: a person looks at station line1; no retraining mends a station.",
        ),
    ],
)
def test_what_is_missing_is_said(plant, alarm, why):
    plant.alarms(alarm)
    assert plant.tick(retrain_on_drift) == why


def test_the_cooldown_is_said_with_its_end(plant):
    plant.requested("kpi-r1-overkill-1", hours_ago=3, reason="kpi", evidence="kpi-r1-overkill")
    plant.conclude("kpi-r1-overkill-1", "refused")
    plant.alarms(DRIFT)
    said = plant.tick(retrain_on_drift)
    assert said.startswith("drift-r1: waits until ")
    assert said.endswith(" UTC: cooldown of 24 hours after kpi-r1-overkill-1.")


def test_a_kpi_alarm_waits_for_the_drift_alarm_of_its_release(plant):
    plant.alarms({**DRIFT, "fresh_labels": 0}, KPI)
    assert (
        plant.tick(retrain_on_kpi) == "kpi-r1-overkill: drift-r1 is open for the same release and goes first."
    )


def test_a_spec_that_is_not_in_force_is_said(plant):
    edit_spec(plant.deployment, "min_new_labels: 200", "min_new_labels: 300")
    for sensor in (retrain_on_drift, retrain_on_kpi):
        assert "differ in: retraining" in plant.tick(sensor)


def test_from_the_alarm_to_the_next_attempt(plant):
    plant.labels(214)
    plant.alarms(DRIFT)
    (request,) = plant.tick(retrain_on_drift).run_requests
    result = plant.run(request)
    assert result.success
    row = plant.tables.head().table("training_request", "drift-r1-1").row(0, named=True)
    assert (row["reason"], row["evidence"], row["requested_by"]) == ("drift", "drift-r1", "retrain_on_drift")
    assert row["run"] == result.run_id
    assert "candidate drift-r1-1 is open" in plant.tick(retrain_on_drift)
    plant.conclude("drift-r1-1", "refused")
    assert plant.tick(retrain_on_drift) == (
        "drift-r1: it does not know of candidate drift-r1-1 yet and waits for the next run of `refresh`."
    )
    plant.requested("drift-r1-1", hours_ago=30)  # the cooldown is over
    plant.alarms({**DRIFT, "attempts": 1, "fresh_labels": 50})
    assert plant.tick(retrain_on_drift) == "drift-r1: waits for fresh labels: 50 of 200 are there."
    plant.alarms({**DRIFT, "attempts": 1})
    assert plant.tick(retrain_on_drift).run_requests[0].run_key == "drift-r1-2"


def test_a_run_in_flight_is_waited_for_whoever_asked_for_it(plant):
    plant.alarms(DRIFT)
    run = plant.record(STARTED, "by-hand")
    assert plant.tick(retrain_on_drift) == (
        f"drift-r1: one training at a time. Run {run.run_id} of by-hand is in flight."
    )


def test_a_failed_run_waits_for_its_retries_and_then_names_itself_for_a_person(plant):
    plant.labels(214)
    plant.alarms(DRIFT)
    (request,) = plant.tick(retrain_on_drift).run_requests
    first = plant.run(request, fails="always")
    said = plant.tick(retrain_on_drift)
    assert (
        f"Run {first.run_id} of drift-r1-1 ended as failure after 1 try, and Dagster tries it again" in said
    )
    last = first.dagster_run
    group = {**OURS, "dagster/partition": "drift-r1-1", "dagster/root_run_id": first.run_id, **request.tags}
    for retry in ("1", "2"):
        last = plant.instance.add_run(
            dg.DagsterRun(
                "retrain", run_id=str(uuid.uuid4()), status=STARTED, root_run_id=first.run_id,
                parent_run_id=last.run_id, tags={**group, "dagster/retry_number": retry},
            )
        )  # fmt: skip
        plant.instance.add_run_tags(last.parent_run_id, {"dagster/auto_retry_run_id": last.run_id})
        assert f"Run {last.run_id} of drift-r1-1 is in flight." in plant.tick(retrain_on_drift)
        plant.instance.report_run_failed(last)
    said = plant.tick(retrain_on_drift)
    assert "candidate drift-r1-1 is open" in said
    assert said.endswith(
        f"Run {last.run_id} of drift-r1-1 ended as failure after 3 tries and is not tried again by itself: a person is "
        "called to read why there, mend it, and re-execute the run from failure."
    )


def test_of_two_runs_that_two_daemons_made_for_one_candidate_one_trains(plant):
    plant.labels(214)
    plant.alarms(DRIFT)
    (request,) = plant.tick(retrain_on_drift).run_requests
    first, second = plant.run(request), plant.run(request)
    assert first.success
    assert second.success
    assert [len(one.asset_materializations_for_node("trained")) for one in (first, second)] == [1, 0]
    wanted = checks(second)["is_still_wanted"]
    assert not wanted.passed
    assert wanted.description == f"Run {first.run_id} requested drift-r1-1 before this one, and trains it."


def test_of_two_sensors_that_asked_at_once_one_gives_way_and_asks_again_later(plant):
    plant.labels(214)
    plant.alarms(KPI)
    (kpi,) = plant.tick(retrain_on_kpi).run_requests
    plant.alarms(DRIFT, KPI)
    (drift,) = plant.tick(retrain_on_drift).run_requests
    assert plant.run(drift).success
    given_way = plant.run(kpi)
    assert given_way.success
    assert not given_way.asset_materializations_for_node("training_request")
    assert checks(given_way)["is_still_wanted"].description == (
        "kpi-r1-overkill: drift-r1 is open for the same release and goes first."
    )
    assert plant.tables.head().partitions("training_request") == ["drift-r1-1"]
    plant.requested("drift-r1-1", hours_ago=30)
    plant.conclude("drift-r1-1", "refused")
    plant.alarms(KPI)
    assert plant.tick(retrain_on_kpi).run_requests[0].run_key == "kpi-r1-overkill-2"


def test_a_training_of_another_project_is_not_waited_for(plant):
    plant.record(STARTED, "drift-r1-1", project="plant_b")
    plant.alarms(DRIFT)
    (request,) = plant.tick(retrain_on_drift).run_requests
    assert request.run_key == "drift-r1-1"
