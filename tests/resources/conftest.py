"""Both lakes, and a bad line to a lakeFS server."""

import contextlib
import re
import socket
import sys
import threading
import urllib.parse
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from resources.git_lake import GitLake
from resources.lake import Lake


@pytest.fixture
def lakefs_lake(new_repository: Callable[[], Lake]) -> Lake:
    """A repository of its own for each test, made on first use."""
    return new_repository()


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
def lossy_proxy(lakefs_server: Any) -> Iterator[LossyProxy]:
    address = urllib.parse.urlsplit(lakefs_server.endpoint)
    proxy = LossyProxy((address.hostname or "", address.port or 80))
    yield proxy
    proxy.close()
