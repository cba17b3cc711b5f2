"""Two Dagsters that know nothing of each other, on one data folder and one lake, tick and run in any order."""

import json
import random
from concurrent.futures import ThreadPoolExecutor

import dagster as dg
import pytest
from make_retraining import DRIFT, Plant

from cv_assets.drift.assets import drift_metrics
from cv_assets.frames.assets import prepared_frames, raw_frames
from cv_assets.inspection.assets import inspections, outbox
from cv_assets.spec.assets import project_spec
from jobs.receive import receive
from proofs.pictures import drop
from resources.partitions import deliveries, in_project
from resources.tables import Tables
from sensors.new_deliveries import new_deliveries
from sensors.retrain_on_alarms import retrain_on_drift

ASSETS = [project_spec, raw_frames, prepared_frames, inspections, outbox, drift_metrics]


class Home:
    """One DAGSTER_HOME: its own records, and what it requested and did not run yet."""

    def __init__(self, deployment, lake):
        self.instance = dg.DagsterInstance.ephemeral()
        tables = Tables(deployment, lake)
        self.resources = {"io_manager": tables, "tables": tables, "deployment": deployment}
        self.job = dg.Definitions(
            assets=in_project(ASSETS), jobs=[receive], resources=self.resources
        ).resolve_job_def("receive")
        self.waiting = []

    def tick(self):
        given = {key: self.resources[key] for key in ("tables", "deployment")}
        answer = new_deliveries(dg.build_sensor_context(instance=self.instance, resources=given))
        if isinstance(answer, dg.SkipReason):
            return answer.skip_message
        for asked in answer.dynamic_partitions_requests:
            self.instance.add_dynamic_partitions(deliveries.name, asked.partition_keys)
        self.waiting += [one.run_key for one in answer.run_requests if one.run_key not in self.waiting]
        return "requested"

    def run(self):
        if not self.waiting:
            return True
        key = self.waiting.pop(0)
        return self.job.execute_in_process(
            instance=self.instance, partition_key=key, raise_on_error=False
        ).success


@pytest.fixture
def homes(deployment, tables, materialize):
    materialize([project_spec])
    homes = [Home(deployment, tables.lake) for _ in range(2)]
    yield homes
    for home in homes:
        home.instance.dispose()


def must_be_taken_in_once(tables, deployment, names):
    head = tables.head()
    rows = head.tables("raw_frames")
    assert sorted(rows["file_name"]) == sorted(names)
    assert rows["capture_id"].is_unique().all()
    assert sorted(path.name for path in (deployment.data_dir / "taken").rglob("*.png")) == sorted(names)
    told = [json.loads(file.read_text()) for file in (deployment.data_dir / "outbox").glob("*.json")]
    assert sum(len(one["verdicts"]) for one in told) == len(names)
    for table in ("raw_frames", "inspections", "outbox"):
        for key in head.partitions(table):
            assert len(list(tables.lake.log("main", f"tables/{table}/{key}.parquet"))) == 1


def test_what_two_homes_see_in_any_order_is_taken_in_once(homes, tables, deployment):
    draw, names = random.Random(1), []
    for module in ("m01", "m02"):
        names += drop(deployment.data_dir / "inbox", module, 2)
        for _ in range(4):
            home = draw.choice(homes)
            assert draw.choice((home.tick, home.tick, home.run))()
    for home in homes * 2:
        home.tick()
        while home.waiting:
            assert home.run()
    while "The inbox is empty." not in {home.tick() for home in homes}:
        pass
    must_be_taken_in_once(tables, deployment, names)


def test_what_two_homes_take_in_at_the_same_moment_is_taken_in_once(homes, tables, deployment):
    names = drop(deployment.data_dir / "inbox", "m01", 2)
    for home in homes * 2:
        home.tick()
    assert homes[0].waiting == homes[1].waiting != []
    with ThreadPoolExecutor(2) as threads:
        assert list(threads.map(Home.run, homes)) == [True, True]
    homes[0].tick()
    homes[1].tick()
    must_be_taken_in_once(tables, deployment, names)


def test_an_alarm_that_two_homes_see_is_trained_for_once(tables, deployment):
    with dg.DagsterInstance.ephemeral() as one, dg.DagsterInstance.ephemeral() as other:
        plant = Plant(tables, deployment, one)
        plant.alarms(DRIFT)
        plant.labels(214)
        requests = {}
        for instance in (one, other):
            plant.instance = instance
            (requests[instance],) = plant.tick(retrain_on_drift).run_requests
        results = []
        for instance, request in requests.items():
            plant.instance = instance
            results.append(plant.run(request))
    assert [result.success for result in results] == [True, True]
    trained = [len(result.asset_materializations_for_node("trained")) for result in results]
    assert trained == [1, 0]
    assert tables.head().partitions("training_request") == ["drift-r1-1"]
