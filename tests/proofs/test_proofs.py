"""What `make prove` writes down, also of a proof that dies or does not hold."""

import json
import re

import pytest

from proofs import __main__ as command
from proofs.proof import Proof
from resources.deployments import ROOT

ANSWERS = {
    "good": Proof("It holds.", True, "It did.", {"tried": 3}),
    "bad": Proof("It holds.", False, "It did not.", {"tried": 3}),
}


@pytest.fixture
def results(tmp_path, monkeypatch):
    """The file that is written; the proofs `good` and `bad` answer without a process."""
    monkeypatch.setattr(command, "RESULTS", tmp_path / "results.json")
    monkeypatch.setattr(command, "LIMITS", {"good": 60, "bad": 60})
    monkeypatch.setattr(command, "_in_a_process", lambda name, folder: ANSWERS[name])
    return tmp_path / "results.json"


def test_a_claim_that_does_not_hold_is_written_down_and_is_the_exit_status(results):
    assert command.main([]) == 1
    written = json.loads(results.read_text())["proofs"]
    assert [(name, one["holds"]) for name, one in written.items()] == [("good", True), ("bad", False)]


def test_figures_stand_beside_what_they_were_measured_on(results):
    assert command.main(["good"]) == 0
    one = json.loads(results.read_text())["proofs"]["good"]
    assert one.keys() == {"asked", "holds", "why", "figures", "seconds", "measured_on"}
    assert one["measured_on"].keys() == {"commit", "tree", "at", "python", "dagster", "lakefs"}


def test_one_proof_tried_alone_leaves_the_others_results(results):
    command.main([])
    assert command.main(["good"]) == 0
    assert json.loads(results.read_text())["proofs"].keys() == {"good", "bad"}


def test_a_proof_that_nobody_knows_is_refused_by_name(results, capsys):
    assert command.main(["better"]) == 2
    assert capsys.readouterr().err == "There is no proof 'better', only good, bad.\n"


def test_a_proof_that_takes_too_long_is_one_that_does_not_hold(tmp_path, monkeypatch):
    monkeypatch.setitem(command.LIMITS, "crowd", 0.1)
    proof = command._in_a_process("crowd", tmp_path)
    assert (proof.holds, proof.why) == (False, "It did not end within 0.1 s.")


def test_a_proof_that_dies_is_one_that_does_not_hold(tmp_path, monkeypatch):
    monkeypatch.setitem(command.LIMITS, "nothing", 60)
    proof = command._in_a_process("nothing", tmp_path)
    assert (proof.holds, proof.why) == (False, "It died before it had an answer.")
    assert "No module named 'proofs.nothing'" in proof.figures["log"]


def test_every_proof_is_run():
    modules = {
        file.stem
        for file in (ROOT / "proofs").glob("*.py")
        if re.search(r"^def prove\(", file.read_text(), re.M)
    }
    assert set(command.LIMITS) == modules


def test_all_proofs_together_end_within_half_an_hour():
    assert sum(command.LIMITS.values()) <= 30 * 60
