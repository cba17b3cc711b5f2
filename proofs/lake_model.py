"""Any sequence of operations, also of processes that die between them, leaves a lake as a small model says.

The model is a test (tests/resources/test_lake_model.py); here it runs in its thorough profile, on other sequences every
time.
"""

import os
import re
import subprocess
import sys
from collections.abc import Mapping
from typing import Any, Final

from demo.lakes import EMBEDDED, LAKEFS
from proofs import lakes
from proofs.proof import Proof, verdict
from resources.deployments import ROOT

ASKED: Final = (
    "After any sequence of operations on a lake, with writers killed in between, every ref, every commit "
    "and every object reads as a model says; nothing that was acknowledged is lost."
)

_TESTS: Final = ROOT / "tests" / "resources" / "test_lake_model.py"
_OF: Final = {
    EMBEDDED: "test_the_embedded_lake_is_as_the_model_says",
    LAKEFS: "test_a_lakefs_is_as_the_model_says",
}
_SEQUENCES: Final = re.compile(r"(\d+) sequences")


def prove(profile: str = "thorough") -> Proof:
    """As many sequences as the profile of hypothesis tries."""
    return judged({kind: lakes.missing(kind) or _tried(test, profile) for kind, test in _OF.items()})


def judged(figures: Mapping[str, Any]) -> Proof:
    """What the figures of each lake say; a sentence is in their place where there is none."""
    tried = {kind: one for kind, one in figures.items() if isinstance(one, dict)}
    skipped = [one for one in figures.values() if isinstance(one, str)]
    # None counted means that they cannot be counted any more, or that none was tried.
    wrong = [kind for kind, one in tried.items() if one["outcome"] != "passed" or not one["sequences"]]
    sequences = sum(one["sequences"] for one in tried.values())
    whole = f"{sequences} sequences on {' and '.join(tried)} went as the model says."
    why = f"Not so on {' and '.join(wrong)}." if wrong else " ".join([whole, *skipped])
    return Proof(ASKED, verdict(bool(wrong), bool(skipped)), why, figures)


def _tried(test: str, profile: str) -> dict[str, Any]:
    command = (sys.executable, "-m", "pytest", "-q", "-s", f"{_TESTS}::{test}")
    environment = {**os.environ, "HYPOTHESIS_PROFILE": profile}
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, env=environment)
    # pytest ends well, too, when it skipped what it was asked for; then nothing is counted.
    counted = _SEQUENCES.search(done.stdout)
    return {
        "outcome": "passed" if done.returncode == 0 else "\n".join(done.stdout.splitlines()[-40:]),
        "sequences": int(counted[1]) if counted else 0,
        "profile": profile,
    }
