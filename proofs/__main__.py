"""Every claim about hostile conditions, tried for real, into proofs/results.json: 1 when one does not hold.

Each has a module in this folder with `prove() -> Proof`, and a process of its own: one that dies or takes too long is a
claim that does not hold; one that lacks here what it needs is skipped, neither held nor broken. With
`python -m proofs crowd` that one is tried alone, and the others' results are left as they are.
"""

import importlib
import importlib.metadata
import json
import os
import platform
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from dataclasses import asdict
from datetime import UTC, datetime
from functools import cache
from pathlib import Path
from typing import Any, Final

from rich.console import Console
from rich.table import Column, Table

from demo.processes import Processes, interruptible
from proofs.proof import Proof
from resources.deployments import ROOT

LIMITS: Final = {
    "crash_matrix": 460,
    "crowd": 100,
    "disk_full": 100,
    "lake_model": 350,
    "moving": 120,
    "restore": 100,
    "second_project": 110,
    "two_daemons": 240,
    "upgrade": 220,
}
"""The proofs, and after how many seconds each is given up: half an hour together."""

RESULTS: Final = Path(__file__).parent / "results.json"

_FRESH: Final[dict[str, Any]] = {"proofs": {}}
_HOLDS: Final = {True: "yes", False: "NO", None: "skipped"}


Try = Callable[[str, Path], Proof]
"""Tries the proof of that name in an empty folder."""


def in_a_process(name: str, folder: Path) -> Proof:
    """Try it in a process of its own, given up after its time with all that it started."""
    answer, log = folder / "answer.json", folder / "log"
    processes = Processes(folder / "home", folder / "pids.json")
    command = (sys.executable, "-m", "proofs", "--into", str(answer), name)
    try:
        processes.start(command, log=log, cwd=ROOT, environment={**os.environ, "TMPDIR": str(folder)})
        processes.started[0].wait(LIMITS.get(name))
    except subprocess.TimeoutExpired:
        return Proof("", False, f"It did not end within {LIMITS[name]} s.", {"log": _end_of(log)})
    finally:
        processes.stop()
    if not answer.exists():
        return Proof("", False, "It died before it had an answer.", {"log": _end_of(log)})
    return Proof(**json.loads(answer.read_text("utf-8")))


def main(chosen: Sequence[str], tried: Try = in_a_process, into: Path = RESULTS) -> int:
    """Try the chosen proofs, or all; print them and write them down. The exit status."""
    if unknown := set(chosen) - set(LIMITS):
        print(f"There is no proof {sorted(unknown)[0]!r}, only {', '.join(LIMITS)}.", file=sys.stderr)
        return 2
    results = json.loads(into.read_text("utf-8")) if chosen and into.exists() else _FRESH
    done: dict[str, Any] = {}
    with interruptible():
        for name in chosen or LIMITS:
            done[name] = _told(name, tried)
            written = {"proofs": {**results["proofs"], **done}}
            # After each: an interrupted run keeps what it found.
            into.write_text(json.dumps(written, indent=2) + "\n", "utf-8")
    Console().print(_table(done))
    return 1 if any(one["holds"] is False for one in done.values()) else 0


def _told(name: str, tried: Try) -> dict[str, Any]:
    print(f"{name} ...", flush=True)
    start = time.monotonic()
    with tempfile.TemporaryDirectory() as folder:
        proof = tried(name, Path(folder))
    seconds = round(time.monotonic() - start, 1)
    return {**asdict(proof), "seconds": seconds, "measured_on": _measured_on()}


def _prove(name: str, answer: Path) -> int:
    proof = importlib.import_module(f"proofs.{name}").prove()
    answer.write_text(json.dumps(asdict(proof)), "utf-8")
    return 0


def _measured_on() -> dict[str, Any]:
    """What the figures were measured on; they count for nothing else."""
    return {
        "commit": _output("git", "rev-parse", "HEAD"),
        # What is written here is itself a change.
        "tree": "with changes"
        if _output("git", "status", "--porcelain", "--", ".", f":(exclude){RESULTS}")
        else "clean",
        "at": datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%SZ"),
        "python": platform.python_version(),
        "dagster": importlib.metadata.version("dagster"),
        "lakefs": _output("lakefs", "--version") or "not there: what needs it was skipped",
    }


@cache
def _output(*command: str) -> str:
    if shutil.which(command[0]) is None:
        return ""
    return subprocess.run(command, cwd=ROOT, capture_output=True, text=True).stdout.strip()


def _end_of(log: Path) -> str:
    return "\n".join(log.read_text(errors="replace").splitlines()[-20:]) if log.exists() else ""


def _table(done: dict[str, Any]) -> Table:
    table = Table(Column("proof", no_wrap=True), "holds", "why", "seconds")
    for name, one in done.items():
        table.add_row(name, _HOLDS[one["holds"]], one["why"], f"{one['seconds']:.0f}")
    return table


if __name__ == "__main__":
    if sys.argv[1:2] == ["--into"]:
        sys.exit(_prove(sys.argv[3], Path(sys.argv[2])))
    sys.exit(main(sys.argv[1:]))
