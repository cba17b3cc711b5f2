"""How the runs of a job stand, with those that re-executed them."""

import time
import uuid

import dagster as dg
import pytest

from resources.partitions import OURS, PROJECT
from resources.runs import (
    is_tried_again,
    newest_run,
    newest_runs,
    number_in,
    run_groups,
    run_with_key,
    unfinished,
)


@pytest.fixture
def run(instance):
    """Record a run of `retrain`; the run it re-executes may be given."""

    def record(status, of=None, **tags):
        root = (of.root_run_id or of.run_id) if of else None
        one = dg.DagsterRun(
            job_name="retrain",
            run_id=str(uuid.uuid4()),
            status=status,
            root_run_id=root,
            parent_run_id=of.run_id if of else None,
            tags={**OURS, "dagster/partition": "drift-r1-1", **tags},
        )
        return instance.add_run(one)

    return record


FAILED, ENDED_WELL, STARTED = (
    dg.DagsterRunStatus.FAILURE,
    dg.DagsterRunStatus.SUCCESS,
    dg.DagsterRunStatus.STARTED,
)


def states(instance):
    return [(one.partition, one.state, one.tries) for one in run_groups(instance, "retrain")]


def test_a_run_that_dagster_tries_again_is_waiting_until_its_retry_is_there(instance, run):
    first = run(FAILED, **{"dagster/will_retry": "true", "dagster/max_retries": "2"})
    assert states(instance) == [("drift-r1-1", "waiting", 1)]
    again = run(STARTED, of=first, **{"dagster/retry_number": "1"})
    assert states(instance) == [("drift-r1-1", "in flight", 2)]
    instance.add_run_tags(first.run_id, {"dagster/auto_retry_run_id": again.run_id})
    instance.report_run_failed(again)
    instance.add_run_tags(again.run_id, {"dagster/will_retry": "false"})
    assert states(instance) == [("drift-r1-1", "failed", 2)]
    (group,) = run_groups(instance, "retrain")
    assert (group.root, group.newest.run_id) == (first.run_id, again.run_id)


def test_a_failure_that_dagster_has_not_marked_yet_is_not_final(instance, run):
    unmarked = run(STARTED, **{"dagster/max_retries": "2"})
    instance.report_run_failed(unmarked)  # this instance retries nothing, and marks nothing
    assert states(instance) == [("drift-r1-1", "waiting", 1)]


def test_without_retries_a_failure_is_final_at_once_and_an_old_one_always(instance, run):
    run(FAILED, **{"dagster/max_retries": "0"})
    run(FAILED, **{"dagster/max_retries": "2"})  # it has no time of its end, so it is not a moment ago
    run(dg.DagsterRunStatus.CANCELED, **{"dagster/max_retries": "2"})
    assert {state for _, state, _ in states(instance)} == {"failed"}


def test_a_group_in_which_one_ended_well_did_whatever_was_run_again_after_it(instance, run):
    first = run(ENDED_WELL)
    run(FAILED, of=first)
    assert states(instance) == [("drift-r1-1", "succeeded", 2)]


def test_groups_come_newest_first_and_other_jobs_stay_out(instance, run):
    old = run(ENDED_WELL)
    new = run(STARTED)
    instance.add_run(dg.DagsterRun(job_name="release", run_id=str(uuid.uuid4()), tags=OURS))
    assert [one.root for one in run_groups(instance, "retrain")] == [new.run_id, old.run_id]


def test_what_another_project_runs_under_the_same_names_is_not_ours(instance):
    for project in (PROJECT, "plant_b"):
        tags = {"project": project, "dagster/partition": "drift-r1-1", "dagster/run_key": "drift-r1-1"}
        instance.add_run(dg.DagsterRun(job_name="retrain", run_id=project, status=STARTED, tags=tags))
    assert [one.root for one in run_groups(instance, "retrain")] == [PROJECT]
    assert newest_run(instance, "retrain").run_id == PROJECT
    assert newest_runs(instance, "retrain", ["drift-r1-1"])["drift-r1-1"].run_id == PROJECT
    assert run_with_key(instance, "drift-r1-1").run_id == PROJECT
    assert unfinished(instance, "retrain") == 1


@pytest.mark.parametrize(
    ("tags", "seconds_ago", "said"),
    [
        ({}, 1, None),
        ({}, 61, False),
        ({"dagster/will_retry": "true"}, 61, True),
        ({"dagster/will_retry": "false"}, 1, False),
    ],
)
def test_dagster_says_in_a_moment_whether_it_tries_a_failed_run_again(tags, seconds_ago, said):
    run = dg.DagsterRun(job_name="retrain", run_id="a", tags=tags)
    assert is_tried_again(run, time.time() - seconds_ago) is said


def test_a_mistyped_number_of_a_tag_is_none():
    run = dg.DagsterRun(job_name="retrain", run_id="a", tags={"dagster/max_retries": "many"})
    assert number_in(run, "dagster/max_retries") == number_in(run, "dagster/retry_number") == 0
