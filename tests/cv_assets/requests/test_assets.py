"""A training request as it is published: one at a time, whoever else asks meanwhile."""

import dagster as dg
import pytest
from make_retraining import DRIFT, KPI, Plant
from run_results import checks, failure, passed

from cv_assets.requests.assets import NEWEST
from resources.git_lake import GitLake
from resources.tables import Tables
from sensors.retrain_on_alarms import retrain_on_drift, retrain_on_kpi


class InterruptedLake(GitLake):
    """A lake in which something happens just before the next merge into main."""

    meanwhile = None

    def merge(self, source, branch, message, metadata):
        if branch == "main" and self.meanwhile:
            happens, self.meanwhile = self.meanwhile, None
            happens()
        return super().merge(source, branch, message, metadata)


@pytest.fixture
def tables(deployment):
    return Tables(deployment, InterruptedLake(deployment.data_dir / "lake"))


@pytest.fixture
def plant(tables, deployment, instance):
    plant = Plant(tables, deployment, instance)
    plant.labels(214)
    return plant


def ask(plant, sensor, *alarms):
    """The run that the sensor requests when these alarms are open."""
    plant.alarms(*alarms)
    (request,) = plant.tick(sensor).run_requests
    return request


def test_a_wanted_request_names_its_run_and_every_check_passes(plant):
    result = plant.run(ask(plant, retrain_on_drift, DRIFT))
    assert set(passed(result).values()) == {True}
    head = plant.tables.head()
    assert head.table("training_request", "drift-r1-1")["run"].to_list() == [result.run_id]
    assert head.read(NEWEST) == b"drift-r1-1"


def test_of_two_requests_from_one_commit_the_second_reads_the_first_and_gives_way_when_it_is_tried_again(
    plant,
):
    request = ask(plant, retrain_on_drift, DRIFT)
    kpi = by_hand(ask(plant, retrain_on_kpi, KPI))
    plant.alarms(DRIFT)
    plant.tables.lake.meanwhile = lambda: plant.run(kpi)
    second = plant.run(request)
    assert not second.success
    assert "drift-r1: candidate kpi-r1-overkill-1 is open" in failure(second)
    assert "Nothing is trained; tried again, this run ends well." in failure(second)
    again = plant.run(request)
    assert again.success
    assert checks(again)["is_still_wanted"].description.startswith(
        "drift-r1: candidate kpi-r1-overkill-1 is open"
    )
    for given_way in (second, again):
        assert not given_way.asset_materializations_for_node("trained")
    assert plant.tables.head().partitions("training_request") == ["kpi-r1-overkill-1"]


def test_one_that_gave_way_to_another_request_is_no_failure_even_where_nothing_is_tried_again(plant):
    request = ask(plant, retrain_on_drift, DRIFT)
    kpi = by_hand(ask(plant, retrain_on_kpi, KPI))
    plant.alarms(DRIFT)
    plant.tables.lake.meanwhile = lambda: plant.run(kpi)
    assert not plant.run(request, **{"dagster/max_retries": "0"}).success
    plant.conclude("kpi-r1-overkill-1", "refused")
    assert plant.tick(retrain_on_drift).run_requests[0].run_key == "drift-r1-2"


def test_a_run_that_failed_otherwise_calls_a_person_although_it_re_executes_one_that_gave_way(plant):
    plant.alarms(DRIFT)
    plant.record(dg.DagsterRunStatus.FAILURE, "drift-r1-1", **{"cv_assets/gave_way": "the run before"})
    assert "a person is called" in plant.tick(retrain_on_drift)


def by_hand(request):
    """The same request, asked for by a person."""
    request.run_config["ops"]["training_request"]["config"] |= {"reason": "person", "requested_by": "ada"}
    return request


def test_a_reason_that_is_no_alarm_trains_nothing_and_says_what_a_person_gives(plant):
    request = ask(plant, retrain_on_drift, DRIFT)
    request.run_config["ops"]["training_request"]["config"]["evidence"] = "it looks odd"
    result = plant.run(request)
    assert result.success
    assert checks(result)["is_still_wanted"].description == (
        "There is no alarm 'it looks odd'. A person who wants a training gives the reason `person`."
    )


def test_a_name_that_a_person_took_meanwhile_is_refused(plant):
    request = ask(plant, retrain_on_drift, DRIFT)
    plant.requested("drift-r1-1", reason="person", evidence="wanted", requested_by="ada")
    assert "candidate_is_new" in failure(plant.run(request))


def test_a_person_is_never_held_against_the_policy(plant):
    request = by_hand(ask(plant, retrain_on_drift, DRIFT))
    plant.alarms()
    plant.requested("other", evidence="drift-r1")
    assert plant.run(request).asset_materializations_for_node("trained")


def test_a_request_of_an_earlier_contract_is_read(plant):
    plant.requested("old", hours_ago=48)
    rows = plant.tables.head().table("training_request", "old").drop("run")
    plant.put("old", training_request=rows)
    plant.alarms(DRIFT)
    assert "candidate old is open" in plant.tick(retrain_on_drift)
