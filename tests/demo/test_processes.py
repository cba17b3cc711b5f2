import contextlib
import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from demo.processes import MARK, Processes, interruptible, sweep
from resources.deployments import ROOT

# A parent that starts a child of its own, as a code server starts its runs, and then waits.
FAMILY = (
    "import subprocess, sys, time\n"
    "child = subprocess.Popen([sys.executable, '-c', 'import time; time.sleep(60)'])\n"
    "print(child.pid, flush=True)\n"
    "time.sleep(60)\n"
)

DRIVER = """
import signal, sys, time
from pathlib import Path
from demo.processes import Processes, interruptible
home = Path(sys.argv[1])
with interruptible():
    processes = Processes(home, home / "pids.json")
    try:
        processes.start([sys.executable, "-c", {family!r}], log=home / "family.log", cwd=home, environment={{}})
        print("started", flush=True)
        time.sleep(60)
    except KeyboardInterrupt as interrupt:
        print(f"stopped by {{interrupt}}", flush=True)
    finally:
        processes.stop()
"""


def lives(pid: int) -> bool:
    with contextlib.suppress(ProcessLookupError):
        os.kill(pid, 0)
        # Nobody may be left to reap an orphan: a zombie runs no more.
        stat = Path(f"/proc/{pid}/stat")
        return not stat.exists() or stat.read_text().rpartition(")")[2].split()[0] != "Z"
    return False


def eventually_gone(pid: int) -> bool:
    deadline = time.monotonic() + 5
    while lives(pid) and time.monotonic() < deadline:
        time.sleep(0.02)
    return not lives(pid)


def first_line(log: Path) -> str:
    deadline = time.monotonic() + 10
    while not (log.exists() and "\n" in log.read_text()) and time.monotonic() < deadline:
        time.sleep(0.02)
    return log.read_text().splitlines()[0]


@pytest.fixture
def stranger() -> Iterator[subprocess.Popen[bytes]]:
    """A process in a group of its own that is none of ours."""
    process = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(60)"], start_new_session=True)
    yield process
    process.kill()
    process.wait()


def test_stopping_ends_a_process_and_what_it_started(tmp_path: Path):
    processes = Processes(tmp_path, tmp_path / "pids.json")
    processes.start([sys.executable, "-c", FAMILY], log=tmp_path / "log", cwd=tmp_path, environment={})
    parent, child = processes.started[0].pid, int(first_line(tmp_path / "log"))
    assert json.loads((tmp_path / "pids.json").read_text()) == [parent]
    assert lives(child)
    processes.stop()
    assert eventually_gone(parent)
    assert eventually_gone(child)
    assert not (tmp_path / "pids.json").exists()


def test_a_process_that_ends_on_its_own_is_noticed(tmp_path: Path):
    processes = Processes(tmp_path, tmp_path / "pids.json")
    processes.start(
        [sys.executable, "-c", "raise SystemExit(3)"], log=tmp_path / "log", cwd=tmp_path, environment={}
    )
    processes.started[0].wait(timeout=10)
    assert [process.returncode for process in processes.ended()] == [3]
    processes.stop()


@pytest.mark.parametrize("ending", [signal.SIGTERM, signal.SIGINT, signal.SIGHUP])
def test_whatever_ends_the_driver_leaves_no_process_behind(tmp_path: Path, ending: signal.Signals):
    driver = subprocess.Popen(
        [sys.executable, "-c", DRIVER.format(family=FAMILY), str(tmp_path)],
        cwd=ROOT,
        stdout=subprocess.PIPE,
        text=True,
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_IGN),
    )  # fmt: skip  (a shell that starts us in the background ignores SIGINT)
    child = int(first_line(tmp_path / "family.log"))
    assert driver.stdout is not None
    assert driver.stdout.readline() == "started\n"
    driver.send_signal(ending)
    said, _ = driver.communicate(timeout=15)
    assert said == f"stopped by {ending.name}\n"
    assert eventually_gone(child)


def test_a_sweep_ends_what_a_killed_driver_left(tmp_path: Path):
    driver = subprocess.Popen(
        [sys.executable, "-c", DRIVER.format(family=FAMILY), str(tmp_path)],
        cwd=ROOT,
        stdout=subprocess.DEVNULL,
    )
    child = int(first_line(tmp_path / "family.log"))
    driver.kill()
    driver.wait()
    assert lives(child)
    assert child in sweep(tmp_path, tmp_path / "pids.json")
    assert eventually_gone(child)
    assert not (tmp_path / "pids.json").exists()


def test_a_sweep_leaves_a_process_alone_that_only_has_a_recorded_number(
    tmp_path: Path, stranger: subprocess.Popen[bytes]
):
    (tmp_path / "pids.json").write_text(json.dumps([stranger.pid]))
    assert sweep(tmp_path, tmp_path / "pids.json") == []
    assert stranger.poll() is None


def test_a_sweep_leaves_the_processes_of_another_home_alone(tmp_path: Path):
    home, other = tmp_path / "home", tmp_path / "home2"
    processes = Processes(other, tmp_path / "other.json")
    processes.start([sys.executable, "-c", FAMILY], log=tmp_path / "log", cwd=tmp_path, environment={})
    first_line(tmp_path / "log")
    (tmp_path / "pids.json").write_text(json.dumps([processes.started[0].pid]))
    assert sweep(home, tmp_path / "pids.json") == []
    assert processes.ended() == []
    processes.stop()


def test_a_sweep_leaves_a_marked_process_alone_that_is_not_on_record(tmp_path: Path):
    process = subprocess.Popen(
        [sys.executable, "-c", "import time; time.sleep(60)"],
        env={MARK: str(tmp_path)},
        start_new_session=True,
    )
    (tmp_path / "pids.json").write_text("[]")
    assert sweep(tmp_path, tmp_path / "pids.json") == []
    assert process.poll() is None
    process.kill()
    process.wait()


def test_a_first_start_has_nothing_to_sweep(tmp_path: Path):
    assert sweep(tmp_path, tmp_path / "pids.json") == []


def test_an_ending_signal_is_an_interrupt_that_names_it():
    with interruptible(), pytest.raises(KeyboardInterrupt, match="SIGTERM"):
        signal.raise_signal(signal.SIGTERM)
