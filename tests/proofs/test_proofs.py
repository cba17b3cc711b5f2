"""What `make prove` writes down, also of a proof that dies or does not hold."""

import json
import re

import pytest

from proofs import __main__ as command
from proofs import lake_model
from proofs.proof import Proof, verdict
from resources.deployments import ROOT

HOLDS = Proof("It holds.", True, "It did.", {"tried": 3})
BROKEN = Proof("It holds.", False, "It did not.", {"tried": 3})
SKIPPED = Proof("It holds.", None, "Skipped: there is no `lakefs` program on PATH.", {})


@pytest.fixture
def prove(tmp_path):
    """`prove(crowd=proof, …)`: try these, which answer so; the exit status and what is written down."""

    def run(**answers):
        into = tmp_path / "results.json"
        status = command.main(list(answers), lambda name, folder: answers[name], into)
        return status, json.loads(into.read_text())["proofs"]

    return run


def test_a_claim_that_does_not_hold_is_written_down_and_is_the_exit_status(prove):
    status, written = prove(crowd=HOLDS, moving=BROKEN)
    assert status == 1
    assert [(name, one["holds"]) for name, one in written.items()] == [("crowd", True), ("moving", False)]


def test_a_claim_that_was_not_tried_neither_holds_nor_is_broken(prove, capsys):
    status, written = prove(disk_full=SKIPPED)
    assert (status, written["disk_full"]["holds"]) == (0, None)
    assert "skipped" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("broken", "untried", "holds"),
    [(False, False, True), (True, False, False), (False, True, None), (True, True, False)],
)
def test_a_claim_that_was_tried_in_part_may_be_broken_but_never_holds(broken, untried, holds):
    assert verdict(broken, untried) is holds


def test_figures_stand_beside_what_they_were_measured_on(prove):
    _, written = prove(crowd=HOLDS)
    assert written["crowd"].keys() == {"asked", "holds", "why", "figures", "seconds", "measured_on"}
    assert written["crowd"]["measured_on"].keys() == {
        "commit",
        "tree",
        "at",
        "python",
        "dagster",
        "lakefs",
    }


def test_one_proof_tried_alone_leaves_the_others_results(prove):
    prove(crowd=HOLDS, moving=BROKEN)
    status, written = prove(crowd=HOLDS)
    assert status == 0
    assert written.keys() == {"crowd", "moving"}


def test_a_proof_that_nobody_knows_is_refused_by_name(tmp_path, capsys):
    assert command.main(["better"], into=tmp_path / "results.json") == 2
    assert capsys.readouterr().err.startswith("There is no proof 'better', only crash_matrix, crowd,")
    assert list(tmp_path.iterdir()) == []


def test_a_proof_that_takes_too_long_is_one_that_does_not_hold(tmp_path, monkeypatch):
    monkeypatch.setitem(command.LIMITS, "crowd", 0.1)
    proof = command.in_a_process("crowd", tmp_path)
    assert (proof.holds, proof.why) == (False, "It did not end within 0.1 s.")


def test_a_proof_that_dies_is_one_that_does_not_hold(tmp_path):
    proof = command.in_a_process("nothing", tmp_path)
    assert (proof.holds, proof.why) == (False, "It died before it had an answer.")
    assert "No module named 'proofs.nothing'" in proof.figures["log"]


@pytest.mark.parametrize(
    ("outcome", "sequences", "holds"), [("passed", 3, True), ("passed", 0, False), ("1 failed", 3, False)]
)
def test_sequences_that_nobody_counted_prove_nothing(outcome, sequences, holds):
    figures = {"embedded": {"outcome": outcome, "sequences": sequences}}
    assert lake_model.judged(figures).holds is holds


def test_every_proof_is_run():
    modules = {
        file.stem
        for file in (ROOT / "proofs").glob("*.py")
        if re.search(r"^def prove\(", file.read_text(), re.M)
    }
    assert set(command.LIMITS) == modules


def test_all_proofs_together_end_within_half_an_hour():
    assert sum(command.LIMITS.values()) <= 30 * 60
