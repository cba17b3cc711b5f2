"""From values of training frames to the rows of the reference."""

import numpy as np
import polars as pl
import pytest
from hypothesis import given
from hypothesis import strategies as st
from make_drift import reference, reference_row

from cv_assets.frames.schema import PreparedFrames
from cv_assets.reference.bins import counts_in, kl, psi
from cv_assets.reference.calibration import beyond_level, calibrate, delivery_shares
from cv_assets.reference.levels import left_one_out
from cv_assets.reference.schema import DriftReference
from cv_assets.reference.statistics import PLAIN, SHARES
from cv_assets.spec.drift import Drift

DRIFT = Drift(bins=4, level=0.75, tolerance=0.2, min_frames=5, min_deliveries=3)
NAMES = "abcdefgh"


def _frames(per_delivery: int = 10, names: str = NAMES, **columns: list[float | None]) -> pl.DataFrame:
    """Training frames of deliveries a, b and so on: the novelty rises from delivery to delivery."""
    count = per_delivery * len(names)
    plain = {name: [float(number % 7) for number in range(count)] for name in PLAIN}
    values = {"novelty": [float(number) for number in range(count)], "score.cnn": [0.5] * count}
    return pl.DataFrame(
        {
            "frame_id": [f"{number:03}" for number in range(count)],
            "delivery": [name for name in names for _ in range(per_delivery)],
            **plain,
            **values,
            **columns,
        },
        schema_overrides=dict.fromkeys([*plain, *values], pl.Float64),
    )


def _shares(names: str = NAMES, captures: int = 10, **rejected: float) -> pl.DataFrame:
    rows = [
        {
            "delivery": name,
            "captures": captures,
            **dict.fromkeys(SHARES, 0.0),
            "rejected": rejected.get(name, 0.0),
        }
        for name in names
    ]
    return pl.DataFrame(rows)


def _rows(frames: pl.DataFrame, shares: pl.DataFrame | None = None, drift: Drift = DRIFT) -> dict:
    shares = _shares() if shares is None else shares
    made = calibrate(frames, shares, drift, 0.95, "values.parquet", "novelty.safetensors")
    assert not DriftReference.filter(made.rows).failure.counts()
    return {row["statistic"]: row for row in made.rows.iter_rows(named=True)}


def test_every_statistic_and_every_share_has_one_row_the_novelty_first():
    rows = _rows(_frames())
    assert list(rows) == ["novelty", *PLAIN, "score.cnn", *SHARES]
    assert {row["role"] for name, row in rows.items() if name in SHARES} == {"station"}
    assert {row["role"] for name, row in rows.items() if name in PLAIN} == {"warns"}


def test_the_novelty_alarms_upwards_only_and_the_plain_statistics_warn_to_both_sides():
    rows = _rows(_frames())
    assert (rows["novelty"]["role"], rows["novelty"]["side"]) == ("alarms", "above")
    assert (rows["decoded.focus"]["role"], rows["decoded.focus"]["side"]) == ("warns", "both")
    assert (rows["score.cnn"]["role"], rows["score.cnn"]["side"]) == ("warns", "both")
    assert rows["rejected"]["side"] == "above"


def test_bins_hold_all_training_frames_and_the_level_comes_from_each_delivery_left_out():
    frames = _frames()
    row = _rows(frames)["novelty"]
    assert (row["edges"], row["counts"]) == ([20, 40, 60], [20, 20, 20, 20])
    found = left_one_out(frames["novelty"].to_list(), frames["delivery"].to_list(), bins=4, min_frames=5)
    assert (row["psi"], row["kl"]) == (sorted(found.psi), sorted(found.kl))
    # Of 8 deliveries the 0.75 quantile is the 6th.
    assert (row["psi_level"], row["kl_level"]) == (row["psi"][5], row["kl"][5])
    assert (row["frames"], row["deliveries"], row["usual_frames"], row["median"]) == (80, 8, 10, 39)
    assert (row["psi_level_low"], row["psi_level_high"]) == (row["psi"][2], None)


def test_only_the_novelty_has_arrays_and_shares_have_no_values():
    rows = _rows(_frames())
    assert (rows["novelty"]["values"], rows["novelty"]["arrays"]) == ("values.parquet", "novelty.safetensors")
    assert (rows["decoded.focus"]["values"], rows["decoded.focus"]["arrays"]) == ("values.parquet", None)
    assert (rows["rejected"]["values"], rows["rejected"]["arrays"]) == (None, None)


def test_the_level_of_what_only_warns_is_corrected_for_how_many_are_watched():
    rows = _rows(_frames())
    assert rows["novelty"]["quantile"] == rows["rejected"]["quantile"] == 0.75
    assert rows["decoded.focus"]["quantile"] == pytest.approx(1 - 0.25 / (len(PLAIN) + 1))
    assert rows["decoded.focus"]["psi_level"] == max(rows["decoded.focus"]["psi"])


def test_so_many_deliveries_can_promise_no_fewer_false_alarms_than_one_in_one_more():
    assert _rows(_frames())["novelty"]["least_false_alarms"] == pytest.approx(1 / 9)


def test_fewer_deliveries_than_the_spec_asks_for_are_not_calibrated():
    rows = _rows(_frames(names="ab"), _shares("ab"))
    assert not any(row["calibrated"] for row in rows.values())
    assert all(row["calibrated"] for row in _rows(_frames(names="abc"), _shares("abc")).values())


def test_a_delivery_with_few_frames_is_in_the_bins_but_gives_no_level():
    frames = pl.concat([_frames(), _frames(4, "z").with_columns(novelty=pl.lit(500.0))])
    row = _rows(frames)["novelty"]
    assert (row["deliveries"], row["frames"], sum(row["counts"])) == (8, 84, 84)
    assert row["usual_frames"] == 10


def test_a_frame_without_a_value_counts_nowhere():
    novelty = [None if number % 2 else float(number) for number in range(80)]
    row = _rows(_frames(novelty=novelty))["novelty"]
    assert (row["frames"], sum(row["counts"])) == (40, 40)


def test_a_statistic_without_values_has_a_row_and_no_level():
    row = _rows(_frames(novelty=[None] * 80))["novelty"]
    assert (row["frames"], row["counts"], row["psi"], row["psi_level"]) == (0, [0], [], None)
    assert (row["median"], row["least_false_alarms"], row["calibrated"]) == (None, None, False)
    assert row["usual_frames"] is None


def test_a_constant_statistic_does_not_differ_between_deliveries():
    row = _rows(_frames())["score.cnn"]
    assert row["counts"] == [0, 80, 0]
    assert row["psi_level"] < 0.2
    assert psi(row["counts"], counts_in(row["edges"], [0.7] * 10)) > 1


def test_a_reference_of_nothing_but_constants_is_calibrated_and_knows_what_moved():
    names = ["novelty", *PLAIN, "score.cnn"]
    made = calibrate(
        _frames(**{name: [3.0] * 80 for name in names}), _shares(), DRIFT, 0.95, "values", "arrays"
    )
    of_frames = made.rows.filter(pl.col("statistic").is_in(names))
    assert of_frames["counts"].to_list() == [[0, 80, 0]] * len(names)
    assert of_frames["calibrated"].all()
    assert of_frames["psi_level"].is_between(0, DRIFT.tolerance).all()
    stayed = pl.DataFrame({name: [3.0] * 40 for name in names})
    assert beyond_level(made.rows, stayed, DRIFT) == dict.fromkeys(names, False)
    assert beyond_level(made.rows, stayed.select(pl.all() + 1), DRIFT) == dict.fromkeys(names, True)


@given(st.lists(st.floats(), min_size=30, max_size=30))
def test_whatever_the_values_the_rows_follow_the_contract(values):
    assert (
        _rows(_frames(10, "abc", novelty=values))["novelty"]["frames"]
        == np.isfinite(values).sum() + np.isinf(values).sum()
    )


def test_a_share_is_its_own_measure_and_its_level_a_quantile_of_the_deliveries():
    row = _rows(_frames(), _shares(a=0.1, b=0.3, c=0.2))["rejected"]
    assert row["psi"] == [0, 0, 0, 0, 0, 0.1, 0.2, 0.3]
    assert (row["psi_level"], row["kl_level"], row["median"], row["usual_frames"]) == (0.1, None, 0, None)
    assert (row["edges"], row["counts"], row["kl"]) == ([], [], [])
    assert (row["frames"], row["deliveries"]) == (80, 8)


def test_a_delivery_with_few_captures_gives_no_share():
    shares = pl.concat([_shares(), _shares("z", captures=4, z=1.0)])
    row = _rows(_frames(), shares)["rejected"]
    assert (row["deliveries"], max(row["psi"]), row["frames"]) == (8, 0, 84)


def test_the_differences_name_each_delivery():
    made = calibrate(_frames(), _shares(a=0.1), DRIFT, 0.95, "v", "a")
    assert made.differences.filter(statistic="novelty")["delivery"].to_list() == list(NAMES)
    assert made.differences.filter(statistic="rejected").row(0) == ("rejected", "a", 0.1)


def test_the_shares_of_each_delivery_are_of_all_its_captures():
    rows = [
        ("c0", "b", "f0", "ok"),
        ("c1", "b", "f1", "low_focus"),
        ("c2", "a", "f2", "ok"),
        ("c3", "a", "f2", "ok"),
    ]
    captures = [
        {
            "capture_id": capture,
            "delivery": delivery,
            "frame_id": frame,
            "accepted": reason == "ok",
            "reason": reason,
        }
        for capture, delivery, frame, reason in rows
    ]
    schema = {name: PreparedFrames.create_empty().schema[name] for name in captures[0]}
    shares = delivery_shares(pl.DataFrame(captures, schema=schema))
    assert shares.columns == ["delivery", "captures", *SHARES]
    assert shares.select("delivery", "captures", "rejected", "rejected.low_focus", "repeated").rows() == [
        ("a", 2, 0, 0, 1),
        ("b", 2, 0.5, 0.5, 0),
    ]
    assert delivery_shares(pl.DataFrame(schema=schema)).is_empty()


def test_frames_are_beyond_a_level_as_a_delivery_would_be():
    rows = reference(
        reference_row(),
        reference_row("decoded.focus", psi_level=9.0),
        reference_row("decoded.contrast", calibrated=False),
        reference_row("score.cnn"),
    )
    far = pl.DataFrame({"novelty": [9.0] * 40, "decoded.focus": [9.0] * 40, "decoded.contrast": [9.0] * 40})
    assert beyond_level(rows, far, DRIFT) == {"novelty": True, "decoded.focus": False}
    near = pl.DataFrame({"novelty": [0.0] * 40, "decoded.focus": [2.5, 1.5] * 20})
    assert beyond_level(rows, near, DRIFT) == {"novelty": False, "decoded.focus": False}
    assert beyond_level(rows, far.head(4), DRIFT) == {}


def test_fewer_frames_than_usual_are_held_against_a_higher_level():
    far, at_level = pl.DataFrame({"novelty": [9.0] * 40}), psi([100] * 4, [0, 0, 0, 40])
    rows = reference(reference_row(psi_level=at_level - 0.01))
    assert beyond_level(rows, far, DRIFT) == {"novelty": True}
    rows = reference(reference_row(psi_level=at_level - 0.01, usual_frames=60))
    # 3 / 40 less 3 / 60 is 0.025.
    assert beyond_level(rows, far, DRIFT) == {"novelty": False}


def test_the_spec_says_by_which_measure():
    rows = reference(reference_row(psi_level=0.0, kl_level=9.0))
    far = pl.DataFrame({"novelty": [9.0] * 40})
    assert beyond_level(rows, far, DRIFT) == {"novelty": True}
    assert beyond_level(rows, far, DRIFT.model_copy(update={"measure": "kl"})) == {"novelty": False}
    assert kl([100] * 4, [0, 0, 0, 40]) > DRIFT.tolerance
