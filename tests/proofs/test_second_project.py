"""What counts as a second project that was released."""

import pytest

from proofs.second_project import judged


@pytest.mark.parametrize(
    ("released", "verdicts", "holds"),
    [
        (["v1.0.0"], {"PASS": 13, "FAIL": 11}, True),
        (["v1.0.0"], {"PASS": 13}, False),
        ([None], {"PASS": 13, "FAIL": 11}, False),
    ],
)
def test_a_release_and_a_verdict_on_every_part_after_it_hold_the_claim(released, verdicts, holds):
    assert judged({"released": released, "verdicts": verdicts, "parts": 24}).holds is holds
