"""Old runs go only when nobody needs them: a small table of runs in, what becomes of each out."""

from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from cv_assets.upkeep import pruning
from cv_assets.upkeep.pruning import Run, as_rows, fates, in_words

NOW = datetime(2026, 6, 1, tzinfo=UTC)
BEFORE = NOW - timedelta(days=90)
OLD, YOUNG = BEFORE - timedelta(days=1), BEFORE + timedelta(days=1)


@pytest.fixture(autouse=True)
def one_of_each_job_is_kept(monkeypatch):
    monkeypatch.setattr(pruning, "NEWEST_OF_A_JOB", 1)


def a_run(run_id, ended_at=OLD, job="refresh", status="SUCCESS", partition="", **more):
    return Run(
        run_id, **{"root": run_id, **more}, job=job, partition=partition, status=status, ended_at=ended_at
    )


def outcomes(runs, shown=()):
    return {one.run.run_id: one.outcome for one in fates(runs, shown, BEFORE)}


def test_an_old_run_that_nobody_needs_goes_and_the_newest_of_its_job_stays():
    assert outcomes([a_run("newest"), a_run("older"), a_run("oldest")]) == {
        "newest": "thinned",
        "older": "goes",
        "oldest": "goes",
    }


@pytest.mark.parametrize("run", [a_run("one", None, status="STARTED"), a_run("one", YOUNG)])
def test_a_run_in_flight_or_not_old_enough_is_left_alone(run):
    assert outcomes([a_run("newest"), run])["one"] == "young"


def test_the_run_of_a_newest_record_stays_without_its_messages():
    assert outcomes([a_run("newest"), a_run("one")], shown={"one"})["one"] == "thinned"


def test_what_lost_its_messages_before_just_stays_and_is_not_told_again():
    found = fates([a_run("newest", thinned=True), a_run("older")], (), BEFORE)
    assert [one.outcome for one in found] == ["stays", "goes"]
    assert as_rows(found)["run_id"].to_list() == ["older"]


def test_a_failed_run_that_a_sensor_asked_for_stays_whole_or_it_would_be_asked_for_again():
    failed = a_run("failed", status="FAILURE", requested=True)
    assert outcomes([a_run("newest"), failed])["failed"] == "stays"


def test_one_that_a_person_re_executed_well_is_asked_for_no_more():
    failed = a_run("failed", status="FAILURE", requested=True)
    mended = a_run("mended", root="failed", requested=True)
    assert outcomes([a_run("newest"), mended, failed]) == {
        "newest": "thinned",
        "mended": "goes",
        "failed": "goes",
    }


def test_the_newest_run_of_each_partition_stays_for_its_sensor_looks_there():
    runs = [a_run(name, job="receive", partition=name[0]) for name in ("b2", "a2", "b1", "a1")]
    assert outcomes(runs) == {"b2": "thinned", "a2": "thinned", "b1": "goes", "a1": "goes"}


def test_a_run_goes_together_with_its_retries_or_not_at_all():
    retried = [a_run("retry", YOUNG, root="first"), a_run("first", status="FAILURE")]
    (_, _, first) = fates([a_run("newest"), *retried], (), BEFORE)
    assert (first.outcome, first.why) == ("stays", "it is of one group with retry, which stays")


a_status = st.sampled_from(["SUCCESS", "FAILURE", "CANCELED"])
some_runs = st.lists(
    st.builds(
        Run,
        run_id=st.uuids().map(str),
        root=st.sampled_from(["a", "b", "c"]),
        job=st.sampled_from(["receive", "refresh"]),
        partition=st.sampled_from(["", "d1", "d2"]),
        status=a_status,
        ended_at=st.sampled_from([None, OLD, YOUNG]),
        requested=st.booleans(),
        thinned=st.booleans(),
    ),
    unique_by=lambda run: run.run_id,
)


@given(some_runs, st.data())
def test_pruning_twice_is_pruning_once(runs, data):
    shown = set(data.draw(st.lists(st.sampled_from([run.run_id for run in runs]))) if runs else [])
    left = [one.run for one in fates(runs, shown, BEFORE) if one.outcome != "goes"]
    assert "goes" not in {one.outcome for one in fates(left, shown, BEFORE)}


@given(some_runs, st.data())
def test_nothing_that_somebody_needs_goes(runs, data):
    shown = set(data.draw(st.lists(st.sampled_from([run.run_id for run in runs]))) if runs else [])
    gone = {one.run.run_id for one in fates(runs, shown, BEFORE) if one.outcome == "goes"}
    well = {run.root for run in runs if run.ended_well}
    newest = {(run.job, run.partition): run.run_id for run in reversed(runs)}
    assert not gone & shown
    assert not gone & set(newest.values())
    for run in runs:
        if run.ended_at != OLD or (run.requested and run.root not in well):
            assert run.run_id not in gone


@given(some_runs, st.integers(1, 400))
def test_the_later_the_limit_the_more_goes(runs, days):
    def gone(before):
        return {one.run.run_id for one in fates(runs, (), before) if one.outcome == "goes"}

    assert gone(BEFORE) <= gone(BEFORE + timedelta(days=days))


def test_a_pruning_is_told_in_a_sentence():
    found = {"goes": 1200, "thinned": 1, "stays": 2, "young": 40}
    assert in_words(found, 90, dry_run=True) == (
        "1,200 runs would go, 1 run that something needs would lose the messages; 40 runs ended in the last 90 days, "
        "2 older stay as they are."
    )
    assert in_words({}, None, dry_run=False).startswith("Runs are kept for ever")
