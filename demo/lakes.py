"""Which lake the story is played on: the embedded one, or a real lakeFS that is started for it."""

import contextlib
import os
import secrets
import shutil
import time
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Final

import httpx

from demo.processes import Processes, sweep, undisturbed
from demo.server import HOST, ServerError, free_port

EMBEDDED: Final = "embedded"
LAKEFS: Final = "lakefs"
START_SECONDS: Final = 60.0

_ACCESS_KEY: Final = "LAKECTL_CREDENTIALS_ACCESS_KEY_ID"
_SECRET_KEY: Final = "LAKECTL_CREDENTIALS_SECRET_ACCESS_KEY"  # noqa: S105  the name of a variable


@contextlib.contextmanager
def lake(kind: str, folder: Path) -> Iterator[Mapping[str, str]]:
    """The variables by which the product finds the lake; what was started for it is gone when the block ends.

    `lakefs` is the server that `LAKEFS_ENDPOINT` names, with a repository of its own there, or else the `lakefs`
    program on PATH, started with its data in `folder`. Raises ServerError when it is not there or does not start, and
    for another kind.
    """
    if kind == EMBEDDED:
        yield {"LAKEFS_ENDPOINT": ""}
    elif kind != LAKEFS:
        raise ServerError(f"LAKE is {kind!r}, expected {EMBEDDED} or {LAKEFS}.")
    elif endpoint := os.environ.get("LAKEFS_ENDPOINT"):
        yield _repository(endpoint, os.environ.get("LAKEFS_STORAGE_NAMESPACE") or "local://")
    else:
        with _started(folder) as variables:
            yield variables


def left_over(folder: Path) -> list[int]:
    """End the lakeFS that an earlier demo, which was killed, left running; returns the process ids."""
    return sweep(folder, _record(folder))


@contextlib.contextmanager
def _started(folder: Path) -> Iterator[Mapping[str, str]]:
    program = shutil.which("lakefs")
    if program is None:
        raise ServerError(
            "There is no `lakefs` program on PATH: install lakeFS, or name a running server in LAKEFS_ENDPOINT with "
            f"its keys in {_ACCESS_KEY} and {_SECRET_KEY}. `make demo` without LAKE=lakefs needs neither."
        )
    folder.mkdir(parents=True, exist_ok=True)
    endpoint, keys = (
        f"http://{HOST}:{free_port()}",
        {_ACCESS_KEY: access_key(), _SECRET_KEY: secrets.token_hex(20)},
    )
    processes, log = Processes(folder, _record(folder)), folder / "lakefs.log"
    try:
        environment = {**os.environ, **settings(folder, endpoint, keys)}
        processes.start((program, "run"), log=log, cwd=folder, environment=environment)
        _wait_until_healthy(endpoint, processes, log)
        yield {**_repository(endpoint, "local://"), **keys}
    finally:
        with undisturbed():
            processes.stop()


def _repository(endpoint: str, namespace: str) -> dict[str, str]:
    """A repository that nobody has yet, so that no earlier story is in it."""
    name = f"demo-{secrets.token_hex(4)}"
    return {
        "LAKEFS_ENDPOINT": endpoint,
        "LAKEFS_REPOSITORY": name,
        "LAKEFS_STORAGE_NAMESPACE": f"{namespace.rstrip('/')}/{name}"
        if namespace != "local://"
        else f"local://{name}",
    }


def settings(folder: Path, endpoint: str, keys: Mapping[str, str]) -> dict[str, str]:
    """LakeFS with all of its data in `folder`, which reports nothing to anybody."""
    return {
        # There it would look for somebody's own settings.
        "HOME": str(folder),
        "LAKEFS_LISTEN_ADDRESS": endpoint.removeprefix("http://"),
        "LAKEFS_DATABASE_TYPE": "local",
        "LAKEFS_DATABASE_LOCAL_PATH": str(folder / "metadata"),
        "LAKEFS_BLOCKSTORE_TYPE": "local",
        "LAKEFS_BLOCKSTORE_LOCAL_PATH": str(folder / "block"),
        "LAKEFS_COMMITTED_LOCAL_CACHE_DIR": str(folder / "cache"),
        "LAKEFS_AUTH_ENCRYPT_SECRET_KEY": secrets.token_hex(20),
        "LAKEFS_STATS_ENABLED": "false",
        "LAKEFS_EMAIL_SUBSCRIPTION_ENABLED": "false",
        "LAKEFS_SECURITY_CHECK_LATEST_VERSION": "false",
        "LAKEFS_LOGGING_LEVEL": "WARN",
        "LAKEFS_INSTALLATION_USER_NAME": "admin",
        "LAKEFS_INSTALLATION_ACCESS_KEY_ID": keys[_ACCESS_KEY],
        "LAKEFS_INSTALLATION_SECRET_ACCESS_KEY": keys[_SECRET_KEY],
        # Both halve what each request costs.
        "LAKEFS_GRAVELER_MAX_BATCH_DELAY": "100us",
        "LAKEFS_GRAVELER_BRANCH_OWNERSHIP_ENABLED": "true",
    }


def access_key() -> str:
    """A new one, in the form that lakeFS gives its keys."""
    letters = "ABCDEFGHIJKLMNOPQRSTUVWXYZ234567"
    return "AKIAJ" + "".join(secrets.choice(letters) for _ in range(14)) + "Q"


def _wait_until_healthy(endpoint: str, processes: Processes, log: Path) -> None:
    deadline = time.monotonic() + START_SECONDS
    while not is_healthy(endpoint):
        if processes.ended() or time.monotonic() > deadline:
            end = "\n".join(log.read_text(errors="replace").splitlines()[-15:])
            raise ServerError(f"lakeFS did not start:\n{end}")
        time.sleep(0.1)


def is_healthy(endpoint: str) -> bool:
    """Whether the server there answers."""
    try:
        return httpx.get(f"{endpoint}/_health", timeout=5).is_success
    except httpx.HTTPError:
        return False


def _record(folder: Path) -> Path:
    return folder.with_name("lake_pids.json")
