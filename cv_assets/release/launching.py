"""Runs of the jobs `release` and `roll_back`, launched and looked at through Dagster's GraphQL.

What people need is on the run itself: its tags say what it decides on, so that the same decision is launched once.
"""

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Final

import httpx

DECIDES: Final = "decides"
"""The tag of a run that the door launched: place, candidate or rollback, and what was seen."""

JOBS: Final = ("release", "roll_back")
"""The jobs that carry decisions out."""

_PROJECT: Final = "project"
"""The tag of every run of a project's jobs; Dagster's own tag for it is shown to nobody."""

_PYTHON_S_NAME: Final = re.compile(r"^[\w.]*\b(Failure|[A-Z]\w*(Error|Exception)): ")

_WITHOUT_EFFECT: Final = frozenset(("FAILURE", "CANCELED"))

LOCATIONS: Final = """
query Locations { repositoriesOrError { __typename
  ... on RepositoryConnection { nodes { name location { name } } }
  ... on Error { message } } }
"""
LAUNCH: Final = """
mutation Launch($run: ExecutionParams!) { launchRun(executionParams: $run) { __typename
  ... on LaunchRunSuccess { run { runId } }
  ... on RunConfigValidationInvalid { errors { message } }
  ... on Error { message } } }
"""
NEWEST: Final = """
query Newest($filter: RunsFilter!) { runsOrError(filter: $filter, limit: 20) { __typename
  ... on Runs { results { runId jobName status runConfig tags { key value } } }
  ... on Error { message } } }
"""
RUN: Final = """
query Run($id: ID!) { runOrError(runId: $id) { __typename
  ... on Run { runId jobName status runConfig tags { key value } }
  ... on Error { message } } }
"""
FAILURES: Final = """
query Failures($id: ID!) { logsForRun(runId: $id) { __typename
  ... on EventConnection { events { __typename
    ... on ExecutionStepFailureEvent { error { message cause { message } } }
    ... on RunFailureEvent { message error { message } } } }
  ... on Error { message } } }
"""


class DagsterError(RuntimeError):
    """Dagster did not do what it was asked; the message says what to do."""


@dataclass(frozen=True)
class Run:
    """A run as Dagster knows it; `status` is Dagster's word, `config` what it gives to `releases`."""

    id: str
    job: str
    status: str
    tags: Mapping[str, str]
    config: Mapping[str, Any]

    @property
    def may_take_effect(self) -> bool:
        """Whether it did, does or will do what it was launched for."""
        return self.status not in _WITHOUT_EFFECT

    @property
    def has_ended(self) -> bool:
        """Whether nothing changes any more."""
        return self.status in _WITHOUT_EFFECT or self.status == "SUCCESS"


class Dagster:
    """One project's jobs in the Dagster at `url`."""

    def __init__(self, url: str, project: str, client: httpx.Client) -> None:
        """`client` holds the time limit; `url` is that of GraphQL."""
        self._url, self._project, self._client = url, project, client

    def launch(self, job: str, config: Mapping[str, Any], tags: Mapping[str, str]) -> str:
        """The id of a new run of `job` with the config of `releases`. Raises DagsterError when none was launched."""
        run = {
            "selector": {
                "repositoryLocationName": self._project,
                "repositoryName": self._repository(),
                "jobName": job,
            },
            "runConfigData": {"ops": {"releases": {"config": dict(config)}}},
            "executionMetadata": {"tags": [{"key": key, "value": value} for key, value in tags.items()]},
        }
        answer = self._ask(LAUNCH, {"run": run}, "launchRun", expected="LaunchRunSuccess")
        return str(answer["run"]["runId"])

    def newest(self, job: str, decides: str, is_genuine: Callable[[Run], bool]) -> Run | None:
        """The newest of the project's runs of `job` that decides on this, but those that only say so.

        Raises DagsterError.
        """
        tags = {DECIDES: decides, _PROJECT: self._project}
        wanted = {"pipelineName": job, "tags": [{"key": key, "value": value} for key, value in tags.items()]}
        answer = self._ask(NEWEST, {"filter": wanted}, "runsOrError", expected="Runs")
        return next(filter(is_genuine, map(_run, answer["results"])), None)

    def run(self, run_id: str) -> Run | None:
        """That run, if it decides on something in this project. Raises DagsterError."""
        answer = self._ask(RUN, {"id": run_id}, "runOrError", expected="Run", or_else="RunNotFoundError")
        if answer["__typename"] == "RunNotFoundError":
            return None
        run = _run(answer)
        decides = run.job in JOBS and DECIDES in run.tags and run.tags.get(_PROJECT) == self._project
        return run if decides else None

    def why_it_failed(self, run_id: str) -> str:
        """What a failed run said, in its own words; empty when it said nothing. Raises DagsterError."""
        answer = self._ask(FAILURES, {"id": run_id}, "logsForRun", expected="EventConnection")
        said = [_said(event) for event in answer["events"]]
        return next(filter(None, said), "")

    def _repository(self) -> str:
        answer = self._ask(LOCATIONS, {}, "repositoriesOrError", expected="RepositoryConnection")
        found = {node["location"]["name"]: node["name"] for node in answer["nodes"]}
        if self._project not in found:
            raise DagsterError(
                f"Dagster has no code location {self._project}, only {', '.join(sorted(found)) or 'none'}: look at its "
                "deployment page, and at CV_SPEC of this door."
            )
        return str(found[self._project])

    def _ask(
        self, query: str, variables: Mapping[str, Any], field: str, *, expected: str, or_else: str = ""
    ) -> dict[str, Any]:
        answer = self._post({"query": query, "variables": variables})
        if errors := answer.get("errors"):
            raise DagsterError(f"Dagster refused a question of the door: {errors[0]['message']}")
        found: dict[str, Any] = answer["data"][field]
        if found["__typename"] not in (expected, or_else):
            said = found.get("message") or "; ".join(one["message"] for one in found.get("errors", ()))
            raise DagsterError(f"Dagster did not do it ({found['__typename']}): {in_one_sentence(said)}")
        return found

    def _post(self, question: Mapping[str, Any]) -> dict[str, Any]:
        try:
            reply = self._client.post(self._url, json=question)
            reply.raise_for_status()
            answer = reply.json()
        except httpx.TimeoutException:
            raise DagsterError(
                "Dagster did not answer in time, and may have begun what it was asked: decide again in a moment: "
                "nothing takes effect twice."
            ) from None
        except (httpx.HTTPError, ValueError) as error:
            raise DagsterError(
                f"Dagster cannot be reached now ({type(error).__name__}), and nothing was concluded: see whether its "
                "webserver runs, and CV_GRAPHQL_URL of this door."
            ) from None
        if not isinstance(answer, dict):
            raise DagsterError(
                "What answers is no Dagster: set CV_GRAPHQL_URL to its address, which ends in /graphql."
            )
        return answer


def in_one_sentence(words: str) -> str:
    """The first line of an error, without Python's name for it."""
    lines = [line.strip() for line in words.splitlines() if line.strip()]
    return _PYTHON_S_NAME.sub("", lines[0]) if lines else ""


def _run(answer: Mapping[str, Any]) -> Run:
    tags = {tag["key"]: tag["value"] for tag in answer["tags"]}
    config = (answer["runConfig"] or {}).get("ops", {}).get("releases", {}).get("config", {})
    return Run(answer["runId"], answer["jobName"], answer["status"], tags, config)


def _said(event: Mapping[str, Any]) -> str:
    error = event.get("error")
    if error:
        return in_one_sentence((error.get("cause") or error)["message"])
    return in_one_sentence(event.get("message") or "")
