"""Each failed run and each failed check is told once to each channel, however often the sensor looks."""

import re
import time
from contextlib import suppress
from dataclasses import replace

import dagster as dg
import pytest
from make_listener import listening
from ruamel.yaml import YAML

from resources.deployments import ROOT
from sensors.notices import notices

deliveries = dg.DynamicPartitionsDefinition(name="deliveries")


class Plan(dg.Config):
    """What a run of the test does."""

    error: str = ""
    said: str = ""


@dg.asset(check_specs=[dg.AssetCheckSpec("no_alarm_is_open", asset="alarms")])
def alarms(config: Plan):
    if config.error:
        raise OSError(config.error)
    yield dg.AssetCheckResult(
        passed=not config.said, severity=dg.AssetCheckSeverity.WARN, description=config.said or "none is open"
    )
    yield dg.MaterializeResult()


@dg.asset
def kpis(config: Plan) -> None:
    if config.error:
        raise dg.Failure(config.error)


@pytest.fixture
def instance():
    """One with the run retries of `infra/dagster.yaml`."""
    settings = YAML(typ="safe").load(ROOT / "infra" / "dagster.yaml")
    with dg.DagsterInstance.ephemeral(settings={"run_retries": settings["run_retries"]}) as instance:
        yield instance


@pytest.fixture
def refresh(instance):
    job = dg.Definitions(
        assets=[alarms, kpis], jobs=[dg.define_asset_job("refresh", executor_def=dg.in_process_executor)]
    ).resolve_job_def("refresh")

    def run(said="", error="", kpi_error="", **arguments):
        """Run the job: the check of `alarms` fails with what is `said`; an asset fails with its error."""
        config = {"alarms": {"said": said, "error": error}, "kpis": {"error": kpi_error}}
        run_config = {"ops": {name: {"config": one} for name, one in config.items()}}
        return job.execute_in_process(
            instance=instance, run_config=run_config, raise_on_error=False, **arguments
        ).run_id

    return run


@pytest.fixture
def listener():
    with listening() as listener:
        yield listener


class Clock:
    """The time as a sensor reads it: it goes on by itself, and may be put forward."""

    ahead = 0.0
    monotonic = staticmethod(time.monotonic)

    def time(self):
        return time.time() + self.ahead


@pytest.fixture
def clock(monkeypatch):
    clock = Clock()
    monkeypatch.setattr("sensors.notices.time", clock)
    return clock


@pytest.fixture
def look(instance, deployment, clock):
    """Ticks of the sensor that follow each other, some seconds later: each gives what the tick says."""
    cursor = None

    def run(*listeners, key="hunter2", later=0.0):
        nonlocal cursor
        clock.ahead += later
        urls = " ".join(f"json://ann:{key}@{one.address}/t0ken" for one in listeners)
        context = dg.build_sensor_context(instance=instance, cursor=cursor)
        result = notices(context, deployment=replace(deployment, notify=urls))
        if isinstance(result, dg.SkipReason):
            cursor = context.cursor
            return result.skip_message
        assert "t0ken" not in result.cursor
        cursor = result.cursor
        assert "hunter2" not in cursor + str(result.skip_reason)
        return result.skip_reason.skip_message

    return run


NOTHING = "Nothing to tell: no run failed, and no check did."


def test_without_a_channel_the_tick_says_so_and_nothing_is_told_later(look, refresh, listener):
    nobody = "Nobody is told of failed runs and checks: CV_NOTIFY names no channel."
    assert look() == nobody
    refresh(error="the disk is full")
    assert look() == nobody
    assert look(listener) == NOTHING
    refresh(error="the disk is full again")
    assert look(listener) == "Channel 1 was told: [solar_cells] Failed: refresh."
    assert len(listener.told) == 1


def test_what_failed_before_the_first_look_is_not_told(look, refresh, listener):
    refresh(error="long ago")
    assert look(listener) == NOTHING
    assert listener.told == []


def test_a_failed_run_is_told_once_with_its_link(look, refresh, listener):
    look(listener)
    run_id = refresh(kpi_error="the disk is full")
    assert look(listener) == "Channel 1 was told: [solar_cells] Failed: refresh."
    assert look(listener) == NOTHING
    (told,) = listener.told
    assert f"Run {run_id[:8]} failed:\n- kpis: the disk is full\n" in told["message"]
    assert told["message"].endswith(f"http://127.0.0.1:3000/runs/{run_id}")


@pytest.mark.filterwarnings("ignore:Error parsing int from tag")
def test_a_mistyped_tag_of_a_run_keeps_nothing_from_people(look, refresh, listener):
    look(listener)
    refresh(error="the disk is full", tags={"dagster/max_retries": "many"})
    assert look(listener) == "Channel 1 was told: [solar_cells] Failed: refresh."


def test_a_run_that_ended_well_is_told_when_a_check_failed_even_one_that_only_warns(look, refresh, listener):
    look(listener)
    refresh()
    assert look(listener) == NOTHING
    refresh(said="drift-r1 is open")
    assert look(listener) == "Channel 1 was told: [solar_cells] no_alarm_is_open: refresh."
    assert "- alarms, no_alarm_is_open: drift-r1 is open\n" in listener.told[0]["message"]


def test_a_check_that_fails_with_the_same_words_again_is_not_told_again(look, refresh, listener):
    look(listener)
    for said in ("r1", "r1", "r1", "r2", "r1", "", "r1"):
        refresh(said=said)
        look(listener)
    told = [re.search("no_alarm_is_open: (.*)\n", one["message"])[1] for one in listener.told]
    assert told == ["r1", "r2", "r1", "r1"]


def test_runs_that_ended_between_two_looks_are_told_one_by_one(look, refresh, listener):
    look(listener)
    for said in ("r1", "r1", "r2"):
        refresh(said=said)
    refresh(error="the disk is full")
    assert look(listener).count("was told") == 3
    assert [title.removeprefix("[solar_cells] ") for title in listener.titles] == [
        "no_alarm_is_open: refresh",
        "no_alarm_is_open: refresh",
        "Failed: refresh",
    ]


@pytest.mark.filterwarnings("ignore:Specifying a partitions_def on an AssetCheckSpec")
def test_checks_of_one_partition_are_compared_with_the_same_partition(look, instance, listener):
    spec = dg.AssetCheckSpec("few_are_rejected", asset="raw_frames", partitions_def=deliveries)

    @dg.asset(partitions_def=deliveries, check_specs=[spec])
    def raw_frames():
        yield dg.AssetCheckResult(passed=False, severity=dg.AssetCheckSeverity.WARN, description="12 of 60")
        yield dg.MaterializeResult()

    instance.add_dynamic_partitions("deliveries", ["d1", "d2"])
    look(listener)
    for delivery in ("d1", "d2", "d1"):
        dg.materialize([raw_frames], instance=instance, partition_key=delivery)
        look(listener)
    told = [
        re.search("raw_frames of (.*), few_are_rejected: 12 of 60", one["message"])[1]
        for one in listener.told
    ]
    assert told == ["d1", "d2"]


def test_only_a_run_whose_tag_asks_for_it_is_retried(refresh, instance):
    untagged, tagged = (
        refresh(error="no memory"),
        refresh(error="no memory", tags={"dagster/max_retries": "1"}),
    )
    assert instance.get_run_by_id(untagged).tags["dagster/will_retry"] == "false"
    assert instance.get_run_by_id(tagged).tags["dagster/will_retry"] == "true"


def test_a_run_that_dagster_retries_is_told_once_its_retries_are_used_up(look, refresh, listener, instance):
    look(listener)
    tags = {"dagster/max_retries": "1", "dagster/retry_strategy": "FROM_FAILURE"}
    first = refresh(error="no memory", tags=tags)
    assert instance.get_run_by_id(first).tags["dagster/will_retry"] == "true"
    assert look(listener) == NOTHING
    again = {"dagster/root_run_id": first, "dagster/parent_run_id": first, "dagster/retry_number": "1"}
    second = refresh(error="no memory", tags=tags | again)
    instance.add_run_tags(second, {"dagster/will_retry": "false"})
    assert look(listener) == "Channel 1 was told: [solar_cells] A person is needed: refresh failed 2 times."
    assert (
        "after 1 retry:\n- alarms: OSError: no memory\nIts retries are used up" in listener.told[0]["message"]
    )


@pytest.mark.parametrize(("seconds_ago", "mark"), [(0, "false"), (0, "true"), (61, None)])
def test_a_failed_run_waits_until_dagster_has_marked_whether_it_is_retried(
    look, instance, listener, seconds_ago, mark
):
    look(listener)
    job = dg.Definitions(assets=[kpis]).resolve_implicit_global_asset_job_def()
    run = instance.create_run_for_job(job)
    event = dg.DagsterEvent("PIPELINE_FAILURE", run.job_name, message="the process died")
    failed_at = time.time() - seconds_ago
    # Dagster stores the event, then the run's status and the mark.
    instance.event_log_storage.store_event(
        dg.EventLogEntry(None, "ERROR", "", run.run_id, failed_at, job_name=run.job_name, dagster_event=event)
    )
    if mark:
        assert look(listener) == NOTHING
        instance.add_run_tags(run.run_id, {"dagster/will_retry": mark})
    look(listener)
    if mark == "true":
        assert listener.told == []
    else:
        assert "failed:\n- the process died\n" in listener.told[0]["message"]


def test_a_channel_that_refuses_fails_the_ticks_and_is_told_once_it_answers(look, refresh, listener):
    look(listener)
    refresh(error="the disk is full")
    listener.answer = 500
    said = look(listener)
    assert said.startswith("Channel 1 of CV_NOTIFY (JSON) did not take a notice: ")
    for _ in range(2):
        with pytest.raises(ConnectionError, match=r"^Channel 1 of CV_NOTIFY \(JSON\) did not take") as caught:
            look(listener)
        assert re.search(
            r"That was 1 time. It is tried again at ..:..:.. UTC; what is newer waits.$", str(caught.value)
        )
        assert "hunter2" not in str(caught.value)
        assert "t0ken" not in str(caught.value)
    listener.answer = 200
    refresh(said="drift-r1 is open")
    look(listener, later=8)
    assert listener.titles == ["[solar_cells] Failed: refresh", "[solar_cells] no_alarm_is_open: refresh"]
    assert look(listener) == NOTHING


def test_who_got_a_notice_that_another_receiver_refuses_gets_it_a_dozen_times_in_an_hour_not_each_look(
    look, refresh, listener
):
    look(listener)
    refresh(error="the disk is full")
    listener.answer = 404
    for _ in range(180):
        with suppress(ConnectionError):
            look(listener, later=20)
    assert 10 <= listener.refused <= 13


def test_a_notice_that_is_always_refused_is_given_up_after_an_hour_and_the_next_one_says_so(
    look, refresh, listener
):
    look(listener)
    refresh(error="too long for this service")
    listener.answer = 413
    look(listener)
    refresh(said="drift-r1 is open")
    for _ in range(5):
        said = look(listener, later=600)
    assert "That was 6 times in a row. It is tried again" in said
    assert "That was 7 times in a row, 1 notice is given up." in look(listener, later=600)
    listener.answer = 200
    assert look(listener, later=600) == "Channel 1 was told: [solar_cells] no_alarm_is_open: refresh."
    refresh(error="the disk is full")
    look(listener)
    first, second = (one["message"] for one in listener.told)
    assert first.endswith(
        "1 notice before this one could not be delivered here and was given up: look at the failed runs and checks in "
        "Dagster's UI."
    )
    assert "given up" not in second


def test_one_channel_that_is_down_keeps_nothing_from_the_other(look, refresh, listener):
    with listening() as other:
        other.answer = 503
        look(other, listener)
        refresh(error="first")
        said = look(other, listener)
        assert said.startswith("Channel 1 of CV_NOTIFY (JSON) did not take a notice")
        assert said.endswith("what is newer waits. Channel 2 was told: [solar_cells] Failed: refresh.")
        with pytest.raises(ConnectionError, match=r"^Channel 1 of CV_NOTIFY"):
            look(other, listener)
        refresh(error="second")
        look(other, listener)
        assert [len(one.told) for one in (other, listener)] == [0, 2]
        other.answer = 200
        look(other, listener, later=60)
        assert [len(one.told) for one in (other, listener)] == [2, 2]
        assert look(other, listener) == NOTHING


def test_a_channel_that_is_added_is_not_told_of_the_past(look, refresh, listener):
    look(listener)
    refresh(error="first")
    look(listener)
    with listening() as other:
        refresh(error="second")
        look(listener, other)
        assert [len(one.told) for one in (listener, other)] == [2, 0]
        refresh(error="third")
        look(listener, other)
        assert [len(one.told) for one in (listener, other)] == [3, 1]


def test_a_channel_that_is_taken_out_leaves_the_others_where_they_are(look, refresh, listener):
    with listening() as other:
        look(other, listener)
        other.answer = 500
        refresh(error="first")
        look(other, listener)
    assert look(listener) == NOTHING
    refresh(error="second")
    look(listener)
    assert len(listener.told) == 2


def test_a_channel_whose_url_is_corrected_in_its_place_is_told_what_it_missed(look, refresh, listener):
    look(listener, key="mistyped")
    refresh(error="the disk is full")
    listener.answer = 401
    look(listener, key="mistyped")
    listener.answer = 200
    assert look(listener, key="hunter2") == "Channel 1 was told: [solar_cells] Failed: refresh."


def test_a_url_that_is_none_is_said_and_the_other_channel_is_told(
    look, refresh, listener, instance, deployment
):
    urls = f"nosuch://host json://{listener.address}"
    first = dg.build_sensor_context(instance=instance)
    started = notices(first, deployment=replace(deployment, notify=urls))
    refresh(error="the disk is full")
    second = dg.build_sensor_context(instance=instance, cursor=started.cursor)
    said = notices(second, deployment=replace(deployment, notify=urls)).skip_reason.skip_message
    assert "Channel 2 was told" in said
    assert "Channel 1 of CV_NOTIFY is no URL that apprise can use" in said
