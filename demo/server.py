"""A real local Dagster: webserver, daemon and one code server, all on 127.0.0.1 and all ours."""

import contextlib
import os
import shutil
import socket
import sys
import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import httpx

from demo.processes import Processes, undisturbed

HOST: Final = "127.0.0.1"
FAVOURITE_PORT: Final = 3000
START_SECONDS: Final = 120.0

_WORKSPACE = """load_from:
  - grpc_server: {{host: {host}, port: {port}, location_name: {location}}}
"""


class ServerError(RuntimeError):
    """Dagster did not start, or died; the message shows the end of its log."""


@dataclass(frozen=True)
class Location:
    """The code that the server serves."""

    name: str
    module: str
    folder: Path


@dataclass(frozen=True)
class Server:
    """A running Dagster."""

    url: str
    home: Path
    processes: Processes

    def check(self) -> None:
        """Raise ServerError when one of its processes ended."""
        for process in self.processes.ended():
            command = " ".join(map(str, process.args[1:4]))  # type: ignore[index]
            raise ServerError(
                f"{command} ended with exit code {process.returncode}:\n{_end_of_logs(self.home)}"
            )


@contextlib.contextmanager
def serving(
    home: Path, location: Location, configuration: Path, record: Path, environment: Mapping[str, str]
) -> Iterator[Server]:
    """A Dagster with its storage in the empty folder `home`, gone with everything it started when the block ends.

    `configuration` is its dagster.yaml and `record` the file that names its processes meanwhile. Raises ServerError.
    """
    home.mkdir(parents=True, exist_ok=True)
    shutil.copy(configuration, home / "dagster.yaml")
    port, code_port = free_port(FAVOURITE_PORT), free_port()
    url = f"http://{HOST}:{port}"
    variables = {
        **os.environ,
        **environment,
        "DAGSTER_HOME": str(home),
        "DAGSTER_URL": url,
        "DO_NOT_TRACK": "1",
        "GX_ANALYTICS_ENABLED": "false",
        "PYTHONUNBUFFERED": "1",
    }
    (home / "workspace.yaml").write_text(
        _WORKSPACE.format(host=HOST, port=code_port, location=location.name), encoding="utf-8"
    )
    _make_storage(home)
    server = Server(url, home, Processes(home, record))
    try:
        _start(server, location, variables, port, code_port)
        _wait_until_it_answers(server, location)
        yield server
    finally:
        with undisturbed():
            server.processes.stop()


def free_port(favourite: int = 0) -> int:
    """`favourite` when nobody listens there, else any free port."""
    for port in (favourite, 0):
        with socket.socket() as probe, contextlib.suppress(OSError):
            # As the servers do, else a port that closed a minute ago counts as taken.
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            probe.bind((HOST, port))
            return int(probe.getsockname()[1])
    raise ServerError("no free port on this machine")


def _make_storage(home: Path) -> None:
    # Three processes that create the SQLite files at the same time corrupt them.
    from dagster import DagsterInstance

    with DagsterInstance.from_config(str(home)) as instance:
        instance.get_runs_count()
        instance.all_instigator_state()
        instance.get_dynamic_partitions("any")


def _start(
    server: Server, location: Location, variables: Mapping[str, str], port: int, code_port: int
) -> None:
    python, workspace = sys.executable, str(server.home / "workspace.yaml")
    folder = str(location.folder)
    commands = {
        "code": [
            *("dagster", "api", "grpc", "--host", HOST, "--port", str(code_port)),
            *("--module-name", location.module, "--working-directory", folder),
            *("--location-name", location.name, "--use-python-environment-entry-point"),
        ],
        "webserver": ["dagster_webserver", "--host", HOST, "--port", str(port), "--workspace", workspace],
        "daemon": ["dagster._daemon", "run", "--workspace", workspace],
    }
    for name, command in commands.items():
        server.processes.start(
            [python, "-m", *command],
            log=server.home / f"{name}.log",
            cwd=location.folder,
            environment=variables,
        )


def _wait_until_it_answers(server: Server, location: Location) -> None:
    query = (
        "{workspaceOrError {... on Workspace {locationEntries {name locationOrLoadError {__typename "
        "... on PythonError {message}}}}}}"
    )
    deadline = time.monotonic() + START_SECONDS
    problem = ""
    while time.monotonic() < deadline:
        server.check()
        with contextlib.suppress(httpx.HTTPError):
            reply = httpx.post(f"{server.url}/graphql", json={"query": query}, timeout=30).json()
            entries = (reply.get("data") or {}).get("workspaceOrError", {}).get("locationEntries", [])
            states = {entry["name"]: entry["locationOrLoadError"] or {} for entry in entries}
            state = states.get(location.name, {})
            if state.get("__typename") == "RepositoryLocation":
                return
            problem = state.get("message", "")
        time.sleep(0.3)
    raise ServerError(
        f"Dagster did not answer within {START_SECONDS:g} s. {problem}\n{_end_of_logs(server.home)}"
    )


def _end_of_logs(home: Path) -> str:
    ends = [
        f"--- {log.name}\n" + "\n".join(log.read_text(errors="replace").splitlines()[-15:])
        for log in sorted(home.glob("*.log"))
    ]
    return "\n".join(ends)
