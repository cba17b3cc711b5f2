"""One real Dagster with a small code location: what the demo does to it, sees of it and leaves behind."""

import io
import socket
import time
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest
from rich.console import Console

from demo.api import Dagster, DagsterError, Run
from demo.processes import _carries_mark, _running
from demo.screen import Screen
from demo.server import HOST, Location, Server, ServerError, free_port, serving
from demo.watch import StoryError, Watch
from resources.deployments import ROOT, Deployment
from resources.git_lake import GitLake
from resources.tables import Tables

CODE = """
import dagster as dg

candidates = dg.DynamicPartitionsDefinition(name="small_candidates")


class Request(dg.Config):
    reason: str


@dg.asset(partitions_def=candidates)
def training_request(config: Request) -> None:
    if config.reason == "impossible":
        raise dg.Failure("3 of 7 frames have no label", allow_retries=False)


retrain = dg.define_asset_job("retrain", selection=["training_request"], executor_def=dg.in_process_executor)


@dg.sensor(job_name="retrain", default_status=dg.DefaultSensorStatus.RUNNING)
def new_deliveries():
    return dg.SkipReason("2 files have not settled yet")


defs = dg.Definitions(assets=[training_request], jobs=[retrain], sensors=[new_deliveries])
"""


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    folder = tmp_path_factory.mktemp("dagster")
    (folder / "small_location.py").write_text(CODE)
    location = Location("small", "small_location", folder)
    home = folder / "home"
    with serving(home, location, ROOT / "infra" / "dagster.yaml", folder / "pids.json", {}) as server:
        yield server
    assert [pid for pid, _ in _running() if _carries_mark(pid, home)] == []
    with pytest.raises(httpx.ConnectError):
        httpx.get(server.url)


@pytest.fixture(scope="module")
def dagster(server: Server) -> Dagster:
    return Dagster(server.url, "small")


@pytest.fixture
def watch(server: Server, dagster: Dagster, tmp_path: Path) -> Watch:
    deployment = Deployment(tmp_path / "spec.yaml", tmp_path, "main", server.url)
    screen = Screen(Console(file=io.StringIO()))
    return Watch(server, dagster, Tables(deployment, GitLake(tmp_path / "lake")), screen)


def finished(dagster: Dagster, run_id: str) -> Run:
    deadline = time.monotonic() + 30
    while time.monotonic() < deadline:
        run = next(run for run in dagster.runs() if run.id == run_id)
        if run.finished:
            return run
        time.sleep(0.1)
    raise TimeoutError(run_id)


def test_a_stage_without_progress_fails_and_says_what_the_sensor_waits_for(watch: Watch, dagster: Dagster):
    deadline = time.monotonic() + 20
    while dagster.last_look("new_deliveries") == "it has not looked yet" and time.monotonic() < deadline:
        time.sleep(0.2)
    watch.patience_seconds = 0.1
    told = "Waited for every delivery to be published.*none.*new_deliveries last said: 2 files have not settled yet"
    with pytest.raises(StoryError, match=told):
        watch.until("every delivery to be published", "new_deliveries", lambda _: False)


def test_a_person_starts_a_run_for_a_new_partition(dagster: Dagster):
    dagster.add_partition("candidates", "first")
    run_id = dagster.launch("retrain", {"training_request": {"reason": "first_release"}}, "first")
    run = finished(dagster, run_id)
    assert (run.job, run.partition, run.status) == ("retrain", "first", "SUCCESS")
    assert run.steps == {}, "steps are those of runs under way"


def test_what_dagster_refuses_is_said_in_its_own_words(dagster: Dagster):
    dagster.add_partition("candidates", "twice")
    with pytest.raises(DagsterError, match="twice is not added to candidates: Duplicate"):
        dagster.add_partition("candidates", "twice")
    with pytest.raises(DagsterError, match='Missing required config entry "reason"'):
        dagster.launch("retrain", {"training_request": {}}, "twice")
    with pytest.raises(DagsterError, match="no_such_job"):
        dagster.launch("no_such_job", {})
    assert dagster.last_look("no_such_sensor") == "there is no such sensor"


def test_a_run_that_fails_ends_the_story_with_its_error_and_its_link(watch: Watch, dagster: Dagster):
    dagster.add_partition("candidates", "bad")
    run_id = dagster.launch("retrain", {"training_request": {"reason": "impossible"}}, "bad")
    with pytest.raises(StoryError) as told:
        watch.until("the candidate", "none", lambda _: False)
    assert "job retrain for bad ended as FAILURE" in str(told.value)
    assert "training_request: 3 of 7 frames have no label" in str(told.value)
    assert f"/runs/{run_id}" in str(told.value)


def test_nothing_listens_beyond_this_machine(server: Server):
    assert server.url.startswith(f"http://{HOST}:")


def test_a_taken_port_is_not_used():
    with socket.socket() as taken:
        taken.bind((HOST, 0))
        taken.listen()
        assert free_port(taken.getsockname()[1]) != taken.getsockname()[1]


def test_code_that_does_not_load_is_an_error_with_the_log(tmp_path: Path):
    (tmp_path / "broken_location.py").write_text("raise RuntimeError('the spec is wrong in line 7')")
    location = Location("broken", "broken_location", tmp_path)
    arguments = (tmp_path / "home", location, ROOT / "infra" / "dagster.yaml", tmp_path / "pids.json", {})
    with pytest.raises(ServerError, match="the spec is wrong in line 7"), serving(*arguments):
        pass
    assert [pid for pid, _ in _running() if _carries_mark(pid, tmp_path / "home")] == []
