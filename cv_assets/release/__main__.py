"""The door of approvals: python -m cv_assets.release [--host 127.0.0.1] [--port 3070].

Behind a proxy that authenticates (CV_PROXY_SECRET, CV_APPROVAL_KEY) decisions carry the name of who logged in. Without,
it is for one machine: whoever opens the page types a name.
"""

import argparse
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from threading import Lock
from typing import Final

import httpx
import uvicorn

from cv_assets.evaluation.schema import EvaluationReport, ReleaseDecision
from cv_assets.release.assets import as_judged
from cv_assets.release.board import Board, Opened, board
from cv_assets.release.door import THIS_MACHINE, BoardError, Door, Secrets
from cv_assets.release.history import with_today_s_columns
from cv_assets.release.launching import Dagster
from cv_assets.release.schema import Releases
from cv_assets.spec.load import digest, from_table
from resources.deployments import Deployment, current, existing_lake, lake_errors_in_words
from resources.lake import LakeError
from resources.tables import Snapshot, Tables

_SECONDS: Final = 60.0
"""How long the door waits for Dagster."""


def main(given: Sequence[str], deployment: Deployment) -> int:
    """Serve the door until it is stopped; 1 with a sentence when it cannot be opened."""
    arguments = _parser().parse_args(given)
    try:
        _refuse_strangers(arguments.host, deployment)
        app = door(deployment).app
    except ValueError as error:
        print(error, file=sys.stderr)
        return 1
    uvicorn.run(app, host=arguments.host, port=arguments.port, proxy_headers=False, server_header=False)
    return 0


def door(deployment: Deployment) -> Door:
    """The door of a deployment. Raises ValueError for secrets that do not belong together."""
    dagster = Dagster(deployment.graphql_url, deployment.project, httpx.Client(timeout=_SECONDS))
    known = Secrets(deployment.approval_key, deployment.proxy_secret)
    return Door(Lake(deployment).board, dagster, known, deployment.dagster_url)


class Lake:
    """The lake as the door reads it, one reader at a time: a page is made in a thread of its own."""

    def __init__(self, deployment: Deployment) -> None:
        """The lake is opened when it is first asked: the door opens also while it cannot be reached."""
        self._deployment, self._lock = deployment, Lock()
        self._tables: Tables | None = None

    def board(self) -> Board:
        """The board as of now. Raises BoardError."""
        with self._lock, _in_words():
            if self._tables is None:
                self._tables = Tables(self._deployment, existing_lake(self._deployment))
            return _board(self._tables, self._deployment.branch)


@contextmanager
def _in_words() -> Iterator[None]:
    try:
        with lake_errors_in_words():
            yield
    except (LakeError, LookupError, OSError, ValueError) as error:
        raise BoardError(f"The lake cannot be read now: {error.args[0] if error.args else error}") from error


def _board(tables: Tables, branch: str) -> Board:
    head = tables.head()
    spec = from_table(head.table("project_spec"))
    history = with_today_s_columns(head.table("releases", or_empty=Releases))
    concluded = set(history["candidate"])
    opened = [
        _opened(tables, head, key) for key in head.partitions("training_request") if key not in concluded
    ]
    return board(spec, digest(spec), branch, history, opened)


def _opened(tables: Tables, head: Snapshot, key: str) -> Opened:
    request = head.table("training_request", key).row(0, named=True)
    if (judged := as_judged(tables, key)) is None:
        return Opened(request, ReleaseDecision.create_empty(), EvaluationReport.create_empty())
    report = judged.table("evaluation_report", key, or_empty=EvaluationReport)
    return Opened(request, judged.table("release_decision", key), report, judged.commit)


def _refuse_strangers(host: str, deployment: Deployment) -> None:
    if deployment.proxy_secret or host in THIS_MACHINE:
        return
    raise ValueError(
        "Without CV_PROXY_SECRET anyone could decide under any name: leave --host out, or put a login in front and "
        "set CV_PROXY_SECRET."
    )


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m cv_assets.release", description=__doc__)
    parser.add_argument("--host", default="127.0.0.1", help="the address it listens on")
    parser.add_argument("--port", type=int, default=3070)
    return parser


if __name__ == "__main__":
    try:
        deployment = current()
    except ValueError as mistake:
        sys.exit(str(mistake))
    sys.exit(main(sys.argv[1:], deployment))
