"""A real lakeFS server for the tests that are marked `lakefs`: the one in the environment, or one of their own."""

import contextlib
import os
import re
import shutil
import socket
import sys
import threading
import urllib.parse
import uuid
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from demo import lakes
from resources.git_lake import GitLake
from resources.lake import Lake


@dataclass(frozen=True)
class Server:
    endpoint: str
    access_key_id: str
    secret_access_key: str
    storage_namespace: str
    block: Path | None = None
    """The folder of its storage, when that is on this machine."""


@pytest.fixture(scope="session")
def lakefs_server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    if endpoint := os.environ.get("LAKEFS_ENDPOINT"):
        keys = (
            os.environ["LAKECTL_CREDENTIALS_ACCESS_KEY_ID"],
            os.environ["LAKECTL_CREDENTIALS_SECRET_ACCESS_KEY"],
        )
        yield Server(endpoint, *keys, os.environ.get("LAKEFS_STORAGE_NAMESPACE") or "local://")
        return
    if shutil.which("lakefs") is None:
        pytest.skip("no lakeFS server: LAKEFS_ENDPOINT is not set and no `lakefs` program is on PATH")
    folder = tmp_path_factory.mktemp("lakefs") / "server"
    with lakes.lake(lakes.LAKEFS, folder) as found:
        keys = (
            found["LAKECTL_CREDENTIALS_ACCESS_KEY_ID"],
            found["LAKECTL_CREDENTIALS_SECRET_ACCESS_KEY"],
        )
        yield Server(found["LAKEFS_ENDPOINT"], *keys, "local://", folder / "block")


@pytest.fixture
def lakefs_lake(lakefs_server: Server, tmp_path: Path) -> Lake:
    """A repository of its own for each test, made on first use."""
    from resources.lakefs_lake import LakeFSLake

    name = f"test-{uuid.uuid4().hex}"
    return LakeFSLake(
        endpoint=lakefs_server.endpoint,
        access_key_id=lakefs_server.access_key_id,
        secret_access_key=lakefs_server.secret_access_key,
        repository=name,
        cache=tmp_path / "cache",
        storage_namespace=f"{lakefs_server.storage_namespace}{name}",
    )


@pytest.fixture
def git_lake(tmp_path: Path) -> GitLake:
    return GitLake(tmp_path / "lake")


@pytest.fixture(params=["git_lake", pytest.param("lakefs_lake", marks=pytest.mark.lakefs)])
def lake(request: pytest.FixtureRequest) -> Lake:
    return request.getfixturevalue(request.param)


_REQUEST = re.compile(rb"(GET|HEAD|POST|PUT|DELETE) \S+ HTTP/1.1\r\n")


class LossyProxy:
    """Passes on all that it gets, until it is told to lose one answer or to let no more requests through."""

    def __init__(self, upstream: tuple[str, int]) -> None:
        self._upstream = upstream
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.endpoint = f"http://127.0.0.1:{self._listener.getsockname()[1]}"
        self._marks: tuple[bytes, ...] = ()
        self.has_lost = False
        self._requests_left, self._trouble = sys.maxsize, "hangs up"
        threading.Thread(target=self._accept, daemon=True).start()

    def lose_answer_to(self, *marks: str) -> None:
        """The next request whose first bytes hold all `marks`."""
        self._marks = tuple(mark.encode() for mark in marks)

    def fail_after(self, requests: int, trouble: str = "hangs up") -> None:
        """Pass on so many requests; from then on the server `hangs up`, `hangs` or `answers half`."""
        self._requests_left, self._trouble = requests, trouble

    def close(self) -> None:
        self._listener.shutdown(socket.SHUT_RDWR)
        self._listener.close()

    def _accept(self) -> None:
        with contextlib.suppress(OSError):
            while True:
                client, _ = self._listener.accept()
                server = socket.create_connection(self._upstream)
                doomed = threading.Event()
                for source, target in ((client, server), (server, client)):
                    threading.Thread(target=self._pass_on, args=(source, target, doomed), daemon=True).start()

    def _pass_on(self, source: socket.socket, target: socket.socket, doomed: threading.Event) -> None:
        with contextlib.suppress(OSError), source:
            is_answer = source.getpeername() == self._upstream
            while data := source.recv(1 << 16):
                if is_answer and doomed.is_set():
                    break
                if not is_answer and _REQUEST.match(data):
                    self._requests_left -= 1
                failing = self._requests_left < 0
                if failing and self._trouble == "hangs":
                    continue
                if failing and self._trouble == "hangs up":
                    break
                if failing and is_answer:
                    target.sendall(data[: len(data) // 2])
                    break
                if not is_answer and self._marks and all(mark in data for mark in self._marks):
                    self._marks, self.has_lost = (), True
                    doomed.set()
                target.sendall(data)
            target.shutdown(socket.SHUT_RDWR)


@pytest.fixture
def lossy_proxy(lakefs_server: Server) -> Iterator[LossyProxy]:
    address = urllib.parse.urlsplit(lakefs_server.endpoint)
    proxy = LossyProxy((address.hostname or "", address.port or 80))
    yield proxy
    proxy.close()
