"""The team's proxy for real: nginx with infra/proxy, before stand-ins on loopback addresses of their own.

The stand-in of oauth2-proxy knows who somebody is from the cookie `login=<name>:<group>+<group>`; everything else
answers with what it was sent.
"""

import json
import os
import random
import shutil
import socket
import socketserver
import string
import struct
import subprocess
import threading
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from http.cookies import SimpleCookie
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from urllib.parse import parse_qs, urlsplit

import httpx

PROXY = Path(__file__).parent.parent / "infra" / "proxy"
ENVIRONMENT = {
    "CV_DOMAIN": "cv.test",
    "CV_PROXY_SECRET": "secret-of-the-proxy",
    "CV_GROUP_VIEWERS": "viewers",
    "CV_GROUP_OPERATORS": "operators",
    "CV_GROUP_APPROVERS": "approvers",
    "CV_GROUP_ANNOTATORS": "annotators",
    "PROXY_SUFFIX": "",
}
BEHIND = {
    "viewer": 3000,
    "webserver": 3000,
    "approvals-solar-cells": 3070,
    "label-studio-solar-cells": 8080,
    "oauth2-proxy": 4180,
}


class Echo(BaseHTTPRequestHandler):
    """Answers with the name of the service and what it was sent."""

    def do_GET(self) -> None:
        sent = {name.lower(): value for name, value in self.headers.items()}
        said = json.dumps({"service": self.server.service, "path": self.path, "headers": sent}).encode()
        self._answer(200, {"Content-Type": "application/json", "Content-Length": str(len(said))}, said)

    do_POST = do_GET  # noqa: N815, the name is http.server's

    def _answer(self, status: int, headers: dict[str, str], body: bytes = b"") -> None:
        self.send_response(status)
        for name, value in headers.items():
            self.send_header(name, value)
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_: object) -> None:
        """Nothing is logged."""


class WhoIsIt(Echo):
    """As oauth2-proxy answers: 401 for a stranger, 403 for somebody in none of the groups, else 202 and the name."""

    def do_GET(self) -> None:
        asked = urlsplit(self.path)
        if asked.path == "/oauth2/start":
            back = self.headers.get("X-Auth-Request-Redirect", "")
            self._answer(302, {"Location": f"https://login.example/?back={back}", "Content-Length": "0"})
        elif asked.path == "/oauth2/auth":
            self._answer(*self._known(set(parse_qs(asked.query)["allowed_groups"][0].split(","))))
        else:
            self._answer(404, {"Content-Length": "0"})

    def _known(self, allowed: set[str]) -> tuple[int, dict[str, str]]:
        cookie = SimpleCookie(self.headers.get("Cookie", "")).get("login")
        if cookie is None:
            return 401, {"Content-Length": "0"}
        name, _, groups = cookie.value.partition(":")
        if not allowed & set(groups.split("+")):
            return 403, {"Content-Length": "0"}
        return 202, {
            "Content-Length": "0",
            "X-Auth-Request-User": name,
            "X-Auth-Request-Email": f"{name}@example.com",
        }


class Names(socketserver.BaseRequestHandler):
    """A name server: each service has its own loopback address."""

    def handle(self) -> None:
        query, reply_to = self.request
        name, at = [], 12
        while length := query[at]:
            name.append(query[at + 1 : at + 1 + length].decode())
            at += length + 1
        question = query[12 : at + 5]
        address = self.server.addresses.get(".".join(name))
        answer = struct.pack("!HHHLH", 0xC00C, 1, 1, 10, 4) + socket.inet_aton(address) if address else b""
        counts = struct.pack("!HHHHH", 0x8180 if address else 0x8183, 1, bool(address), 0, 0)
        reply_to.sendto(query[:2] + counts + question + answer, self.client_address)


@contextmanager
def running_proxy(folder: Path, **differently: str) -> Iterator["Visitor"]:
    """A visitor of the proxy of a team, with these variables `differently`; it runs until the end of the block."""
    net = f"127.{random.randint(10, 250)}.{random.randint(0, 250)}"
    addresses = {service: f"{net}.{n}" for n, service in enumerate(BEHIND, start=2)}
    with ExitStack() as stack:
        for service, port in BEHIND.items():
            handler = WhoIsIt if service == "oauth2-proxy" else Echo
            server = ThreadingHTTPServer((addresses[service], port), handler)
            server.service = service
            stack.enter_context(_serving(server))
        names = socketserver.ThreadingUDPServer((f"{net}.1", 0), Names)
        names.addresses = addresses
        stack.enter_context(_serving(names))
        resolver = f"{net}.1:{names.server_address[1]}"
        nginx = [shutil.which("nginx") or "/usr/sbin/nginx", "-e", "stderr", "-c"]
        configuration = write_configuration(folder, f"{net}.1:8080", resolver, differently)
        stack.enter_context(_process([*nginx, str(configuration)], folder / "nginx.log"))
        yield stack.enter_context(_visitor(f"{net}.1:8080", folder / "nginx.log"))


def write_configuration(
    folder: Path, listen: str, resolver: str, differently: dict[str, str] | None = None
) -> Path:
    """nginx's configuration as its image makes it from infra/proxy."""
    environment = {**ENVIRONMENT, **(differently or {}), "PROXY_LISTEN": listen, "PROXY_RESOLVER": resolver}
    template = (PROXY / "proxy.conf.template").read_text()
    for name, value in environment.items():
        template = template.replace(f"${{{name}}}", value)
    (folder / "proxy.conf").write_text(template)
    shutil.copytree(PROXY, folder / "parts")
    places = ("client_body", "proxy", "fastcgi", "uwsgi", "scgi")
    temporary = "".join(f"{place}_temp_path {folder}/{place};" for place in places)
    main = string.Template(
        "daemon off; pid $folder/nginx.pid; worker_processes 1; $user events {}\n"
        "http { access_log off; $temporary include $folder/proxy.conf; }\n"
    )
    user = "user root;" if os.geteuid() == 0 else ""
    (folder / "nginx.conf").write_text(main.substitute(folder=folder, user=user, temporary=temporary))
    return folder / "nginx.conf"


class Visitor:
    """Somebody with a browser."""

    def __init__(self, client: httpx.Client, address: str) -> None:
        self._client, self._address = client, address

    def opens(
        self, name: str, path: str = "/", login: str = "", post: bool = False, **headers: str
    ) -> httpx.Response:
        """The answer to opening this name below the domain, logged in as `login`, with further headers."""
        sent = {"Host": f"{name}.cv.test", "Accept": "text/html", **headers}
        if login:
            sent["Cookie"] = f"login={login}; sessionid=of-label-studio"
        return self._client.request("POST" if post else "GET", f"http://{self._address}{path}", headers=sent)


@contextmanager
def _visitor(address: str, log: Path) -> Iterator[Visitor]:
    with httpx.Client(trust_env=False) as client:
        until = time.monotonic() + 20
        while True:
            try:
                client.get(f"http://{address}/healthz").raise_for_status()
            except httpx.HTTPError:
                if time.monotonic() > until:
                    raise RuntimeError(f"nginx did not start: {log.read_text()}") from None
                time.sleep(0.05)
            else:
                break
        yield Visitor(client, address)


@contextmanager
def _serving(server: socketserver.BaseServer) -> Iterator[None]:
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.05})
    thread.start()
    try:
        yield
    finally:
        server.shutdown()
        thread.join()
        server.server_close()


@contextmanager
def _process(command: list[str], log: Path) -> Iterator[None]:
    with log.open("w") as out:
        process = subprocess.Popen(command, stdout=out, stderr=out)
        try:
            yield
        finally:
            process.terminate()
            process.wait(10)
