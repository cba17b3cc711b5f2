"""A step killed at every boundary of its publication, or the server under it, and executed again: done exactly once."""

import json
import random
import shutil
import tempfile
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from queue import SimpleQueue
from signal import SIGKILL
from typing import Any, Final, Literal

from proofs.crashing import Attempt, in_child, pick_up, run_step
from proofs.lakefs_server import Server
from proofs.proof import Proof, verdict
from resources.git_lake import GitLake

ASKED: Final = (
    "A step is killed with kill -9 at the boundaries of a publication or a release, or the lakeFS server under it is. "
    "A reader sees the state before or after, whole; executed again, the publication is there exactly once."
)

STEPS: Final = (
    "table",
    "table with files",
    "partition changed meanwhile",
    "refused table",
    "first step of a candidate",
    "release",
    "refused candidate",
    "rollback",
)
"""Those of proofs/crash_steps.py."""

SWEPT: Final = ("work branches", "files")
"""What dead processes leave and the sweep takes."""

Kind = Literal["embedded", "lakefs", "server"]
"""What is killed: the step on the embedded lake, the step on lakeFS, or the lakeFS server."""


@dataclass(frozen=True)
class Case:
    """One kill; boundary 0 is none."""

    kind: Kind
    step: str
    boundary: int = 0


@dataclass(frozen=True)
class Outcome:
    """What became of a case: whether the kill struck, and what was read before and after the step ran again.

    Of a step that lived: the boundaries that it passed, and whether it ended well.
    """

    case: Case
    struck: bool = False
    passed: Sequence[str] = ()
    ended_well: bool = False
    seen: Mapping[str, Any] = field(default_factory=dict)
    trouble: str = ""


def prove(
    embedded: int = 240, lakefs: int = 40, servers: int = 24, steps: Sequence[str] = STEPS, seed: int = 0
) -> Proof:
    """Try so many kills of each kind, spread evenly over all steps and boundaries; `seed` shifts them."""
    wanted: dict[Kind, int] = {"embedded": embedded}
    # One of its own: it is killed.
    untried = bool(lakefs or servers) and shutil.which("lakefs") is None
    if not untried:
        wanted |= {"lakefs": lakefs, "server": servers}
    with _workplace() as tried:
        figures: dict[str, Any] = {
            kind: _figures(kind, number, steps, seed, tried) for kind, number in wanted.items() if number
        }
    broken = [one for each in figures.values() for one in each["violations"]]
    cases = sum(each["cases"] for each in figures.values())
    why = (
        f"All {cases} publications that were cut off are there exactly once after the step ran again."
        if not broken
        else f"In {cases} cases the claim was broken {len(broken)} times: {broken[0]}"
    )
    if untried:
        why += " Skipped: there is no `lakefs` program on PATH."
    return Proof(ASKED, verdict(bool(broken), untried), why, figures)


Try = Callable[[Sequence[Case]], list[Outcome]]


def _figures(kind: Kind, number: int, steps: Sequence[str], seed: int, tried: Try) -> dict[str, Any]:
    undisturbed = {one.case.step: one for one in tried([Case(kind, step) for step in steps])}
    everywhere = [
        Case(kind, step, boundary)
        for step, one in undisturbed.items()
        for boundary in range(1, len(one.passed) + 1)
    ]
    outcomes = tried(spread(everywhere, number, seed))
    found = {
        one.case: violations(one, undisturbed[one.case.step]) for one in [*undisturbed.values(), *outcomes]
    }
    left = Counter(
        what for one in outcomes for what, names in one.seen.get("found", {}).get("left", {}).items() if names
    )
    return {
        "boundaries": {step: len(one.passed) for step, one in undisturbed.items()},
        "cases": len(outcomes),
        "done exactly once": sum(not found[one.case] for one in outcomes),
        "needed more than one execution": sum(one.seen.get("tries", 0) > 1 for one in outcomes),
        "step outlived the kill": sum(one.ended_well for one in outcomes),
        "left behind after so many kills": dict(left),
        "violations": [f"{case}: {what}" for case, broken in found.items() for what in broken],
    }


def spread(cases: Sequence[Case], number: int, seed: int) -> list[Case]:
    """`number` of the cases at equal distances, from a start that `seed` chooses; all of them when there are fewer."""
    if number >= len(cases):
        return list(cases)
    distance = len(cases) / number
    start = random.Random(seed).random() * distance  # noqa: S311  no secret
    return [cases[int(start + place * distance)] for place in range(number)]


def violations(outcome: Outcome, undisturbed: Outcome) -> list[str]:
    """How the outcome breaks the claim, in words."""
    if outcome.trouble:
        return [outcome.trouble]
    found, end, whole = outcome.seen["found"], outcome.seen["end"], undisturbed.seen["end"]
    broken = []
    if outcome.case.boundary and not outcome.struck:
        broken.append("the kill did not strike: that boundary was not passed")
    if not _is_part(found, whole):
        broken.append("a reader saw a state that is neither the one before nor the one after")
    if outcome.seen["said"]:
        broken.append(f"executed again, the step did not end well: {outcome.seen['said'][:300]}")
    if _shown(end) != _shown(whole):
        broken.append(f"it was not done exactly once: {_difference(end, whole)}")
    if (times := sum(map(len, end["branches"].values()))) != outcome.seen["publications"]:
        broken.append(f"{times} publications are visible, expected {outcome.seen['publications']}")
    if _shown(outcome.seen["swept"]) != _shown(end):
        broken.append("the sweep changed what is published or refused")
    if left := {
        what: outcome.seen["swept"]["left"][what] for what in SWEPT if outcome.seen["swept"]["left"][what]
    }:
        broken.append(f"the sweep left {left}")
    if outcome.seen["other"]:
        broken.append(f"branches that nobody should have made: {outcome.seen['other']}")
    return broken


def _is_part(found: Mapping[str, Any], whole: Mapping[str, Any]) -> bool:
    """Whether branches, tags and refusals of `found` are as they were at some moment of the undisturbed run."""
    branches = found["branches"].items()
    return (
        all(whole["branches"].get(name, [])[: len(log)] == log for name, log in branches)
        and found["tags"].items() <= whole["tags"].items()
        and all(one in whole["refused"] for one in found["refused"])
    )


def _shown(state: Mapping[str, Any]) -> tuple[Any, ...]:
    """What is published and what was refused; refused data may wait twice."""
    refused = {json.dumps(one, sort_keys=True) for one in state["refused"]}
    return state["branches"], state["tags"], refused


def _difference(end: Mapping[str, Any], whole: Mapping[str, Any]) -> str:
    shown = [
        ({name: [message for message, _ in log] for name, log in one["branches"].items()}, one["tags"])
        for one in (end, whole)
    ]
    return f"{shown[0]}, undisturbed {shown[1]}"


@contextmanager
def _workplace(workers: int = 2) -> Iterator[Try]:
    """A function that tries cases in a temporary folder; each worker has a lakeFS of its own, once one is needed."""
    with ExitStack() as stack:
        root = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="crashes-")))
        pool = stack.enter_context(ThreadPoolExecutor(workers))
        servers: SimpleQueue[Server] = SimpleQueue()
        numbers = iter(range(1_000_000))

        def tried(cases: Sequence[Case]) -> list[Outcome]:
            if servers.empty() and cases and cases[0].kind != "embedded":
                for number in range(min(workers, len(cases))):
                    servers.put(stack.enter_context(Server(root / f"server-{number}")))
            folders = [root / f"case-{next(numbers)}" for _ in cases]
            return list(pool.map(lambda case, folder: _tried(case, folder, servers), cases, folders))

        yield tried


def _tried(case: Case, folder: Path, servers: "SimpleQueue[Server]") -> Outcome:
    if case.kind == "embedded":
        return _outcome(
            case, Attempt(case.step, GitLake(folder / "lake"), folder, case.boundary), lambda: None
        )
    server = servers.get()
    try:
        victim = server.pid if case.kind == "server" else None
        lake = server.new_lake(folder / "cache")
        return _outcome(case, Attempt(case.step, lake, folder, case.boundary, victim), server.keep_alive)
    finally:
        servers.put(server)


def _outcome(case: Case, attempt: Attempt, meanwhile: Callable[[], None]) -> Outcome:
    died_of = in_child(run_step, attempt, meanwhile)
    meanwhile()
    if died_of not in (0, -SIGKILL):
        return Outcome(case, trouble=f"the step ended with {died_of}: {_end_of(attempt, 'run_step')}")
    if (code := in_child(pick_up, attempt, meanwhile)) != 0:
        return Outcome(case, trouble=f"picking up ended with {code}: {_end_of(attempt, 'pick_up')}")
    seen = json.loads((attempt.folder / "picked_up.json").read_text())
    if died_of:
        return Outcome(case, struck=True, seen=seen)
    lived = json.loads((attempt.folder / "passed.json").read_text())
    struck = 0 < case.boundary <= len(lived["passed"])
    return Outcome(case, struck, lived["passed"], ended_well=not lived["said"], seen=seen)


def _end_of(attempt: Attempt, work: str) -> str:
    log = (attempt.folder / f"{work}.log").read_text(errors="replace")
    return " / ".join(log.splitlines()[-5:])
