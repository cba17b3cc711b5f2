"""The launcher against a real code server: what run monitoring and the queue are told."""

import signal
import socket
import subprocess
import sys
import time
from contextlib import contextmanager

import dagster as dg
import pytest
import yaml
from dagster._cli.job import _create_run
from dagster._core.errors import DagsterUserCodeUnreachableError
from dagster._core.launcher.base import LaunchRunContext, WorkerStatus
from dagster._core.storage.tags import GRPC_INFO_TAG
from dagster._core.workspace.context import WorkspaceProcessContext
from dagster._core.workspace.load_target import WorkspaceFileTarget
from dagster._grpc.client import DagsterGrpcClient

from resources.run_launcher import CodeServerRunLauncher

LOCATION = """
import time, pathlib
import dagster as dg

@dg.op
def wait_for_the_end():
    while not pathlib.Path({end!r}).exists():
        time.sleep(0.05)

@dg.job(executor_def=dg.in_process_executor)
def waits():
    wait_for_the_end()

defs = dg.Definitions(jobs=[waits])
"""


def test_a_run_that_names_no_code_server_is_unknown():
    answer = CodeServerRunLauncher().check_run_worker_health(dg.DagsterRun(job_name="waits"))
    assert answer.status is WorkerStatus.UNKNOWN


def test_a_run_whose_code_server_does_not_answer_may_still_run():
    run = dg.DagsterRun(job_name="waits", tags={GRPC_INFO_TAG: '{"host": "127.0.0.1", "port": 1}'})
    answer = CodeServerRunLauncher().check_run_worker_health(run)
    assert answer.status is WorkerStatus.RUNNING
    assert "does not answer" in answer.msg


def test_a_run_is_known_while_its_server_ends_refused_by_it_and_unknown_to_it_otherwise(tmp_path):
    with dg.instance_for_test(overrides=LAUNCHER) as instance, code_server(tmp_path) as server:
        run = launched(instance, tmp_path)
        assert instance.run_launcher.check_run_worker_health(run).status is WorkerStatus.RUNNING
        another = dg.DagsterRun(job_name="waits", tags=run.tags)
        assert instance.run_launcher.check_run_worker_health(another).status is WorkerStatus.NOT_FOUND

        server.send_signal(signal.SIGTERM)
        time.sleep(1)
        with pytest.raises(DagsterUserCodeUnreachableError, match="is being replaced"):
            launched(instance, tmp_path)
        assert instance.run_launcher.check_run_worker_health(run).status is WorkerStatus.RUNNING

        (tmp_path / "end").touch()
        until_it_is(instance, run, dg.DagsterRunStatus.SUCCESS)


LAUNCHER = {
    "run_launcher": {"module": "resources.run_launcher", "class": "CodeServerRunLauncher"},
    "run_coordinator": {"module": "dagster._core.run_coordinator", "class": "DefaultRunCoordinator"},
}


@contextmanager
def code_server(folder):
    """A code server of a job that waits until the file `end` is there; its workspace is in workspace.yaml."""
    (folder / "location.py").write_text(LOCATION.format(end=str(folder / "end")))
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    servers = {"load_from": [{"grpc_server": {"host": "127.0.0.1", "port": port, "location_name": "here"}}]}
    (folder / "workspace.yaml").write_text(yaml.safe_dump(servers))
    command = [
        sys.executable,
        "-m",
        "dagster",
        "api",
        "grpc",
        "-f",
        str(folder / "location.py"),
        "-p",
        str(port),
    ]
    with (folder / "server.log").open("w") as log:
        process = subprocess.Popen(command, cwd=folder, stdout=log, stderr=log)
    try:
        until_it_answers(DagsterGrpcClient(port=port, host="127.0.0.1"))
        yield process
    finally:
        process.kill()
        process.wait()


def until_it_answers(client):
    until = time.monotonic() + 120
    while True:
        try:
            return client.ping("")
        except DagsterUserCodeUnreachableError:
            if time.monotonic() > until:
                raise
            time.sleep(0.1)


def launched(instance, folder):
    """A run of the job, as the daemon launches it, once it is started."""
    with WorkspaceProcessContext(instance, WorkspaceFileTarget([str(folder / "workspace.yaml")])) as process:
        workspace = process.create_request_context()
        location = workspace.get_code_location("here")
        repository = location.get_repository("__repository__")
        run = _create_run(
            instance, location, repository, repository.get_full_job("waits"), {}, {}, None, None
        )
        instance.run_launcher.launch_run(LaunchRunContext(run, workspace))
    return until_it_is(instance, run, dg.DagsterRunStatus.STARTED)


def until_it_is(instance, run, status):
    until = time.monotonic() + 120
    while (now := instance.get_run_by_id(run.run_id)).status is not status:
        assert time.monotonic() < until, f"still {now.status}"
        time.sleep(0.1)
    return now
