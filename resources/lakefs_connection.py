"""The connection to a lakeFS server: what is sent again, how long is waited, and what is said when nothing answers.

The vendor's packages wait for ever, and name no server.
"""

import json
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from http import HTTPStatus
from http.client import IncompleteRead
from types import SimpleNamespace
from typing import Any, NamedTuple, TypeVar, cast
from urllib.parse import quote, urlencode

import lakefs
import urllib3
from lakefs.exceptions import (
    BadRequestException,
    ConflictException,
    LakeFSException,
    NotFoundException,
    api_exception_handler,
    handle_http_error,
)
from lakefs_sdk.models.access_key_credentials import AccessKeyCredentials
from lakefs_sdk.models.branch_protection_rule import BranchProtectionRule
from lakefs_sdk.models.repository_creation import RepositoryCreation
from lakefs_sdk.models.setup import Setup

from resources.lake import LakeError, LakeUnreachableError
from resources.lake_names import MAIN

THREADS = 8
PAGE = 1000
_BUSY = {429, 502, 503, 504}
_TIMEOUT = urllib3.Timeout(connect=5, read=60)
# What never reached the server may be sent again whatever it is; when the answer was lost, only what reads. One that
# hangs is waited for thrice at most.
_RETRIES = urllib3.Retry(
    total=4,
    read=2,
    allowed_methods={"GET", "HEAD"},
    status_forcelist=_BUSY,
    backoff_factor=0.2,
    raise_on_status=False,
)
_CREATION_SECONDS = 5
_MAY_BE_MISSING = {"left", "right", "metadata", "size_bytes", "checksum", "mtime"}
_FIRST_USER = "cv-assets"
_PAUSES_SECONDS = (0.2, 1.0, 3.0)

T = TypeVar("T")


@dataclass(frozen=True)
class Connection:
    """A repository on a lakeFS server, and the keys to it."""

    endpoint: str
    access_key_id: str
    secret_access_key: str = field(repr=False)
    repository: str
    storage_namespace: str


def connect(to: Connection) -> lakefs.Client:
    """A client that waits a bounded time and raises LakeError, LakeUnreachableError in words."""
    options = {"host": to.endpoint, "username": to.access_key_id, "password": to.secret_access_key}
    client = lakefs.Client(**options)  # type: ignore[no-untyped-call]
    pool = _pool(client)
    pool.connection_pool_kw |= {"maxsize": 2 * THREADS, "retries": _RETRIES}
    request = pool.request

    def request_in_time(*names: Any, **options: Any) -> urllib3.BaseHTTPResponse:
        try:
            # The SDK asks for "no time-out" by name, which outdoes one set on the pool.
            answer = request(*names, **options | {"timeout": options.get("timeout") or _TIMEOUT})
        except urllib3.exceptions.HTTPError as error:
            raise _unreachable(to) from error
        if answer.status in _BUSY or not _says_its_length(answer):
            raise _unreachable(to)
        if answer.status == HTTPStatus.UNAUTHORIZED:
            raise LakeError(
                f"lakeFS at {to.endpoint} refuses the keys: correct LAKECTL_CREDENTIALS_ACCESS_KEY_ID and "
                "LAKECTL_CREDENTIALS_SECRET_ACCESS_KEY"
            )
        return answer

    setattr(pool, "request", request_in_time)  # noqa: B010  (mypy refuses to assign to a method)
    return client


def _pool(client: lakefs.Client) -> urllib3.PoolManager:
    pool: urllib3.PoolManager = client.sdk_client.objects_api.api_client.rest_client.pool_manager
    return pool


def _says_its_length(answer: urllib3.BaseHTTPResponse) -> bool:
    """One that does not is cut off in its head, and would pass for a whole one without a body."""
    says = any(name in answer.headers for name in ("Content-Length", "Transfer-Encoding"))
    return says or answer.status == HTTPStatus.NO_CONTENT


def _unreachable(to: Connection) -> LakeUnreachableError:
    return LakeUnreachableError(
        f"lakeFS at {to.endpoint} does not answer: start it or correct LAKEFS_ENDPOINT; nothing is lost, "
        "re-execute the run from failure"
    )


def ensure_user(to: Connection) -> list[str]:
    """Make the server's first user with these keys where it has none yet; a sentence when that was done.

    With its own files as database a server does so itself, from its settings; on PostgreSQL it waits to be asked.
    """
    api = connect(to).sdk_client.internal_api
    with api_exception_handler():
        if api.get_setup_state().state == "initialized":
            return []
        keys = AccessKeyCredentials(access_key_id=to.access_key_id, secret_access_key=to.secret_access_key)
        api.setup(Setup.parse_obj({"username": _FIRST_USER, "key": keys}))
    return [f"Made the first user of {to.endpoint}, {_FIRST_USER}: it has the keys of this deployment."]


def ensure_repository(client: lakefs.Client, to: Connection) -> list[str]:
    """Make the repository and protect `main`, as far as not done yet; a sentence for each thing done."""
    told = []
    if not exists(client, to):
        create_repository(client, to)
        told.append(f"Made the repository {to.repository} on {to.endpoint}.")
    api = client.sdk_client.repositories_api
    with api_exception_handler():
        rules = api.get_branch_protection_rules(to.repository)
        if MAIN not in {rule.pattern for rule in rules}:
            # At once: on a branch that was written to, protection takes seconds to work.
            api.set_branch_protection_rules(to.repository, [*rules, BranchProtectionRule(pattern=MAIN)])
            told.append(f"Protected {MAIN}: it only takes merges.")
    return told


def create_repository(client: lakefs.Client, to: Connection, *, bare: bool = False) -> None:
    """Make the repository, a bare one without `main`; another process may do the same. Raises LakeError."""
    wanted = RepositoryCreation(
        name=to.repository, storage_id=None, storage_namespace=to.storage_namespace, default_branch=MAIN
    )
    try:
        with api_exception_handler():
            client.sdk_client.repositories_api.create_repository(wanted, bare=bare)
    except (ConflictException, BadRequestException) as error:
        # Another process may be just about to make it: first its storage is taken, then it is there.
        deadline = time.monotonic() + _CREATION_SECONDS
        while not exists(client, to):
            if time.monotonic() > deadline:
                raise _impossible(to, error) from error
            time.sleep(0.1)


class Record(SimpleNamespace):
    """One object of an answer, by its fields; what need not be said is None where it is not."""

    def __getattr__(self, name: str) -> Any:
        """Of a field that is not there. Raises LakeError for one that the server always states."""
        if name.startswith("_"):
            raise AttributeError(name)
        if name not in _MAY_BE_MISSING:
            raise LakeError(f"an answer of lakeFS lacks {name!r}: run a server of the version that is pinned")
        return None


class Body(NamedTuple):
    """What is uploaded: `size` bytes, piece by piece."""

    pieces: Iterator[bytes]
    size: int


class _ChangedError(Exception):
    """No OSError: as one it would pass for a fault of the connection."""


def _counted(body: Body) -> Iterator[bytes]:
    sent = 0
    for piece in body.pieces:
        sent += len(piece)
        if sent > body.size:
            raise _ChangedError
        yield piece
    if sent < body.size:
        raise _ChangedError


def ask(
    client: lakefs.Client, to: Connection, method: str, *names: str, body: Any = None, **wanted: object
) -> Any:
    """What the repository answers at the address of these `names`, as records; None where it only says that it did it.

    The vendor's package checks each field on its way out and in: it takes twice as long for a small question, ten
    times for a listing of thousands. Raises what it raises, LakeUnreachableError where another program answers.
    """
    said = {name: _spelled(value) for name, value in wanted.items() if value is not None}
    place = _address(client, to, *names, **said)
    answer = _pool(client).request(method, place, headers=_keys(to), json=body)
    handle_http_error(cast(urllib3.HTTPResponse, answer))
    if answer.headers.get("Content-Type", "").startswith("application/json"):
        return json.loads(answer.data, object_hook=lambda fields: Record(**fields))
    if method == "GET":  # another program's page
        raise _unreachable(to)
    return None


def upload(
    client: lakefs.Client, to: Connection, branch: str, path: str, body: Body, metadata: Mapping[str, str]
) -> None:
    """Stage an object as the vendor's own writer does, without its copy of all bytes and its reading of the answer.

    Raises OSError when the bytes are not as many as was said: the server would wait for the rest.
    """
    headers = _keys(to) | {"Content-Type": "application/octet-stream", "Content-Length": str(body.size)}
    headers |= {f"x-lakefs-meta-{name}": value for name, value in metadata.items()}
    url = _address(client, to, "branches", branch, "objects", path=path)
    try:
        answer = _pool(client).request("POST", url, headers=headers, body=_counted(body))
    except _ChangedError as error:
        raise OSError(f"what is to be {path!r} changed while it was uploaded: write it again") from error
    handle_http_error(cast(urllib3.HTTPResponse, answer))


def _address(client: lakefs.Client, to: Connection, *names: str, **wanted: str) -> str:
    place = "/".join(quote(name, safe="") for name in ("repositories", to.repository, *names))
    question = f"?{urlencode(wanted)}" if wanted else ""
    return f"{client.config.host}/{place}{question}"


def _keys(to: Connection) -> dict[str, str]:
    return urllib3.make_headers(basic_auth=f"{to.access_key_id}:{to.secret_access_key}")


def _spelled(value: object) -> str:
    return str(value).lower() if isinstance(value, bool) else str(value)


def exists(client: lakefs.Client, to: Connection) -> bool:
    """Whether the server has the repository.

    Raises LakeError when none can have that name, LakeUnreachableError where another program answers.
    """
    try:
        with api_exception_handler():
            client.sdk_client.repositories_api.get_repository(to.repository)
    except NotFoundException:
        return False
    except BadRequestException as error:
        raise _impossible(to, error) from error
    except ValueError as error:  # no lakeFS, but another program's page
        raise _unreachable(to) from error
    return True


def _impossible(to: Connection, error: LakeFSException) -> LakeError:
    return LakeError(
        f"lakeFS at {to.endpoint} has no repository {to.repository!r} in {to.storage_namespace!r} and makes none "
        f"({said(error)}): correct LAKEFS_REPOSITORY or LAKEFS_STORAGE_NAMESPACE"
    )


@contextmanager
def in_words(place: str) -> Iterator[None]:
    """Raises LakeError for whatever the server at `place` refuses and no caller expects."""
    try:
        with api_exception_handler():
            yield
    except LakeFSException as error:
        raise LakeError(f"lakeFS refuses at {place}: {said(error)}") from error


def said(error: LakeFSException) -> str:
    """The server's own words."""
    return str(getattr(error, "body", {}).get("message") or error)


def is_cut_short(error: LakeUnreachableError) -> bool:
    """Whether the server began the answer, time and again, and never ended it."""
    broken = getattr(error.__cause__, "reason", None)
    return isinstance(broken, urllib3.exceptions.ProtocolError) and isinstance(
        broken.args[-1], IncompleteRead
    )


def repeated(action: Callable[[], T], landed: Callable[[], T | None] = lambda: None) -> T:
    """Act again after an answer was lost, unless `landed` finds that the action took place."""
    for pause_seconds in _PAUSES_SECONDS:
        try:
            return action()
        except LakeUnreachableError:
            time.sleep(pause_seconds)
            if (answer := landed()) is not None:
                return answer
    return action()


def pages(
    listing: Callable[..., Any], *names: str, amount: int | None = None, **wanted: Any
) -> Iterator[Any]:
    """All that a listing of the server has, asked for `amount` at a time."""
    after = ""
    while True:
        page = listing(*names, after=after, amount=amount or PAGE, **wanted)
        yield from page.results
        if not page.pagination.has_more:
            return
        after = page.pagination.next_offset
