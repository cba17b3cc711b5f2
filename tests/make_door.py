"""A door of approvals over a board of this size, and a stand-in for Dagster that remembers what it was asked to run."""

import asyncio
import html
import json
import re
from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any

import httpx
import polars as pl
from make_releases import release_row

from cv_assets.evaluation.schema import EvaluationReport, ReleaseDecision
from cv_assets.release.board import Board, Opened, board
from cv_assets.release.door import Door, Secrets
from cv_assets.release.launching import Dagster
from cv_assets.release.schema import Releases
from cv_assets.spec.evaluation import Release
from cv_assets.spec.schema import Spec

NOON = datetime(2026, 3, 2, 12, tzinfo=UTC)
APPROVERS = ("ada@plant.example", "bob@plant.example")
KEY, SHARED = "a key that nobody guesses, for tests", "what the proxy and the door share"


def criterion(number: int = 1, **changed: Any) -> dict[str, Any]:
    """A row of a release decision that is met; `changed` replaces columns."""
    return {
        "number": number, "kind": "acceptance", "candidate": "c3", "criterion": "golden escape rate at most 0.3",
        "metric": "escape_rate", "set": "golden", "slice": "all", "required": 0.3, "comparison": "at_most",
        "judge": "estimate", "measured": 0.1, "low": 0.0, "high": 0.2, "samples": 40, "passed": True,
        "why": "0.1 of 40", "model": "cnn", "lower": 0.2, "upper": 0.8, "released_version": "v1.1.0", **changed,
    }  # fmt: skip


def opened(candidate: str = "c3", *criteria: Mapping[str, Any], report: Any = (), **asked: Any) -> Opened:
    """An open candidate, judged when it has criteria; `asked` replaces columns of its request."""
    request = {
        "candidate": candidate, "reason": "person", "evidence": "wanted", "requested_by": "eve", "spec_digest": "s",
        "requested_at": NOON, "released_version": "v1.1.0", **asked,
    }  # fmt: skip
    tables = (
        pl.DataFrame(list(rows), schema=schema.create_empty().schema)
        for rows, schema in ((criteria, ReleaseDecision), (report, EvaluationReport))
    )
    return Opened(request, *tables, judged_at=f"judged-{candidate}" if criteria else "")


HISTORY = pl.DataFrame(
    [
        release_row(1, "v1.0.0", "c1", approver_known=None),
        release_row(2, "v1.1.0", "c2", approver="ada@plant.example", approver_known="authenticated"),
    ],
    schema=Releases.create_empty().schema,
)


def board_of(spec: Spec, *candidates: Opened, history: pl.DataFrame = HISTORY, **policy: Any) -> Board:
    """The board of `spec` with two releases and these candidates; `policy` replaces settings of `release`."""
    release = Release(**{"approval": "person", "approvers": APPROVERS, **policy})
    return board(spec.model_copy(update={"release": release}), "s", "main", history, candidates)


class StandIn:
    """Dagster, as far as the door knows it: it keeps runs and says what a test makes of them."""

    def __init__(self) -> None:
        """No run yet."""
        self.runs: list[dict[str, Any]] = []
        self.launched: list[dict[str, Any]] = []
        self.failed = ""
        self.is_down = False

    def __call__(self, request: httpx.Request) -> httpx.Response:
        """Answer one question of GraphQL."""
        if self.is_down:
            raise httpx.ConnectError("refused")
        question = json.loads(request.content)
        name = re.search(r"(?:query|mutation) (\w+)", question["query"])[1]
        return httpx.Response(200, json={"data": getattr(self, f"_{name.lower()}")(**question["variables"])})

    def end(self, status: str) -> None:
        """Let the newest run end."""
        self.runs[-1]["status"] = status

    def add(
        self,
        run_id: str,
        status: str,
        job: str,
        tags: list[dict[str, str]],
        config: Any = None,
        project: str = "solar_cells",
    ) -> None:
        """A run, whoever launched it."""
        mine = {"key": "project", "value": project}
        self.runs.append(
            {
                "__typename": "Run",
                "runId": run_id,
                "jobName": job,
                "status": status,
                "runConfig": config or {},
                "tags": [*tags, mine],
            }
        )

    def _locations(self) -> dict[str, Any]:
        node = {"name": "__repository__", "location": {"name": "solar_cells"}}
        return {"repositoriesOrError": {"__typename": "RepositoryConnection", "nodes": [node]}}

    def _launch(self, run: dict[str, Any]) -> dict[str, Any]:
        self.launched.append(run)
        run_id = f"run-{len(self.runs) + 1}"
        self.add(
            run_id,
            "QUEUED",
            run["selector"]["jobName"],
            run["executionMetadata"]["tags"],
            run["runConfigData"],
        )
        return {"launchRun": {"__typename": "LaunchRunSuccess", "run": {"runId": run_id}}}

    def _newest(self, filter: dict[str, Any]) -> dict[str, Any]:
        found = [
            run
            for run in reversed(self.runs)
            if run["jobName"] == filter["pipelineName"] and all(tag in run["tags"] for tag in filter["tags"])
        ]
        return {"runsOrError": {"__typename": "Runs", "results": found[:20]}}

    def _run(self, id: str) -> dict[str, Any]:
        missing = {"__typename": "RunNotFoundError", "message": "none"}
        return {"runOrError": next((run for run in self.runs if run["runId"] == id), missing)}

    def _failures(self, id: str) -> dict[str, Any]:
        error = {"message": f"dagster._core.definitions.events.Failure: {self.failed}\n", "cause": None}
        events = [
            {"__typename": "RunStartEvent"},
            {"__typename": "ExecutionStepFailureEvent", "error": error},
        ]
        return {"logsForRun": {"__typename": "EventConnection", "events": events}}


class AtTheDoor:
    """A browser at a door whose board a test may change."""

    def __init__(self, board: Board, *, name: str = "", key: str = KEY) -> None:
        """With a `name`, the proxy says that this person logged in; else no login is in front."""
        self.board, self.dagster = board, StandIn()
        client = httpx.Client(transport=httpx.MockTransport(self.dagster))
        known = Secrets(key, SHARED if name else "")
        dagster = Dagster("http://dagster/graphql", "solar_cells", client)
        self.app = Door(self.look, dagster, known, "http://ui").app
        self.login = {"X-Proxy-Secret": SHARED, "X-Auth-Request-Email": name} if name else {}

    def look(self) -> Board:
        """The board; an exception in its place is raised."""
        if isinstance(self.board, Exception):
            raise self.board
        return self.board

    def ask(self, method: str, path: str, **sent: Any) -> httpx.Response:
        """One request, as a browser on a page of the door sends it."""
        headers = {"Sec-Fetch-Site": "same-origin", **self.login, **sent.pop("headers", {})}

        async def asked() -> httpx.Response:
            transport = httpx.ASGITransport(self.app)
            async with httpx.AsyncClient(transport=transport, base_url="http://127.0.0.1:3070") as browser:
                return await browser.request(method, path, headers=headers, **sent)

        return asyncio.run(asked())

    def open(self, path: str = "/") -> str:
        """The page that a person sees."""
        return self.ask("GET", path).text

    def token(self, about: str) -> str:
        """The token of the form of a candidate, or of `Roll back`."""
        part = re.split(r"<(?=section|h2)", self.open())
        (form,) = [
            one for one in part if f'id="{about}"' in one or (about == "Roll back" and "back_to" in one)
        ]
        return html.unescape(re.search(r'name="token" value="([^"]+)"', form)[1])

    def decide(self, about: str, choice: str, **fields: Any) -> httpx.Response:
        """Send the form of a candidate, or of `Roll back`."""
        sent = {key: fields.pop(key) for key in ("headers",) if key in fields}
        data = {"token": fields.pop("token", None) or self.token(about), "choice": choice, **fields}
        return self.ask("POST", "/decide", data=data, **sent)
