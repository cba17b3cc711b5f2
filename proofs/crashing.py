"""A step in a process of its own that is killed at the n-th boundary it passes, and one that picks up after it.

A boundary is the moment before or after a call of the lake or a request, and inside the embedded lake the moment before
whatever lasts: a file written, renamed or removed, an object made, a branch moved. The moment after one of these is the
moment before the next. Boundaries are found by counting them in a run that nobody kills; the product knows nothing of
it.
"""

import functools
import json
import multiprocessing
import os
import signal
import socket
import sys
import threading
import time
import urllib.parse
from collections.abc import Callable, Iterator
from contextlib import contextmanager, nullcontext, suppress
from dataclasses import asdict, dataclass, field
from pathlib import Path
from types import FrameType
from typing import Any, Final

import urllib3

from resources.git_lake import GitLake
from resources.lake import Lake
from resources.lakefs_lake import LakeFSLake

VERBS: Final = [name for name, verb in vars(Lake).items() if callable(verb) and not name.startswith("_")]
LASTING: Final = (
    "open", "write", "fsync", "flock", "chmod", "rename", "replace", "unlink", "remove", "mkdir", "rmdir",
    "create_blob", "create_tree", "create_commit", "create_reference", "create_reference_direct", "delete",
    "set_target",
)  # fmt: skip
"""The C functions of Python and of libgit2 that change what is on disk, by name; `open` may make a file."""

TRIES: Final = 3
"""How often the step is executed again at most, as a person or the run retries would."""

CHILD_SECONDS: Final = 120.0

_SYNC: Final = "_sync"
_CONTEXT: Final = multiprocessing.get_context("forkserver")
_CONTEXT.set_forkserver_preload(["proofs.crash_preload", __name__])

Strike = Callable[[], None]


@dataclass
class Boundaries:
    """The boundaries that this process passed, in words; at the `fatal`-th, counted from 1, it strikes."""

    fatal: int
    strike: Strike
    passed: list[str] = field(default_factory=list)
    _lock: threading.Lock = field(default_factory=threading.Lock)

    def passes(self, what: str) -> None:
        """Strike when this is the one."""
        with self._lock:
            self.passed.append(what)
            is_fatal = len(self.passed) == self.fatal
        if is_fatal:
            self.strike()


@dataclass(frozen=True)
class Attempt:
    """One run of a step: `fatal` is the boundary where the kill strikes, 0 for none; `server` whom it strikes."""

    step: str
    lake: Lake
    folder: Path
    fatal: int = 0
    server: int | None = None


def in_child(work: Callable[[Attempt], None], attempt: Attempt, meanwhile: Callable[[], None]) -> int | None:
    """The exit code of `work` in a process of its own; None when it hung. `meanwhile` is called all the time."""
    attempt.folder.mkdir(parents=True, exist_ok=True)
    process = _CONTEXT.Process(target=_quietly, args=(work, attempt))
    process.start()
    deadline = time.monotonic() + CHILD_SECONDS
    while process.exitcode is None and time.monotonic() < deadline:
        process.join(0.05)
        meanwhile()
    if process.exitcode is None:
        process.kill()
        process.join()
        return None
    return process.exitcode


def run_step(attempt: Attempt) -> None:
    """Seed the lake and run the step, striking at its boundary; what it passed goes to `passed.json`."""
    from proofs.crash_states import history
    from proofs.crash_steps import STEPS

    step = STEPS[attempt.step]
    attempt.lake.resolve("main")
    step.seed(attempt.lake)
    _write(attempt.folder / "seeded.json", list(history(attempt.lake)))
    boundaries = Boundaries(attempt.fatal, _strike_of(attempt))
    if attempt.server is None:
        _watch_lake(type(attempt.lake), boundaries)
    if isinstance(attempt.lake, LakeFSLake):
        _watch_requests(boundaries, during=attempt.server is not None)
    said = step.execute(attempt.lake, attempt.folder)
    _write(attempt.folder / "passed.json", {"passed": boundaries.passed, "said": said})


def pick_up(attempt: Attempt) -> None:
    """Look at what a reader sees now, execute the step again until it ends well, look again, sweep, and look again."""
    from proofs.crash_states import other_branches, read_state, sweep_twice
    from proofs.crash_steps import STEPS

    seeded = set(json.loads((attempt.folder / "seeded.json").read_text()))
    found, said = read_state(attempt.lake, seeded), ["it was not executed"]
    while said[-1] and len(said) <= TRIES:
        said.append(STEPS[attempt.step].execute(attempt.lake, attempt.folder))
    end = read_state(attempt.lake, seeded)
    sweep_twice(attempt.lake, attempt.folder / "cache")
    answer = {
        "found": asdict(found),
        "end": asdict(end),
        "swept": asdict(read_state(attempt.lake, seeded)),
        "said": said[-1],
        "tries": len(said) - 1,
        "publications": STEPS[attempt.step].publications,
        "other": other_branches(attempt.lake),
    }
    _write(attempt.folder / "picked_up.json", answer)


def _quietly(work: Callable[[Attempt], None], attempt: Attempt) -> None:
    with (attempt.folder / f"{work.__name__}.log").open("w") as log:
        os.dup2(log.fileno(), 1)
        os.dup2(log.fileno(), 2)
        work(attempt)


def _write(file: Path, answer: Any) -> None:
    file.write_text(json.dumps(answer))


def _strike_of(attempt: Attempt) -> Strike:
    server, lake = attempt.server, attempt.lake
    if server is None or not isinstance(lake, LakeFSLake):
        return functools.partial(os.kill, os.getpid(), signal.SIGKILL)
    return functools.partial(_kill_server, server, lake.endpoint)


def _kill_server(server: int, endpoint: str) -> None:
    """Returns when nobody answers: a signal is only on its way when `kill` returns. Who restarts it may be quicker."""
    os.kill(server, signal.SIGKILL)
    address = urllib.parse.urlsplit(endpoint)
    with suppress(OSError):
        for _ in range(20):
            socket.create_connection((str(address.hostname), address.port or 80), timeout=1).close()
            time.sleep(0.005)


def _watch_lake(lake: type[Any], boundaries: Boundaries) -> None:
    """Every call of the lake, and on the embedded one what lasts inside it."""
    for verb in VERBS:
        if hasattr(lake, verb):
            setattr(lake, verb, _watched(getattr(lake, verb), boundaries, inside=lake is GitLake))


def _watched(verb: Callable[..., Any], boundaries: Boundaries, *, inside: bool) -> Callable[..., Any]:
    @functools.wraps(verb)
    def watched(*given: Any, **named: Any) -> Any:
        boundaries.passes(f"before {verb.__name__}")
        with _profiled(boundaries) if inside else nullcontext():
            answer = verb(*given, **named)
        boundaries.passes(f"after {verb.__name__}")
        return answer

    return watched


@contextmanager
def _profiled(boundaries: Boundaries) -> Iterator[None]:
    """Python tells a profiler of every call of a C function too; nothing is patched."""

    def tell(frame: FrameType, event: str, called: Any) -> None:
        if event == "call" and frame.f_code.co_name == _SYNC:
            boundaries.passes(f"before {_SYNC}")
        elif event == "c_call" and called.__name__ in LASTING and not isinstance(called.__self__, str):
            boundaries.passes(f"before {called.__name__}")

    before = sys.getprofile()
    sys.setprofile(tell)
    try:
        yield
    finally:
        sys.setprofile(before)


def _watch_requests(boundaries: Boundaries, *, during: bool) -> None:
    """Every attempt to send a request; `during` it too, when the kill strikes somebody else."""
    send = urllib3.HTTPConnectionPool.urlopen

    @functools.wraps(send)
    def watched(*given: Any, **named: Any) -> Any:
        boundaries.passes("before request")
        if during:
            _soon(boundaries)
        answer = send(*given, **named)
        boundaries.passes("after request")
        return answer

    setattr(urllib3.HTTPConnectionPool, "urlopen", watched)  # noqa: B010  (mypy refuses to assign to a method)


def _soon(boundaries: Boundaries) -> None:
    """A moment later, from 0 to 6 ms: while the server works on it."""
    delay_seconds = len(boundaries.passed) % 7 / 1000
    threading.Timer(delay_seconds, boundaries.passes, ["during request"]).start()
