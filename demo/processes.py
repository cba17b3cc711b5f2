"""Processes that never outlive the demo: each in a group of its own, on record, and ended with everything below it."""

import contextlib
import json
import os
import signal
import subprocess
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from types import FrameType
from typing import Final

MARK: Final = "DAGSTER_HOME"
"""The variable by whose value a process is known as ours; whatever our processes start inherits it."""

GRACE_SECONDS: Final = 8.0

ENDINGS: Final = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
"""The signals that ask a program to end: Ctrl-C, `kill`, a terminal that closed."""


@dataclass
class Processes:
    """The processes of one demo, all started with the same `home` in their environment.

    `record` is a file that names them, for the sweep of a next start after this one was killed.
    """

    home: Path
    record: Path
    started: list[subprocess.Popen[bytes]] = field(default_factory=list)

    def start(self, command: Sequence[str], *, log: Path, cwd: Path, environment: Mapping[str, str]) -> None:
        """Start `command` as the leader of a new session; its output goes to `log`."""
        # An interrupt waits until the new process is on record.
        with log.open("ab") as output, _blocked():
            process = subprocess.Popen(
                command,
                cwd=cwd,
                env={**environment, MARK: str(self.home)},
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=subprocess.STDOUT,
                start_new_session=True,
                preexec_fn=_heed_interrupts,
            )
            self.started.append(process)
            self.record.write_text(json.dumps([one.pid for one in self.started]))

    def ended(self) -> list[subprocess.Popen[bytes]]:
        """Those that ended although nobody asked them to."""
        return [process for process in self.started if process.poll() is not None]

    def stop(self) -> None:
        """End every process and what it started: asked first, forced after a while."""
        for process in self.started:
            _signal_group(process.pid, signal.SIGINT)
        groups = {process.pid for process in self.started}
        deadline = time.monotonic() + GRACE_SECONDS
        while time.monotonic() < deadline and any(group in groups for _, group in _running()):
            time.sleep(0.05)
        for process in self.started:
            _signal_group(process.pid, signal.SIGKILL)
            process.wait()
        self.started.clear()
        self.record.unlink(missing_ok=True)


def sweep(home: Path, record: Path) -> list[int]:
    """End what an earlier demo with this `home` left running, and return the process ids.

    A process is ended only when it is in a recorded group *and* its environment carries our mark: a number that the
    system gave to somebody else meanwhile is left alone.
    """
    if not record.exists():
        return []
    groups = set(json.loads(record.read_text()))
    left = [pid for pid, group in _running() if group in groups and _carries_mark(pid, home)]
    for pid in left:
        with contextlib.suppress(ProcessLookupError):
            os.kill(pid, signal.SIGKILL)
    record.unlink()
    return left


@contextlib.contextmanager
def interruptible() -> Iterator[None]:
    """Inside, SIGINT, SIGTERM and SIGHUP raise KeyboardInterrupt, however this process was started."""
    with _handling(_interrupt):
        yield


@contextlib.contextmanager
def undisturbed() -> Iterator[None]:
    """Inside, SIGINT, SIGTERM and SIGHUP are ignored: a second Ctrl-C must not stop the cleaning up."""
    with _handling(signal.SIG_IGN):
        yield


@contextlib.contextmanager
def _handling(handler: Callable[[int, FrameType | None], None] | signal.Handlers) -> Iterator[None]:
    before = {number: signal.signal(number, handler) for number in ENDINGS}
    try:
        yield
    finally:
        for number, earlier in before.items():
            signal.signal(number, earlier)


@contextlib.contextmanager
def _blocked() -> Iterator[None]:
    before = signal.pthread_sigmask(signal.SIG_BLOCK, ENDINGS)
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)


def _interrupt(number: int, _frame: FrameType | None) -> None:
    raise KeyboardInterrupt(signal.Signals(number).name)


def _heed_interrupts() -> None:
    """In the child: a shell that runs us in the background ignores SIGINT, and a blocked signal is inherited too."""
    signal.signal(signal.SIGINT, signal.SIG_DFL)
    signal.pthread_sigmask(signal.SIG_UNBLOCK, ENDINGS)


def _signal_group(group: int, number: signal.Signals) -> None:
    # macOS answers PermissionError for a group of which only a zombie is left.
    with contextlib.suppress(ProcessLookupError, PermissionError):
        os.killpg(group, number)


def _running() -> Iterator[tuple[int, int]]:
    """Process id and process group of everything that runs; a zombie, which nobody may ever reap, does not."""
    if not Path("/proc/self/stat").exists():
        listed = subprocess.run(
            ["ps", "-A", "-o", "pid=,pgid=,stat="], capture_output=True, text=True, check=True
        )
        for pid, group, state in map(str.split, listed.stdout.splitlines()):
            if not state.startswith("Z"):
                yield int(pid), int(group)
        return
    for stat in Path("/proc").glob("[0-9]*/stat"):
        # It may end while we look.
        with contextlib.suppress(FileNotFoundError, ProcessLookupError):
            # The second field, the program's name in brackets, may hold anything; after it: state, parent, group.
            state, _, group = stat.read_text().rpartition(")")[2].split()[:3]
            if state != "Z":
                yield int(stat.parent.name), int(group)


def _carries_mark(pid: int, home: Path) -> bool:
    mark = f"{MARK}={home}"
    environ = Path(f"/proc/{pid}/environ")
    try:
        if environ.exists():
            return mark.encode() in environ.read_bytes().split(b"\0")
        shown = subprocess.run(
            ["ps", "-E", "-ww", "-o", "command=", "-p", str(pid)], capture_output=True, text=True
        )
    except (PermissionError, FileNotFoundError, ProcessLookupError):
        return False
    return mark in shown.stdout.split()
