"""What people are told of a reference."""

from make_drift import reference, reference_row, share_row

from cv_assets.reference.words import calibration_said, it_takes
from cv_assets.spec.drift import Drift

DRIFT = Drift()


def test_a_calibrated_reference_says_the_least_false_alarms_that_it_can_promise():
    passed, why, _ = calibration_said(
        reference(reference_row(), *(reference_row(name, quantile=0.995) for name in ("a", "b"))), DRIFT
    )
    assert passed
    # The 0.9 quantile of 12 is the 11th: a 13th lies beyond it in 2 of 13 cases.
    assert why == (
        "12 deliveries of 30 training frames and more. At most about 15 % of ordinary deliveries exceed the novelty's "
        "level; an alarm takes 2 in a row or 3 of 5. No level of 12 deliveries can promise less than 7.7 %. The levels "
        "of what only warns are corrected for 2 statistics: 12 deliveries give no higher level than their largest "
        "difference."
    )


def test_with_a_patience_of_one_an_alarm_takes_one():
    assert it_takes(1) == "one"
    assert (
        "an alarm takes one."
        in calibration_said(reference(reference_row(), reference_row("a")), Drift(patience=1)).why
    )


def test_a_level_that_so_few_deliveries_cannot_keep_says_how_many_it_takes():
    rows = reference(reference_row(), reference_row("decoded.focus"))
    _, why, _ = calibration_said(rows, Drift(level=0.95))
    assert "At most about 8 % of ordinary deliveries" in why
    assert "The spec asks for 5 %, which takes 19 deliveries." in why
    assert "The spec asks" not in calibration_said(rows, Drift(level=0.9)).why


def test_with_many_deliveries_what_only_warns_has_a_quantile_as_its_level():
    warns = [reference_row(f"decoded.{name}", quantile=0.95, deliveries=40) for name in ("focus", "contrast")]
    _, why, _ = calibration_said(reference(reference_row(deliveries=40), *warns), DRIFT)
    assert why.endswith(
        "The levels of what only warns are corrected for 2 statistics: each level is the 0.95 quantile."
    )


def test_too_few_deliveries_say_what_follows_and_what_to_do():
    few = reference_row(deliveries=1, calibrated=False)
    passed, why, _ = calibration_said(reference(few, reference_row("decoded.focus")), DRIFT)
    assert not passed
    assert why == (
        "Only 1 delivery of 30 training frames and more; 10 are needed. Until then deliveries are measured, but no "
        "drift alarm can open. Label frames of more deliveries and train again."
    )


def test_a_share_that_is_not_calibrated_is_named():
    rows = reference(reference_row(), reference_row("decoded.focus"), share_row(calibrated=False))
    passed, why, _ = calibration_said(rows, DRIFT)
    assert not passed
    assert why.endswith("Not calibrated, for want of deliveries with values: rejected.")
