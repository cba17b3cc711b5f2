"""A real local Dagster: webserver, daemon and one code server, all on 127.0.0.1 and all ours."""

import contextlib
import os
import shutil
import socket
import sys
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import httpx

from demo.processes import Processes, undisturbed

HOST: Final = "127.0.0.1"
FAVOURITE_PORT: Final = 3000
START_SECONDS: Final = 120.0

_LOCATIONS = """{ workspaceOrError { ... on Workspace { locationEntries { name locationOrLoadError {
  __typename ... on PythonError { message causes { message } } } } } } }"""
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
    server = Server(url, home, Processes(home, record))
    try:
        _make_storage(home)
        _start_code(server, location, variables, code_port)
        _wait_for_port(server, code_port)
        _start_dagster(server, location, variables, port)
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
    import dagster as dg

    with dg.DagsterInstance.from_config(str(home)) as instance:
        instance.get_runs_count()
        instance.all_instigator_state()
        instance.get_dynamic_partitions("any")


def _start_code(server: Server, location: Location, variables: Mapping[str, str], port: int) -> None:
    where = ("--host", HOST, "--port", str(port), "--location-name", location.name)
    code = ("--module-name", location.module, "--working-directory", str(location.folder))
    command = ("dagster", "api", "grpc", *where, *code, "--lazy-load-user-code")
    _start(server, location, variables, "code", command)


def _start_dagster(server: Server, location: Location, variables: Mapping[str, str], port: int) -> None:
    workspace = ("--workspace", str(server.home / "workspace.yaml"))
    _start(server, location, variables, "daemon", ("dagster._daemon", "run", *workspace))
    command = ("dagster_webserver", "--host", HOST, "--port", str(port), *workspace)
    _start(server, location, variables, "webserver", command)


def _start(
    server: Server, location: Location, variables: Mapping[str, str], name: str, command: Sequence[str]
) -> None:
    log = server.home / f"{name}.log"
    server.processes.start(
        (sys.executable, "-m", *command), log=log, cwd=location.folder, environment=variables
    )


def _wait_for_port(server: Server, port: int) -> None:
    # Webserver and daemon that find no code server look again only after a minute.
    deadline = time.monotonic() + START_SECONDS
    while time.monotonic() < deadline:
        server.check()
        with contextlib.suppress(OSError), socket.create_connection((HOST, port), timeout=1):
            return
        time.sleep(0.1)
    raise ServerError(
        f"The code server did not start within {START_SECONDS:g} s.\n{_end_of_logs(server.home)}"
    )


def _wait_until_it_answers(server: Server, location: Location) -> None:
    deadline = time.monotonic() + START_SECONDS
    while time.monotonic() < deadline:
        server.check()
        state = _state(server.url, location.name)
        if state.get("__typename") == "RepositoryLocation":
            return
        if state.get("__typename") == "PythonError":
            causes = [state["message"], *(cause["message"] for cause in state["causes"])]
            raise ServerError(f"The code of {location.module} does not load: {causes[-1].strip()}")
        time.sleep(0.2)
    raise ServerError(f"Dagster did not answer within {START_SECONDS:g} s.\n{_end_of_logs(server.home)}")


def _state(url: str, location: str) -> dict[str, Any]:
    """What the webserver says of the code location; empty while it says nothing."""
    try:
        reply = httpx.post(f"{url}/graphql", json={"query": _LOCATIONS}, timeout=30).json()
    except httpx.HTTPError:
        return {}
    entries = (reply.get("data") or {}).get("workspaceOrError", {}).get("locationEntries", [])
    return next((one["locationOrLoadError"] or {} for one in entries if one["name"] == location), {})


def _end_of_logs(home: Path) -> str:
    ends = [
        f"--- {log.name}\n" + "\n".join(log.read_text(errors="replace").splitlines()[-15:])
        for log in sorted(home.glob("*.log"))
    ]
    return "\n".join(ends)
