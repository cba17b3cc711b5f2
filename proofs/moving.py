"""A move to lakeFS that is killed again and again, at any moment, ends with the same lake there."""

import os
import random
import signal
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping
from dataclasses import replace
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, Final

from cv_assets.upkeep.moving import history, standing
from demo import lakes
from proofs.lakes import missing
from proofs.proof import Proof
from resources.deployments import EMBEDDED_LAKE, ROOT
from resources.git_lake import GitLake
from resources.lakefs_connection import connect, exists
from resources.lakefs_lake import LakeFSLake

ASKED: Final = (
    "A move to lakeFS that is killed at any moment goes on where it was, and every commit arrives as it was."
)
_COMMAND: Final = (sys.executable, "-m", "cv_assets.upkeep", "move")
_FRAME_BYTES: Final = 20_000
# Until the first commit is sent; a kill before that shows nothing.
_START_SECONDS: Final = 60.0


def prove(publications: int = 150, frames: int = 6, kills: int = 15) -> Proof:
    """Kills the command with SIGKILL, each time when some more commits have arrived, and begins it again."""
    if why := missing(lakes.LAKEFS):
        return Proof(ASKED, None, why, {})
    with (
        TemporaryDirectory(prefix="proof-moving-") as name,
        lakes.lake(lakes.LAKEFS, Path(name) / "server") as found,
    ):
        data = Path(name) / "data"
        source = GitLake(data / EMBEDDED_LAKE)
        _live_on(source, publications, frames)
        target = _opened(found, Path(name) / "cache")
        variables = {**os.environ, **found, "CV_DATA": str(data)}
        killed_at = list(_killed(variables, target, kills, len(history(source, standing(source).heads()))))
        start = time.monotonic()
        subprocess.run(_COMMAND, cwd=ROOT, env=variables, check=True, capture_output=True)
        figures = {"killed_at_commits": killed_at, "last_move_seconds": round(time.monotonic() - start, 1)}
        wrong = list(differences(source, target))
        commits = len(target.moved())
    why = f"{commits} commits arrived as they were after {len(killed_at)} kills." if not wrong else wrong[0]
    return Proof(ASKED, not wrong and bool(killed_at), why, figures)


def differences(source: GitLake, target: LakeFSLake) -> Iterator[str]:
    """What is otherwise in the moved lake: refs, and each commit's words, parents and changed objects."""
    ids, refs, moved = target.moved(), standing(source), standing(target)
    if moved.tags != refs.mapped(ids).tags:
        yield "the tags stand elsewhere"
    # `main` has the hook of `lake init` on top.
    elsewhere = moved.branches.items() ^ refs.mapped(ids).branches.items()
    if {name for name, _ in elsewhere} - {"main"} or next(target.log("main")).parents[0] != ids[
        refs.branches["main"]
    ]:
        yield "the branches stand elsewhere"
    for old in history(source, refs.heads()):
        if next(target.log(old.id)) != replace(
            old, id=ids[old.id], parents=tuple(map(ids.__getitem__, old.parents))
        ):
            yield f"{old.id} says something else"
        changes = source.diff(old.parents[0], old.id) if old.parents else []
        if old.parents and target.diff(old.parents[0], old.id) != changes:
            yield f"{old.id} changes other paths"
        for change in changes:
            if source.sha256(old.id, change.path) != target.sha256(old.id, change.path):
                yield f"{old.id} holds other bytes at {change.path}"


def _live_on(lake: GitLake, publications: int, frames: int) -> None:
    """As steps publish: each on a branch of its own, every second one cut before the one that goes before it."""
    chosen = random.Random(publications)  # noqa: S311  nothing is kept secret by it
    pins = [lake.resolve("main")]
    for number in range(publications):
        lake.create_branch("work-run", pins[-1 - number % 2 if number else -1])
        files = {f"frames/{number}/{frame}.png": chosen.randbytes(_FRAME_BYTES) for frame in range(frames)}
        said = {"asset": "frames", "partition": str(number), "input_commit": pins[-1]}
        audited = lake.commit("work-run", files, f"delivery {number}", said)
        pins.append(lake.merge(audited, "main", f"delivery {number}", said))
        lake.delete_branch("work-run")
        if number % 10 == 0:
            lake.tag(f"v1.{number}.0", pins[-1])
            lake.create_branch(f"candidate-{number}", pins[-1])


def _killed(variables: Mapping[str, str], target: LakeFSLake, kills: int, commits: int) -> Iterator[int]:
    """How many commits had arrived at each kill."""
    chosen = random.Random(kills)  # noqa: S311  nothing is kept secret by it
    for kill in range(kills):
        log = subprocess.DEVNULL
        with subprocess.Popen(_COMMAND, cwd=ROOT, env=variables, stdout=log, stderr=log) as process:
            _wait_for(process, target, chosen.randint(1, max(1, commits * (kill + 1) // (kills + 1))))
            time.sleep(chosen.uniform(0, 0.1))
            process.send_signal(signal.SIGKILL)
        if process.returncode != -signal.SIGKILL:
            return
        yield _arrived(target)


def _wait_for(process: "subprocess.Popen[bytes]", target: LakeFSLake, commits: int) -> None:
    deadline = time.monotonic() + _START_SECONDS
    before = _arrived(target)
    while process.poll() is None and time.monotonic() < deadline:
        arrived = _arrived(target)
        if arrived > before and arrived >= commits:
            return
        time.sleep(0.02)


def _arrived(target: LakeFSLake) -> int:
    # Asked through a lake, the repository would be made by the one who asks, with a `main`.
    return len(target.moved()) if _is_made(target) else 0


def _is_made(target: LakeFSLake) -> bool:
    return exists(connect(target.connection), target.connection)


def _opened(found: Mapping[str, Any], cache: Path) -> LakeFSLake:
    return LakeFSLake(
        endpoint=found["LAKEFS_ENDPOINT"],
        access_key_id=found["LAKECTL_CREDENTIALS_ACCESS_KEY_ID"],
        secret_access_key=found["LAKECTL_CREDENTIALS_SECRET_ACCESS_KEY"],
        repository=found["LAKEFS_REPOSITORY"],
        cache=cache,
        storage_namespace=found["LAKEFS_STORAGE_NAMESPACE"],
    )
