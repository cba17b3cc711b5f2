"""A real channel for tests: an HTTP server on this machine that keeps what it is told, and can refuse."""

import json
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, HTTPServer
from threading import Thread


class Listener(HTTPServer):
    """Takes what apprise's `json://` sends: `told` are the messages, oldest first; `answer` is the HTTP status.

    `refused` counts what it did not take.
    """

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), _Handler)
        self.told: list[dict[str, str]] = []
        self.answer = 200
        self.refused = 0

    @property
    def address(self) -> str:
        return f"127.0.0.1:{self.server_port}"

    @property
    def titles(self) -> list[str]:
        return [message["title"] for message in self.told]


class _Handler(BaseHTTPRequestHandler):
    server: Listener

    def do_POST(self) -> None:
        message = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        if self.server.answer == 200:
            self.server.told.append(message)
        else:
            self.server.refused += 1
        self.send_response(self.server.answer)
        self.end_headers()

    def log_message(self, *_: object) -> None:
        """Say nothing on the terminal."""


@contextmanager
def listening() -> Iterator[Listener]:
    """A listener on a free port, gone at the end."""
    listener = Listener()
    thread = Thread(target=listener.serve_forever, kwargs={"poll_interval": 0.01}, daemon=True)
    thread.start()
    try:
        yield listener
    finally:
        listener.shutdown()
        listener.server_close()
        thread.join()
