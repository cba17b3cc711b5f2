"""What a person does and sees in Dagster's UI, over the same GraphQL interface: launch, watch, read why."""

import re
import ssl
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from functools import cache
from typing import Any, Final

import httpx

REPOSITORY: Final = "__repository__"
UNFINISHED: Final = ("QUEUED", "NOT_STARTED", "STARTING", "STARTED", "CANCELING")

_RUNS = """query($filter: RunsFilter!, $limit: Int!) { runsOrError(filter: $filter, limit: $limit) { __typename
  ... on PythonError { message }
  ... on Runs { results { runId jobName status tags { key value } } } } }"""
_STEPS = """query($filter: RunsFilter!) { runsOrError(filter: $filter) { __typename
  ... on PythonError { message } ... on Runs { results { runId stepStats { stepKey status } } } } }"""
_LAUNCH = """mutation($params: ExecutionParams!) { launchRun(executionParams: $params) { __typename
  ... on LaunchRunSuccess { run { runId } } ... on PythonError { message }
  ... on RunConfigValidationInvalid { errors { message } } ... on Error { message } } }"""
_ADD_PARTITION = """mutation($key: String!, $name: String!, $repository: RepositorySelector!) {
  addDynamicPartition(partitionKey: $key, partitionsDefName: $name, repositorySelector: $repository) { __typename
  ... on PythonError { message } ... on UnauthorizedError { message } } }"""
_EVENTS = """query($run: ID!) { logsForRun(runId: $run) { ... on EventConnection { events { __typename
  ... on ExecutionStepFailureEvent { stepKey error { ...E } }
  ... on RunFailureEvent { message error { ...E } } } } } }
  fragment E on PythonError { message causes { message } errorChain { error { message } } }"""
_TICK = """query($sensor: SensorSelector!) { sensorOrError(sensorSelector: $sensor) { __typename
  ... on Sensor { sensorState { ticks(limit: 1) { status skipReason error { message } } } } } }"""


class DagsterError(RuntimeError):
    """Dagster refused a request; the message is its own."""


@dataclass(frozen=True)
class Run:
    """One run as the UI lists it. `steps` maps a step to its status while the run is under way."""

    id: str
    job: str
    status: str
    partition: str
    steps: Mapping[str, str]

    @property
    def finished(self) -> bool:
        """It will not change any more."""
        return self.status not in UNFINISHED

    @property
    def current_step(self) -> str:
        """The step that runs now, or an empty string."""
        return next((step for step, status in self.steps.items() if status == "IN_PROGRESS"), "")


@dataclass(frozen=True)
class Dagster:
    """The Dagster at `url`, and the code location in it that the requests are about: a project, and named as it is."""

    url: str
    location: str

    def runs(self) -> list[Run]:
        """All runs of the code location, newest first."""
        # Steps first: a run that ends in between shows as ended. For all runs they would be read from as many files.
        mine = {"tags": [{"key": ".dagster/repository", "value": f"{REPOSITORY}@{self.location}"}]}
        under_way = self._results(_STEPS, filter={**mine, "statuses": list(UNFINISHED)})
        steps = {record["runId"]: record["stepStats"] for record in under_way}
        return [
            _run(record, steps.get(record["runId"], ()))
            for record in self._results(_RUNS, filter=mine, limit=500)
        ]

    def run_url(self, run_id: str) -> str:
        """Where a person looks at the run."""
        return f"{self.url}/runs/{run_id}"

    def add_partition(self, name: str, key: str) -> None:
        """Add `key` to the project's dynamic partitions called `name`. Raises DagsterError when it is there already."""
        full = f"{self.location}_{name}"
        reply = self._ask(_ADD_PARTITION, key=key, name=full, repository=self._repository())[
            "addDynamicPartition"
        ]
        if reply["__typename"] != "AddDynamicPartitionSuccess":
            raise DagsterError(f"{key} is not added to {name}: {reply.get('message', reply['__typename'])}")

    def launch(self, job: str, config: Mapping[str, Any], partition: str = "") -> str:
        """Start a run of `job` and return its id; `config` is the configuration by op. Raises DagsterError."""
        tags = [{"key": "dagster/partition", "value": partition}] if partition else []
        params = {
            "selector": {**self._repository(), "jobName": job},
            "runConfigData": {"ops": {op: {"config": dict(values)} for op, values in config.items()}},
            "executionMetadata": {"tags": tags},
        }
        reply = self._ask(_LAUNCH, params=params)["launchRun"]
        if reply["__typename"] != "LaunchRunSuccess":
            told = [error["message"] for error in reply.get("errors", [])] or [reply.get("message", "")]
            raise DagsterError(f"{job} is not launched ({reply['__typename']}): {'; '.join(told)}")
        return str(reply["run"]["runId"])

    def failure(self, run_id: str) -> str:
        """Why the run failed, step by step, in the words of its errors."""
        events = self._ask(_EVENTS, run=run_id)["logsForRun"].get("events", [])
        steps = [f"{one['stepKey']}: {_words(one['error'])}" for one in events if one.get("stepKey")]
        whole = [_words(one["error"]) or one.get("message", "") for one in events if "message" in one]
        return "\n".join(steps or whole) or "no error is on record"

    def last_look(self, sensor: str) -> str:
        """What the sensor's last tick said: its reason to skip, its error, or that it requested runs."""
        selector = {**self._repository(), "sensorName": sensor}
        reply = self._ask(_TICK, sensor=selector)["sensorOrError"]
        ticks = (reply.get("sensorState") or {}).get("ticks", [])
        if not ticks:
            return "it has not looked yet" if reply["__typename"] == "Sensor" else "there is no such sensor"
        tick = ticks[0]
        error = (tick["error"] or {}).get("message", "")
        return str(error.strip() or tick["skipReason"] or tick["status"].lower())

    def _results(self, query: str, **variables: Any) -> list[dict[str, Any]]:
        reply = self._ask(query, **variables)["runsOrError"]
        if "results" not in reply:
            raise DagsterError(reply["message"])
        return list(reply["results"])

    def _repository(self) -> dict[str, str]:
        return {"repositoryName": REPOSITORY, "repositoryLocationName": self.location}

    def _ask(self, query: str, **variables: Any) -> dict[str, Any]:
        question = {"query": query, "variables": variables}
        reply = httpx.post(f"{self.url}/graphql", json=question, timeout=60, verify=_certificates())
        answer: dict[str, Any] = reply.raise_for_status().json()
        if errors := answer.get("errors"):
            raise DagsterError("; ".join(error["message"] for error in errors))
        data: dict[str, Any] = answer["data"]
        return data


@cache
def _certificates() -> ssl.SSLContext:
    # To read them for each question takes longer than the question.
    return ssl.create_default_context()


def _run(record: Mapping[str, Any], steps: Iterable[Mapping[str, Any]]) -> Run:
    tags = {tag["key"]: tag["value"] for tag in record["tags"]}
    under_way = record["status"] in UNFINISHED
    return Run(
        id=record["runId"],
        job=record["jobName"],
        status=record["status"],
        partition=tags.get("dagster/partition", ""),
        steps={step["stepKey"]: step["status"] or "" for step in steps} if under_way else {},
    )


def _words(error: Mapping[str, Any] | None) -> str:
    """The innermost message: the outer ones only say that a step failed."""
    if error is None:
        return ""
    inner = [cause["message"] for cause in error.get("causes") or []]
    return re.sub(r"^dagster\.\S*Failure: ", "", str(inner[-1] if inner else error["message"]).strip())
