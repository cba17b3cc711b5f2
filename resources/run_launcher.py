"""Who works on a run: a process of the code server that launched it.

Dagster's own launcher cannot say whether that process still lives: after its code server was killed, a run would stay
"started" for ever, and hold its place in the queue. And it fails the runs that come while a code server finishes its
last ones. Used by infra/team/dagster.yaml; can go once Dagster's DefaultRunLauncher does both.
"""

import json
from typing import Final

import dagster as dg
from dagster._core.errors import DagsterLaunchFailedError, DagsterUserCodeUnreachableError
from dagster._core.launcher.base import CheckRunHealthResult, LaunchRunContext, WorkerStatus
from dagster._core.storage.tags import GRPC_INFO_TAG
from dagster._grpc.client import DagsterGrpcClient

_REFUSAL: Final = "after telling it to shut down"
"""Of a code server that was asked to stop and finishes its runs, in Dagster's words."""


class CodeServerRunLauncher(dg.DefaultRunLauncher):
    """Launches runs in their code server, and lets Dagster's run monitoring end those that it no longer knows."""

    def launch_run(self, context: LaunchRunContext) -> None:
        """Launch the run. Raises DagsterUserCodeUnreachableError, on which the queue keeps the run."""
        try:
            super().launch_run(context)
        except DagsterLaunchFailedError as error:
            if _REFUSAL in str(error):
                raise DagsterUserCodeUnreachableError("The code server is being replaced.") from error
            raise

    @property
    def supports_check_run_worker_health(self) -> bool:
        """Run monitoring asks `check_run_worker_health`."""
        return True

    def check_run_worker_health(self, run: dg.DagsterRun) -> CheckRunHealthResult:
        """Whether the run's code server works on it. One that does not answer is believed to: it may be restarting."""
        if GRPC_INFO_TAG not in run.tags:
            return CheckRunHealthResult(WorkerStatus.UNKNOWN, "the run names no code server")
        try:
            runs = _runs_of(run.tags[GRPC_INFO_TAG])
        except DagsterUserCodeUnreachableError as error:
            return CheckRunHealthResult(WorkerStatus.RUNNING, f"its code server does not answer: {error}")
        if run.run_id in runs:
            return CheckRunHealthResult(WorkerStatus.RUNNING)
        return CheckRunHealthResult(
            WorkerStatus.NOT_FOUND, "its code server was restarted and does not know it"
        )


def _runs_of(server: str) -> list[str]:
    place = json.loads(server)
    client = DagsterGrpcClient(
        place.get("port"), place.get("socket"), place["host"], use_ssl=place.get("use_ssl", False)
    )
    return list(json.loads(client.get_current_runs())["current_runs"])
