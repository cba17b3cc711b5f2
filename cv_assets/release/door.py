"""The door of approvals: a page where named persons conclude candidates and roll back, and the web around it.

It writes nothing itself. A decision is signed and given to a run, which verifies it and publishes the row; so what the
door shows and what it asks for may lie apart by a moment, and then the run refuses.
"""

import secrets
from collections.abc import Awaitable, Callable
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from pathlib import Path
from threading import Lock
from typing import Any, Final, Literal

import jinja2
from starlette.applications import Starlette
from starlette.concurrency import run_in_threadpool
from starlette.exceptions import HTTPException
from starlette.middleware import Middleware
from starlette.middleware.base import BaseHTTPMiddleware, RequestResponseEndpoint
from starlette.middleware.trustedhost import TrustedHostMiddleware
from starlette.requests import Request
from starlette.responses import HTMLResponse, PlainTextResponse, RedirectResponse, Response
from starlette.routing import Route

from cv_assets.release.approval import Approval, Decided, sign
from cv_assets.release.board import Board
from cv_assets.release.deciding import (
    DecisionError,
    Told,
    decided_by,
    decided_in,
    decision_in_words,
    is_as_seen,
    is_genuine,
    refuse_what_changed,
    refuse_who_may_not,
    tags_of,
    told,
)
from cv_assets.release.forms import BadFormError, Shown, fields_of, refuse_other_sites, shown_by, token_of
from cv_assets.release.identity import UnknownPersonError, authenticated_name, typed_name
from cv_assets.release.launching import DECIDES, Dagster, DagsterError, Run
from cv_assets.words import visible

PAGES: Final = Path(__file__).parent / "pages"

THIS_MACHINE: Final = ("127.0.0.1", "localhost")

HEADERS: Final = {
    "Content-Security-Policy": "default-src 'none'; style-src 'self'; form-action 'self'; base-uri 'none'; "
    "frame-ancestors 'none'",
    "X-Content-Type-Options": "nosniff",
    "X-Frame-Options": "DENY",
    # Not `no-referrer`, under which browsers do not say which page sent a form.
    "Referrer-Policy": "same-origin",
    "Cross-Origin-Opener-Policy": "same-origin",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Permissions-Policy": "camera=(), geolocation=(), microphone=()",
    "Cache-Control": "no-store",
}


class BoardError(RuntimeError):
    """The lake cannot be read now; the message says why."""


@dataclass(frozen=True)
class Secrets:
    """What the door knows and never shows. An empty one is not there."""

    approval_key: str
    proxy_secret: str


class Door:
    """The pages, over a board that `look` reads anew for each of them. `ui` is Dagster's address for people."""

    def __init__(self, look: Callable[[], Board], dagster: Dagster, known: Secrets, ui: str) -> None:
        """Raises ValueError where logins are trusted that no signature could carry to a run."""
        if known.proxy_secret and not known.approval_key:
            raise ValueError(
                "CV_PROXY_SECRET is set and CV_APPROVAL_KEY is not: set it too, to the same value as for the code "
                "location, so that runs learn who logged in"
            )
        self._look, self._dagster, self._secrets, self._ui = look, dagster, known, ui
        self._form_key = known.approval_key or secrets.token_hex()
        self._one_at_a_time = Lock()
        self._templates = _templates()

    @property
    def app(self) -> Starlette:
        """The web application."""
        return Starlette(
            routes=[
                Route("/", self._answer(self._index)),
                Route("/decide", self._answer(self._decide), methods=["POST"]),
                Route("/runs/{run_id}", self._answer(self._run)),
                Route("/style.css", _style),
                Route("/healthz", _is_alive),
            ],
            middleware=[Middleware(BaseHTTPMiddleware, dispatch=_with_headers), *self._hosts],
            exception_handlers={HTTPException: _plain_refusal},
        )

    @property
    def _hosts(self) -> list[Middleware]:
        """Without a login in front, a page elsewhere could reach this machine under a name of its own."""
        return (
            [] if self._has_login else [Middleware(TrustedHostMiddleware, allowed_hosts=list(THIS_MACHINE))]
        )

    @property
    def _has_login(self) -> bool:
        return bool(self._secrets.proxy_secret)

    @property
    def _known(self) -> Literal["authenticated", "asserted"]:
        return "authenticated" if self._has_login else "asserted"

    def _answer(
        self, page: Callable[[Request, str], Awaitable[Response]]
    ) -> Callable[[Request], Awaitable[Response]]:
        """The page for whoever asks; what cannot be done now, in a sentence."""

        async def answered(request: Request) -> Response:
            try:
                name = self._person(request)
                return await page(request, name)
            except UnknownPersonError as error:
                return self._said(request, "Who are you?", error, 403)
            except BadFormError as error:
                return self._said(request, "This was not taken", error, error.status)
            except DecisionError as error:
                return self._said(request, "Nothing was decided", error, 409)
            except (BoardError, DagsterError) as error:
                return self._said(request, "Not now", error, 503)

        return answered

    def _person(self, request: Request) -> str:
        """Who logged in; empty where nobody has to."""
        if not self._has_login:
            return ""
        return authenticated_name(request.headers.getlist, self._secrets.proxy_secret)

    async def _index(self, _: Request, name: str) -> Response:
        board = await run_in_threadpool(self._look)
        may = board.may_decide(name) if self._has_login else board.policy.identity != "authenticated"

        def token(candidate: str, seen: str) -> str:
            return token_of(Shown(name, candidate, seen), self._form_key)

        return self._page("board.html", board=board, name=name, may=may, token=token)

    async def _decide(self, request: Request, name: str) -> Response:
        refuse_other_sites(request.headers.getlist)
        fields = await fields_of(request.stream())
        shown = shown_by(fields.get("token", ""), self._form_key, name)
        decided = decided_in(shown, fields, name or typed_name(fields.get("name", "")))
        run_id, is_mine = await run_in_threadpool(self._launch, decided, shown.seen)
        return RedirectResponse(f"runs/{run_id}" if is_mine else f"runs/{run_id}?earlier=1", 303)

    async def _run(self, request: Request, _: str) -> Response:
        run, stands = await run_in_threadpool(self._told, request.path_params["run_id"])
        return self._page(
            "run.html",
            root="../",
            run=run,
            told=stands,
            link=f"{self._ui}/runs/{run.id}",
            decision=decision_in_words(decided_by(run)),
            is_earlier="earlier" in request.query_params,
        )

    def _launch(self, decided: Decided, seen: str) -> tuple[str, bool]:
        """The run that carries the decision out, and whether it is a new one: none is where one has or will."""
        board = self._look()
        refuse_who_may_not(board, decided.approver, self._known)
        tags = tags_of(decided, board.place, seen)
        job, key = "release" if decided.candidate else "roll_back", self._secrets.approval_key
        with self._one_at_a_time:
            now = datetime.now(UTC)
            earlier = self._dagster.newest(
                job, tags[DECIDES], lambda run: is_genuine(run, board.place, key, now)
            )
            # Looked at after the run was: what it did is seen, unless the lake was restored since.
            board = self._look()
            if (
                earlier
                and earlier.may_take_effect
                and not (earlier.has_ended and is_as_seen(board, decided, seen))
            ):
                return earlier.id, False
            refuse_what_changed(board, decided, seen)
            approval = Approval(board.place, decided, self._known, seen, now)
            config = {**asdict(decided), "approval": sign(approval, key) if key else ""}
            return self._dagster.launch(job, config, tags), True

    def _told(self, run_id: str) -> tuple[Run, Told]:
        run = self._dagster.run(run_id)
        if run is None:
            raise HTTPException(404)
        failed = self._dagster.why_it_failed(run_id) if run.status == "FAILURE" else ""
        return run, told(run, self._look().rows, failed, self._secrets.approval_key, datetime.now(UTC))

    def _said(self, request: Request, headline: str, error: Exception, status: int) -> Response:
        root = "../" if request.url.path.startswith("/runs/") else ""
        return self._page("said.html", status, root=root, headline=headline, text=str(error))

    def _page(self, page: str, status: int = 200, **shown: Any) -> Response:
        html = self._templates.get_template(page).render({"root": "", "has_login": self._has_login, **shown})
        return HTMLResponse(html, status)


def _templates() -> jinja2.Environment:
    return jinja2.Environment(
        loader=jinja2.FileSystemLoader(PAGES),
        autoescape=True,
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        # What people wrote is shown on one line, and cannot turn the text around it.
        finalize=lambda value: visible(value) if type(value) is str else value,
    )


async def _style(_: Request) -> Response:
    return Response((PAGES / "style.css").read_text(), media_type="text/css")


async def _is_alive(_: Request) -> Response:
    return PlainTextResponse("ok")


async def _with_headers(request: Request, proceed: RequestResponseEndpoint) -> Response:
    response = await proceed(request)
    response.headers.update(HEADERS)
    return response


async def _plain_refusal(_: Request, error: Exception) -> Response:
    status = error.status_code if isinstance(error, HTTPException) else 500
    words = {404: "There is no such page here.", 405: "This page only takes what its forms send."}
    return PlainTextResponse(words.get(status, "This cannot be done."), status)
