"""The sensor has queue, KPIs and alarms made again when something changed, once, and says how it stands otherwise."""

import time
import uuid
from datetime import UTC, datetime, timedelta

import dagster as dg
import pytest
from by_hand import edit_spec, publish_by_hand
from make_drift import metric_row, metrics
from make_labels import delivered, publish
from make_replay import released
from make_review import inspections, label, labels, verdict
from run_results import passed

from cv_assets.alarms.assets import alarms
from cv_assets.requests.schema import TrainingRequest
from cv_assets.review.assets import kpis, review_queue, review_worklist
from cv_assets.spec.assets import project_spec
from cv_assets.spec.load import load_spec, to_table
from jobs.refresh import refresh
from resources.partitions import OURS, asset_key, in_project
from resources.tables import parquet, table_path
from sensors.review_changes import review_changes

MADE = [review_queue, review_worklist, kpis, alarms]
ASSETS = in_project([project_spec, *MADE])
UP_TO_DATE = "The queue is up to date: 1 open, 0 unresolved, 0 overdue, 0 more due today."


@pytest.fixture
def tick(tables, deployment, instance):
    """One look of the sensor, which keeps its cursor: the request, or why there is none."""
    cursor = None

    def run():
        nonlocal cursor
        resources = {"tables": tables, "deployment": deployment}
        looked = review_changes.evaluate_tick(
            dg.build_sensor_context(instance=instance, cursor=cursor, resources=resources)
        )
        cursor = looked.cursor
        return looked.skip_message or looked.run_requests[0]

    return run


@pytest.fixture
def run_job(resources, instance):
    defs = dg.Definitions(assets=ASSETS, jobs=[refresh], resources=resources)

    def run(request=None):
        # The daemon tags a run with the key that it was requested under.
        tags = {**request.tags, "dagster/run_key": request.run_key} if request else {}
        return defs.resolve_job_def("refresh").execute_in_process(
            instance=instance, tags=tags, raise_on_error=False
        )

    return run


@pytest.fixture
def inspect(tables):
    """Publish the verdict on the one frame of a delivery, by default given now."""

    def run(delivery, reason, decided_at=None):
        frames, files = delivered({f"{delivery}.png": delivery.encode()}, delivery)
        given = [
            verdict(one, reason) | {"decided_at": decided_at or datetime.now(UTC)}
            for one in frames.iter_rows(named=True)
        ]
        publish_by_hand(
            tables.lake,
            {
                **files,
                table_path("raw_frames", delivery): parquet(frames),
                table_path("inspections", delivery): parquet(inspections(*given)),
            },
        )

    return run


def publish_labels(tables, *rows):
    publish_by_hand(tables.lake, {table_path("label_table"): parquet(labels(*rows))})


def publish_spec(tables, deployment):
    rows = to_table(load_spec(deployment.spec_file))
    publish_by_hand(tables.lake, {table_path("project_spec"): parquet(rows)})


def publish_drift(tables, *rows):
    """As the asset does: a delivery's table, with the asset's name in the commit."""
    lake, path = tables.lake, table_path("drift_metrics", rows[0]["delivery"])
    lake.create_branch("work", lake.resolve("main"))
    commit = lake.commit("work", {path: parquet(metrics(*rows))}, "drift", {"asset": "drift_metrics"})
    lake.merge(commit, "main", "drift", {"asset": "drift_metrics"})
    lake.delete_branch("work")


def test_it_waits_for_a_spec_and_for_something_to_review(tables, spec, tick):
    assert tick() == "No spec is published yet: materialize project_spec."
    publish(tables, spec=spec)
    assert tick() == "Nothing to review yet: no delivery was inspected, and nothing is labelled."


def test_an_inspected_delivery_is_requested_once_and_then_the_queue_is_up_to_date(
    tables, spec, inspect, tick, run_job
):
    publish(tables, spec=spec)
    inspect("d1", "low_confidence")
    request = tick()
    assert request.tags["why"] == "1 delivery was inspected (d1)"
    assert tick().run_key == request.run_key
    assert run_job(request).success
    assert tick() == UP_TO_DATE
    inspect("d2", "no_release")
    inspect("d3", "no_release")
    assert tick().tags["why"] == "2 deliveries were inspected (d2, d3)"


def test_a_refresh_that_changed_nothing_is_not_requested_again(tables, spec, inspect, tick, run_job):
    publish(tables, spec=spec)
    inspect("d1", "low_confidence")
    assert run_job(tick()).success
    inspect("d2", "below_lower")  # nobody has to see it
    second = tick()
    before = tables.head().commit
    assert run_job(second).success
    assert tables.head().commit == before
    # What else is published makes no difference.
    publish_by_hand(tables.lake, {table_path("outbox", "d2"): b"any"})
    for _ in range(2):
        assert tick() == UP_TO_DATE
    inspect("d3", "above_upper")
    assert tick().run_key not in (second.run_key, None)


def test_new_labels_are_requested_also_when_earlier_labels_come_back(tables, spec, inspect, tick, run_job):
    publish(tables, spec=spec)
    inspect("d1", "low_confidence")
    run_job(tick())
    keys = []
    for rows in (
        [label("a", "ann", agreed="sound")],
        [label("b", "ann", agreed="sound")],
        [label("a", "ann", agreed="sound")],
    ):
        publish_labels(tables, *rows)
        request = tick()
        assert request.tags["why"] == "the labels changed"
        keys.append(request.run_key)
        assert run_job(request).success
        assert tick().startswith("The queue is up to date")
    assert len(set(keys)) == 3


def test_a_delivery_measured_for_drift_is_requested_once_and_again_when_it_is_measured_otherwise(
    tables, spec, inspect, tick, run_job
):
    publish(tables, spec=spec)
    inspect("d1", "low_confidence")
    run_job(tick())
    keys = set()
    for psi in (0.6, 0.7, 0.8):  # ordinary: nobody is asked, and the queue stays as it is
        publish_drift(tables, metric_row("d1", psi=psi))
        request = tick()
        assert request.tags["why"] == "1 delivery was measured for drift (d1)"
        assert run_job(request).success
        assert tick() == UP_TO_DATE
        keys.add(request.run_key)
    assert len(keys) == 3


def test_a_drift_sends_its_deliveries_to_people_and_opens_an_alarm_in_one_refresh(
    tables, spec, inspect, tick, run_job
):
    publish(tables, spec=spec)
    publish_by_hand(tables.lake, {table_path("releases"): parquet(released("v1.0.0"))})
    for hour, delivery in enumerate(("d1", "d2")):
        inspect(delivery, "below_lower")
        publish_drift(tables, metric_row(delivery, "drifted", hour=hour))
    assert (
        tick().tags["why"]
        == "2 deliveries were inspected (d1, d2); 2 deliveries were measured for drift (d1, d2); the releases changed"
    )
    assert run_job(tick()).success
    assert tables.head().table("review_queue")["reason"].to_list() == ["drifted", "drifted"]
    assert tables.head().table("alarms")["alarm_id"].to_list() == ["drift-r1"]
    assert tick().startswith("The queue is up to date: 2 open")


def test_a_release_and_a_training_request_are_requested_for_alarms_follow_from_them(
    tables, spec, inspect, tick, run_job
):
    publish(tables, spec=spec)
    inspect("d1", "low_confidence")
    run_job(tick())
    publish_by_hand(tables.lake, {table_path("releases"): parquet(released("v1.0.0"))})
    request = tick()
    assert request.tags["why"] == "the releases changed"
    assert run_job(request).success
    assert tick() == UP_TO_DATE
    asked = TrainingRequest.create_empty()
    publish_by_hand(tables.lake, {table_path("training_request", "drift-r1-1"): parquet(asked)})
    request = tick()
    assert request.tags["why"] == "the releases changed; a training was requested (drift-r1-1)"
    assert run_job(request).success
    assert tick() == UP_TO_DATE


def test_what_a_refresh_publishes_is_no_change(tables, spec, inspect, tick, run_job):
    publish(tables, spec=spec)
    inspect("d1", "low_confidence")
    assert run_job(tick()).success
    rows = tables.head()
    for name in ("kpis", "alarms"):
        publish_by_hand(tables.lake, {table_path(name): parquet(rows.table(name).clear())})
    assert tick() == UP_TO_DATE


def test_what_somebody_took_from_the_worklist_comes_back_also_while_the_queue_lags_behind_its_inputs(
    tables, spec, inspect, tick, run_job
):
    publish(tables, spec=spec)
    inspect("d1", "low_confidence")
    run_job(tick())
    inspect("d2", "below_lower")  # nobody has to see it: the queue stays as it is
    assert run_job(tick()).success
    nothing = tables.head().table("review_worklist").clear()
    publish_by_hand(tables.lake, {table_path("review_worklist"): parquet(nothing)})
    request = tick()
    assert request.tags["why"] == "the worklist does not ask what the queue does"
    assert run_job(request).success
    assert tick() == UP_TO_DATE


def test_another_spec_is_requested_whatever_section_changed_and_the_same_one_is_not(
    tables, deployment, spec, inspect, tick, run_job
):
    publish(tables, spec=spec)
    inspect("d1", "low_confidence")
    run_job(tick())
    publish_spec(tables, deployment)  # the same again
    assert tick() == UP_TO_DATE
    edit_spec(deployment, "due_hours: 48", "due_hours: 24")
    assert "differ in: review" in tick()
    edit_spec(deployment, "min_new_labels: 200", "min_new_labels: 100")
    publish_spec(tables, deployment)
    request = tick()
    assert request.tags["why"] == "the spec changed (review, retraining)"
    assert run_job(request).success
    assert tick().startswith("The queue is up to date")


def test_kpis_and_alarms_are_requested_when_the_queue_alone_was_made(
    tables, spec, inspect, tick, run_job, materialize
):
    publish(tables, spec=spec)
    inspect("d1", "low_confidence")
    materialize(ASSETS, selection=[asset_key("review_queue"), asset_key("review_worklist")])
    request = tick()
    assert request.tags["why"] == "not made with the queue: kpis and alarms"
    assert run_job(request).success
    assert tick() == UP_TO_DATE


def test_one_refresh_runs_at_a_time(tables, spec, inspect, tick, instance):
    publish(tables, spec=spec)
    inspect("d1", "low_confidence")
    run = dg.DagsterRun(
        job_name="refresh", run_id=str(uuid.uuid4()), status=dg.DagsterRunStatus.STARTED, tags=OURS
    )
    instance.add_run(run)
    assert tick() == f"Run {run.run_id} is refreshing the queue, KPIs and alarms."


def test_while_deliveries_follow_one_another_a_refresh_waits_for_the_last_but_not_long(
    tables, spec, inspect, tick, run_job, instance, monkeypatch
):
    publish(tables, spec=spec)
    inspect("d1", "low_confidence")
    instance.add_run(
        dg.DagsterRun(
            job_name="receive", run_id=str(uuid.uuid4()), status=dg.DagsterRunStatus.STARTED, tags=OURS
        )
    )
    assert run_job(tick()).success, "the first one waits for nothing"
    inspect("d2", "low_confidence")
    said = tick()
    assert said.startswith(
        "1 delivery was inspected (d2). 1 delivery is being taken in: all is made again when"
    )
    monkeypatch.setattr("sensors.review_changes.AT_MOST_SECONDS", 0)
    assert tick().tags["why"] == "1 delivery was inspected (d2)"


def test_a_refresh_waits_for_label_exports_too_and_counts_from_when_it_saw_the_first_change(
    tables, spec, inspect, tick, run_job, instance, monkeypatch
):
    publish(tables, spec=spec)
    inspect("d1", "low_confidence")
    assert run_job(tick()).success
    for job in ("receive", "take_labels"):
        instance.add_run(
            dg.DagsterRun(
                job_name=job, run_id=str(uuid.uuid4()), status=dg.DagsterRunStatus.STARTED, tags=OURS
            )
        )
    inspect("d2", "low_confidence")
    assert "1 delivery and 1 label export are being taken in: all is made again when they" in tick()
    inspect("d3", "low_confidence")
    monkeypatch.setattr("sensors.review_changes.datetime", _Clock)
    assert tick().tags["why"] == "2 deliveries were inspected (d2, d3)"
    inspect("d4", "low_confidence")
    assert "being taken in" in tick(), "what comes after a request is waited for anew"


class _Clock(datetime):
    """It stands still, an hour from now."""

    @classmethod
    def now(cls, tz=None):
        return datetime.now(tz) + timedelta(hours=1)


@pytest.fixture
def unreadable(tables):
    """Publish labels that no queue can be made of: one names a frame that is not in raw_frames."""

    def run():
        publish_labels(tables, label("gone", "ann"))

    return run


def test_a_refresh_that_failed_is_named_until_something_else_changes(
    tables, spec, inspect, tick, run_job, unreadable
):
    publish(tables, spec=spec)
    inspect("d1", "low_confidence")
    run_job(tick())
    unreadable()
    request = tick()
    failed = run_job(request)
    assert not failed.success
    assert tick() == (
        f"Run {failed.run_id} did not refresh the queue (failure): read why there, mend it, then re-execute the run. "
        "The queue as it was published: 1 open, 0 unresolved, 0 overdue, 0 more due today."
    )
    publish_labels(tables, label("d1.png", "ann", agreed="sound"))
    again = tick()
    assert again.run_key != request.run_key
    assert run_job(again).success
    assert tick().startswith("The queue is up to date: 1 open")


def test_a_worklist_that_could_not_be_written_is_requested_once_more_then_the_run_is_named(
    tables, spec, inspect, tick, run_job, deployment
):
    publish(tables, spec=spec)
    inspect("d1", "low_confidence")
    (deployment.data_dir / "review").touch()
    assert not run_job(tick()).success
    request = tick()
    assert request.tags["why"] == "the worklist does not ask what the queue does"
    failed = run_job(request)
    assert tick().startswith(f"Run {failed.run_id} did not refresh the queue (failure)")
    (deployment.data_dir / "review").unlink()
    assert run_job(request).success
    assert tick().startswith("The queue is up to date: 1 open")


@pytest.mark.parametrize("by", ["the job launched by hand", "all materialized in the UI"])
def test_a_failed_refresh_is_not_named_once_another_run_did_its_work(
    tables, spec, inspect, tick, run_job, instance, materialize, by
):
    publish(tables, spec=spec)
    inspect("d1", "low_confidence")
    run_job(tick())
    publish_labels(tables, label("other", "ann", agreed="sound"))  # changes no item
    failed = dg.DagsterRun(
        "refresh",
        run_id=str(uuid.uuid4()),
        status=dg.DagsterRunStatus.FAILURE,
        tags={**OURS, "dagster/run_key": tick().run_key},
    )
    instance.add_run(failed)
    assert tick().startswith(f"Run {failed.run_id} did not refresh the queue")
    if by == "the job launched by hand":
        assert run_job().success
    else:
        materialize(ASSETS, selection=[asset_key(one.key.path[-1]) for one in MADE])
    assert tick() == UP_TO_DATE


def test_the_worklist_is_requested_when_the_queue_alone_was_materialized(
    tables, spec, inspect, tick, run_job, materialize
):
    publish(tables, spec=spec)
    inspect("d1", "low_confidence")
    run_job(tick())
    inspect("d2", "low_confidence")
    materialize(ASSETS, selection=[asset_key("review_queue")])
    request = tick()
    assert request.tags["why"] == (
        "the worklist does not ask what the queue does; not made with the queue: kpis and alarms"
    )
    assert run_job(request).success
    assert tables.head().table("review_worklist").height == 2
    assert tick().startswith("The queue is up to date: 2 open")


def test_another_guideline_makes_another_worklist(tables, deployment, spec, inspect, tick, run_job):
    publish(tables, spec=spec)
    inspect("d1", "low_confidence")
    run_job(tick())
    edit_spec(deployment, 'guideline: "1"', 'guideline: "2"')
    publish_spec(tables, deployment)
    assert run_job(tick()).success
    assert tables.head().table("review_worklist")["guideline"].to_list() == ["2"]
    assert tick().startswith("The queue is up to date")


def test_a_queue_that_a_person_put_into_the_lake_is_made_again_once(tables, spec, inspect, tick, run_job):
    publish(tables, spec=spec)
    inspect("d1", "low_confidence")
    run_job(tick())
    by_hand = tables.head().table("review_queue").clear()
    publish_by_hand(tables.lake, {table_path("review_queue"): parquet(by_hand)})
    request = tick()
    assert request.tags["why"] == "1 delivery was inspected (d1)"
    assert run_job(request).success
    assert tick().startswith("The queue is up to date: 1 open")


def test_an_item_that_came_due_without_an_answer_is_requested_once(tables, spec, inspect, tick, run_job):
    publish(tables, spec=spec)
    due_at = datetime.now(UTC) + timedelta(seconds=1.2)
    inspect("d1", "low_confidence", decided_at=due_at - timedelta(hours=spec.review.due_hours))
    first = run_job(tick())
    assert passed(first)["nothing_is_overdue"]
    while datetime.now(UTC) < due_at:
        time.sleep(0.1)
    request = tick()
    assert request.tags["why"] == f"an item came due at {due_at:%Y-%m-%d %H:%M} UTC without an answer"
    second = run_job(request)
    assert second.success
    assert not passed(second)["nothing_is_overdue"]
    assert tick() == "The queue is up to date: 1 open, 0 unresolved, 1 overdue, 0 more due today."


def test_what_another_project_runs_under_the_same_names_is_neither_waited_for_nor_told(
    tables, spec, inspect, tick, instance
):
    publish(tables, spec=spec)
    inspect("d1", "low_confidence")
    theirs = dg.DagsterRun(
        "refresh", run_id="theirs", status=dg.DagsterRunStatus.STARTED, tags={"project": "plant_b"}
    )
    instance.add_run(theirs)
    assert tick().tags["why"] == "1 delivery was inspected (d1)"
