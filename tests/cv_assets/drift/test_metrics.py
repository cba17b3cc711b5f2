from collections.abc import Mapping, Sequence
from dataclasses import replace
from datetime import UTC, datetime, timedelta

import numpy as np
import polars as pl
import pytest
from hypothesis import given
from hypothesis import strategies as st

from cv_assets.drift.again import changed_figures, says_the_same, unmeasured
from cv_assets.drift.inspected import Inspected, comparable, inspected
from cv_assets.drift.metrics import expected, metrics
from cv_assets.drift.schema import DriftMetrics
from cv_assets.inspection.schema import Inspections
from cv_assets.reference.schema import DriftReference
from cv_assets.spec.load import load_spec
from cv_assets.spec.schema import Spec
from cv_assets.words import figure
from resources.deployments import ROOT

NOON = datetime(2026, 3, 2, 12, tzinfo=UTC)
MEASURED = NOON + timedelta(hours=1)

ABOUT = Inspected(
    delivery="d1",
    station="el1",
    captured_from=NOON,
    captured_to=NOON + timedelta(minutes=9),
    captures=40,
    release="v1.0.0",
    release_number=1,
    candidate="first",
    model="cnn",
    undecided="",
    other_pass=0,
)

REFERENCE = {
    "statistic": "novelty",
    "role": "alarms",
    "side": "above",
    "frames": 400,
    "deliveries": 12,
    "median": 2.0,
    "edges": [1.0, 2.0, 3.0],
    "counts": [100, 100, 100, 100],
    "psi": [0.1 * step for step in range(1, 13)],
    "kl": [0.05 * step for step in range(1, 13)],
    "psi_level": 1.1,
    "kl_level": 0.55,
    "quantile": 0.9,
    "calibrated": True,
}
"""A quarter of the training frames below 1, one between 1 and 2, 2 and 3, and above 3."""

SHARE = {
    "statistic": "rejected",
    "role": "station",
    "side": "above",
    "frames": 400,
    "deliveries": 12,
    "median": 0.0,
    "edges": [],
    "counts": [],
    "psi": [0.0] * 6 + [0.01, 0.02, 0.03, 0.04, 0.06, 0.08],
    "kl": [],
    "psi_level": 0.08,
    "quantile": 0.9,
    "calibrated": True,
}

AS_TRAINED = [0.5, 1.5, 2.5, 3.5] * 10
FAR_AWAY = [9.0] * 40
NEARER = [0.5] * 40


@pytest.fixture(scope="module")
def spec() -> Spec:
    """At least 30 frames, tolerance 0.2, at most 5 % rejected and 5 % repeated."""
    return load_spec(ROOT / "specs" / "solar_cells.yaml")


def _reference(*rows: Mapping[str, object]) -> pl.DataFrame:
    schema = DriftReference.create_empty().schema
    return pl.DataFrame([{name: row.get(name) for name in schema} for row in rows], schema=schema)


def _values(of: Sequence[float | None] = (), **columns: Sequence[float | None]) -> pl.DataFrame:
    """The novelty of c0, c1 and so on, and further columns."""
    named = {"novelty": of, **columns} if of else columns
    count = max((len(column) for column in named.values()), default=0)
    return pl.DataFrame(
        {"capture_id": [f"c{number}" for number in range(count)], **named},
        schema={"capture_id": pl.String, **dict.fromkeys(named, pl.Float64)},
    )


def _measure(
    spec: Spec,
    values: pl.DataFrame,
    *reference: Mapping[str, object],
    about: Inspected = ABOUT,
    shares: Mapping[str, float] | None = None,
    lacks: str = "",
) -> dict[str, dict[str, object]]:
    rows = metrics(
        about,
        values,
        shares or {},
        _reference(*reference),
        lacks=lacks,
        spec=spec,
        stored="drift_metrics/d1/values.parquet",
        measured_at=MEASURED,
    )
    assert not DriftMetrics.filter(rows).failure.counts()
    return {row["statistic"]: row for row in rows.iter_rows(named=True)}


def test_frames_as_those_of_the_training_are_no_drift(spec):
    row = _measure(spec, _values(AS_TRAINED), REFERENCE)["novelty"]
    assert (row["verdict"], row["rank"]) == ("ok", 0)
    assert row["psi"] == pytest.approx(0, abs=1e-4)
    assert row["why"] == "PSI 0 is within the tolerance 0.2."


def test_frames_beyond_the_level_are_drift_with_all_figures_beside_them(spec):
    row = _measure(spec, _values(FAR_AWAY), REFERENCE)["novelty"]
    # By hand: shares (0.5, 0.5, 0.5, 40.5) / 42 beside a quarter each.
    q, p = np.array([0.5, 0.5, 0.5, 40.5]) / 42, np.full(4, 0.25)
    assert row["psi"] == pytest.approx(((q - p) * np.log(q / p)).sum())
    assert row["kl"] == pytest.approx((q * np.log(q / p)).sum())
    assert (row["verdict"], row["rank"], row["frames"], row["value"]) == ("drifted", 1, 40, 9)
    assert (row["reference_value"], row["psi_level"], row["kl_level"]) == (2, 1.1, 0.55)
    assert row["why"] == (
        f"PSI {figure(row['psi'])} exceeds its level 1.1 (0.9 quantile of 12 reference deliveries); "
        "median 9, in training 2."
    )


def test_a_row_says_whose_delivery_it_is_and_what_judged_it(spec):
    row = _measure(spec, _values(FAR_AWAY), REFERENCE)["novelty"]
    assert (row["delivery"], row["station"], row["captured_from"]) == ("d1", "el1", NOON)
    assert (row["release"], row["release_number"], row["candidate"]) == ("v1.0.0", 1, "first")
    assert (row["values"], row["measured_at"]) == ("drift_metrics/d1/values.parquet", MEASURED)


def test_the_level_is_exceeded_only_beyond_it(spec):
    psi = _measure(spec, _values(FAR_AWAY), REFERENCE)["novelty"]["psi"]
    row = _measure(spec, _values(FAR_AWAY), {**REFERENCE, "psi_level": psi})["novelty"]
    assert row["verdict"] == "ok"
    assert "is within its level" in row["why"]
    row = _measure(spec, _values(FAR_AWAY), {**REFERENCE, "psi_level": psi * (1 - 1e-7)})["novelty"]
    told, level = row["why"].split(" exceeds its level ")
    assert row["verdict"] == "drifted"
    assert told.removeprefix("PSI ") != level.split(",")[0]


def test_fewer_frames_than_usual_are_held_against_a_higher_level_and_it_is_said(spec):
    usual = {**REFERENCE, "usual_frames": 60}
    row = _measure(spec, _values(FAR_AWAY), usual)["novelty"]
    # 4 bins: 3 / 40 less 3 / 60 more, and half of that for the KL divergence.
    assert (row["psi_level"], row["kl_level"]) == (pytest.approx(1.125), pytest.approx(0.5625))
    assert (
        "exceeds its level 1.12 (0.9 quantile of 12 reference deliveries, raised by 0.025 as 40 frames are fewer "
        in (row["why"])
    )
    just = {**usual, "psi_level": row["psi"] - 0.02, "psi": [row["psi"] - 0.02] * 12}
    row = _measure(spec, _values(FAR_AWAY), just)["novelty"]
    assert (row["verdict"], row["rank"]) == ("ok", 0)
    assert row["why"].endswith("(raised by 0.025 as 40 frames are fewer than the usual 60).")


@pytest.mark.parametrize("usual", [None, 40, 20])
def test_as_many_frames_as_usual_or_an_older_reference_raise_no_level(spec, usual):
    row = _measure(spec, _values(FAR_AWAY), {**REFERENCE, "usual_frames": usual})["novelty"]
    assert row["psi_level"] == 1.1
    assert "raised" not in row["why"]


def test_a_reference_that_lacks_the_column_is_read(spec):
    older = _reference(REFERENCE).drop("usual_frames")
    told = {"lacks": "", "spec": spec, "stored": "a", "measured_at": MEASURED}
    rows = metrics(ABOUT, _values(FAR_AWAY), {}, older, **told)
    assert rows["psi_level"].to_list() == [1.1]


def test_novelty_below_that_of_the_training_is_never_drift(spec):
    row = _measure(spec, _values(NEARER), REFERENCE)["novelty"]
    assert row["psi"] > 1.1
    assert (row["verdict"], row["rank"]) == ("ok", 0)
    assert "but its values are lower than in training: no drift; median 0.5, in training 2" in row["why"]


def test_a_plain_statistic_drifts_to_either_side(spec):
    plain = {**REFERENCE, "statistic": "decoded.focus", "role": "warns", "side": "both"}
    for values in (NEARER, FAR_AWAY):
        row = _measure(spec, _values(**{"decoded.focus": values}), plain)["decoded.focus"]
        assert (row["verdict"], row["role"]) == ("drifted", "warns")


def test_the_spec_says_which_of_the_two_measures_counts(spec):
    by_kl = spec.model_copy(update={"drift": spec.drift.model_copy(update={"measure": "kl"})})
    strict_psi = {**REFERENCE, "psi_level": 0.0, "kl_level": 9.0}
    assert _measure(spec, _values(FAR_AWAY), strict_psi)["novelty"]["verdict"] == "drifted"
    row = _measure(by_kl, _values(FAR_AWAY), strict_psi)["novelty"]
    assert row["verdict"] == "ok"
    assert row["why"].startswith("KL divergence 1.")


def test_a_difference_within_the_tolerance_is_no_drift_however_alike_the_references_deliveries_are(spec):
    alike = {**REFERENCE, "psi_level": 0.001, "psi": [0.001] * 12}
    row = _measure(spec, _values([0.5, 1.5, 2.5, 3.5, 3.5] * 8), alike)["novelty"]
    assert 0.001 < row["psi"] <= 0.2
    assert (row["verdict"], row["rank"]) == ("ok", 0)


def test_a_delivery_with_too_few_frames_gets_no_verdict(spec):
    row = _measure(spec, _values(FAR_AWAY[:29]), REFERENCE)["novelty"]
    assert (row["verdict"], row["psi"], row["rank"], row["value"]) == ("not_enough", None, None, 9)
    assert row["why"] == "29 frames have a value; a verdict needs 30."
    assert _measure(spec, _values(FAR_AWAY[:30]), REFERENCE)["novelty"]["verdict"] == "drifted"


def test_without_one_accepted_frame_there_is_no_verdict(spec):
    row = _measure(spec, _values(), REFERENCE)["novelty"]
    assert (row["verdict"], row["frames"], row["value"]) == ("not_enough", 0, None)


def test_a_reference_of_too_few_deliveries_gives_figures_and_no_verdict(spec):
    uncalibrated = {**REFERENCE, "calibrated": False, "deliveries": 4}
    row = _measure(spec, _values(FAR_AWAY), uncalibrated)["novelty"]
    assert (row["verdict"], row["rank"]) == ("not_calibrated", None)
    assert row["psi"] > 1
    assert "4 deliveries of the reference are too few" in row["why"]


def test_a_reference_without_a_level_is_not_calibrated(spec):
    row = _measure(spec, _values(FAR_AWAY), {**REFERENCE, "psi_level": None, "psi": []})["novelty"]
    assert row["verdict"] == "not_calibrated"


@pytest.mark.parametrize("nothing", [{"edges": [], "counts": []}, {"counts": [0, 0, 0, 0]}])
def test_a_reference_whose_frames_have_no_value_is_none(spec, nothing):
    row = _measure(spec, _values(FAR_AWAY), {**REFERENCE, "median": None, **nothing})["novelty"]
    assert row["verdict"] == "no_reference"
    assert row["why"] == "There is no reference: the training frames of v1.0.0 have no value of it."


def test_without_a_reference_every_statistic_has_its_row_and_says_why(spec):
    rows = _measure(spec, _values(FAR_AWAY), lacks="v1.0.0 was released without a drift_reference")
    assert list(rows) == expected(_reference(), "cnn")
    assert {"decoded.brightness", "prepared.focus", "novelty", "score.cnn"} <= rows.keys()
    assert {row["verdict"] for row in rows.values()} == {"no_reference"}
    assert rows["novelty"]["why"] == "There is no reference: v1.0.0 was released without a drift_reference."
    assert (rows["novelty"]["role"], rows["decoded.focus"]["role"]) == ("alarms", "warns")
    assert rows["novelty"]["value"] == 9


def test_nan_is_no_value(spec):
    row = _measure(spec, _values([*FAR_AWAY[:29], float("nan"), None]), REFERENCE)["novelty"]
    assert (row["verdict"], row["frames"]) == ("not_enough", 29)


def test_infinities_count_in_the_outer_bins(spec):
    row = _measure(spec, _values([float("inf")] * 39 + [float("-inf")]), REFERENCE)["novelty"]
    assert (row["verdict"], row["value"]) == ("drifted", None)
    assert row["psi"] < 10


def test_a_reference_without_a_median_can_be_exceeded(spec):
    assert _measure(spec, _values(FAR_AWAY), {**REFERENCE, "median": None})["novelty"]["verdict"] == "drifted"


def test_one_outlier_among_many_does_not_hide_a_shift(spec):
    shifted = [3.5] * 400
    without = _measure(spec, _values(shifted), REFERENCE)["novelty"]["psi"]
    beside = _measure(spec, _values([*shifted, 1e9]), REFERENCE)["novelty"]["psi"]
    assert beside == pytest.approx(without, rel=0.01)


def test_a_constant_statistic_that_stays_is_no_drift_and_one_that_moves_is(spec):
    constant = {
        **REFERENCE,
        "statistic": "prepared.dark_share",
        "role": "warns",
        "side": "both",
        "median": 0.0,
        "edges": [0.0, float(np.nextafter(0, 1))],
        "counts": [0, 400, 0],
        "psi": [0.0] * 12,
        "psi_level": 0.0,
    }
    stayed = _measure(spec, _values(**{"prepared.dark_share": [0.0] * 40}), constant)
    assert stayed["prepared.dark_share"]["verdict"] == "ok"
    moved = _measure(spec, _values(**{"prepared.dark_share": [0.1] * 40}), constant)
    assert moved["prepared.dark_share"]["verdict"] == "drifted"


def test_only_the_released_model_has_a_score_to_compare(spec):
    scores = [
        {**REFERENCE, "statistic": f"score.{model}", "role": "warns", "side": "both"}
        for model in ("cnn", "vit")
    ]
    rows = _measure(spec, _values(**{"score.cnn": FAR_AWAY}), *scores)
    assert list(rows) == ["score.cnn"]
    assert unmeasured(pl.DataFrame(list(rows.values())), _reference(*scores), "cnn").is_empty()


def test_a_statistic_that_was_not_measured_or_twice_is_found():
    rows = pl.DataFrame({"statistic": ["novelty", "novelty"]})
    found = unmeasured(rows, _reference(REFERENCE, SHARE), "cnn")
    assert found.rows() == [("novelty", 2), ("rejected", 0)]


@pytest.mark.parametrize(
    ("rejected", "verdict", "told"),
    [
        (0.05, "ok", "2 of 40 captures (5 %), within the 8 % of its level."),
        (0.08, "ok", "3 of 40 captures (8 %), within the 8 % of its level."),
        (0.1, "drifted", "4 of 40 captures (10 %), more than the 8 % of its level."),
    ],
)
def test_a_share_beyond_the_spec_and_beyond_what_the_reference_had_is_the_stations(
    spec, rejected, verdict, told
):
    row = _measure(spec, _values(), SHARE, shares={"rejected": rejected})["rejected"]
    assert (row["role"], row["verdict"], row["why"]) == ("station", verdict, told)
    assert (row["psi"], row["kl"], row["frames"], row["value"]) == (None, None, 40, rejected)


def test_a_share_needs_neither_a_release_nor_a_reference(spec):
    nothing = replace(
        ABOUT, release=None, release_number=None, candidate=None, model=None, undecided="no release"
    )
    rows = _measure(spec, _values(), about=nothing, shares={"rejected": 0.1, "repeated": 0.05}, lacks="none")
    assert (rows["rejected"]["verdict"], rows["repeated"]["verdict"]) == ("drifted", "ok")
    assert rows["rejected"]["why"] == "4 of 40 captures (10 %), more than the 5 % of the spec."
    assert (rows["rejected"]["release"], rows["rejected"]["rank"]) == (None, None)


def test_a_level_of_too_few_deliveries_lets_no_share_pass(spec):
    rows = _measure(spec, _values(), {**SHARE, "calibrated": False}, shares={"rejected": 0.06})
    assert rows["rejected"]["verdict"] == "drifted"


def test_repeated_frames_have_a_bound_of_their_own(spec):
    frozen = spec.model_copy(update={"drift": spec.drift.model_copy(update={"max_repeated": 0.5})})
    rows = _measure(frozen, _values(), shares={"rejected": 0.4, "repeated": 0.4})
    assert (rows["rejected"]["verdict"], rows["repeated"]["verdict"]) == ("drifted", "ok")


def test_a_share_of_too_few_captures_gets_no_verdict(spec):
    rows = _measure(spec, _values(), SHARE, about=replace(ABOUT, captures=29), shares={"rejected": 1.0})
    assert (rows["rejected"]["verdict"], rows["rejected"]["rank"]) == ("not_enough", None)


def test_a_reason_that_only_the_reference_knows_has_a_share_of_zero(spec):
    rows = _measure(spec, _values(), {**SHARE, "statistic": "rejected.low_focus"}, shares={"rejected": 0.0})
    assert rows["rejected.low_focus"]["value"] == 0


def test_what_captures_were_rejected_for_is_said(spec):
    shares = {
        "rejected": 0.1,
        "rejected.low_focus": 0.075,
        "rejected.too_dark": 0.025,
        "rejected.no_cell": 0.0,
    }
    told = _measure(spec, _values(), SHARE, shares=shares)["rejected"]["why"]
    assert (
        told == "4 of 40 captures, 3 for low_focus and 1 for too_dark (10 %), more than the 8 % of its level."
    )


def test_a_share_within_the_spec_is_not_unusual(spec):
    assert _measure(spec, _values(), SHARE, shares={"rejected": 0.05})["rejected"]["rank"] == 0
    assert _measure(spec, _values(), SHARE, shares={"rejected": 0.07})["rejected"]["rank"] == pytest.approx(
        11 / 12
    )


def _verdicts(*changes: Mapping[str, object]) -> pl.DataFrame:
    """Verdicts on captures c0, c1 and so on, one every ten seconds; `changes` replaces columns of each."""
    schema = Inspections.create_empty().schema
    rows = [
        {
            "capture_id": f"c{number}",
            "captured_at": NOON + timedelta(seconds=10 * number),
            "station": "el1",
            "delivery": "d1",
            "frame_id": f"{number:064x}",
            "prepared_path": f"prepared_frames/d1/{number}.png",
            "reason": "below_lower",
            "defect_score": 0.1 * number,
            "release": "v1.0.0",
            "release_number": 1,
            "candidate": "first",
            "model": "cnn",
            **changed,
        }
        for number, changed in enumerate(changes)
    ]
    return pl.DataFrame([{name: row.get(name) for name in schema} for row in rows], schema=schema)


def test_what_judged_a_delivery_and_when_it_was_captured_is_read_from_its_verdicts():
    about = inspected(_verdicts({}, {"reason": "preparation_changed"}, {"reason": "frame_rejected"}))
    assert about == replace(ABOUT, captured_to=NOON + timedelta(seconds=20), captures=3, other_pass=1)


def test_a_delivery_without_captures_is_nothing_to_measure():
    assert inspected(_verdicts()) is None


@pytest.mark.parametrize("stations", [("el1", "el2"), ("el1", None), (None, None)])
def test_a_station_that_is_unknown_or_mixed_is_null(stations):
    about = inspected(_verdicts(*({"station": station} for station in stations)))
    assert about is not None
    assert about.station is None


def test_a_delivery_that_no_release_judged_says_why():
    nothing = {"release": None, "release_number": None, "candidate": None, "model": None}
    why = "the class that passes is good by now"
    about = inspected(
        _verdicts(
            {**nothing, "reason": "frame_rejected", "why": "low_focus 3.10"},
            {**nothing, "reason": "no_release", "why": why},
        )
    )
    assert about is not None
    assert (about.candidate, about.undecided) == (None, why)


def test_a_frame_counts_once_however_often_it_was_delivered():
    verdicts = _verdicts({}, {"frame_id": f"{0:064x}"}, {})
    assert comparable(_values([1.0, 1.0, 2.0]), verdicts, "cnn")["novelty"].to_list() == [1, 2]


def test_a_rejected_frame_does_not_count():
    verdicts = _verdicts({}, {"prepared_path": None, "reason": "frame_rejected", "defect_score": None})
    found = comparable(_values(**{"decoded.focus": [9.0, 0.1]}), verdicts, "cnn")
    assert found.to_dicts() == [{"capture_id": "c0", "decoded.focus": 9, "score.cnn": 0}]


def test_of_a_frame_of_another_pass_only_the_decoded_image_can_be_compared(spec):
    verdicts = _verdicts({"reason": "preparation_changed", "defect_score": None}, {})
    values = _values(**{"decoded.focus": [1.0, 2.0], "prepared.focus": [3.0, 4.0]})
    assert comparable(values, verdicts, "cnn").to_dicts() == [
        {"capture_id": "c0", "decoded.focus": 1, "prepared.focus": None, "score.cnn": None},
        {"capture_id": "c1", "decoded.focus": 2, "prepared.focus": 4, "score.cnn": pytest.approx(0.1)},
    ]
    row = _measure(spec, _values([None] * 40), REFERENCE, about=replace(ABOUT, other_pass=40))["novelty"]
    assert row["why"] == (
        "0 frames have a value; 40 went through another pass than the training frames; a verdict needs 30."
    )


def _rows(spec: Spec, values: Sequence[float], *, measured_at: datetime = MEASURED) -> pl.DataFrame:
    return metrics(
        ABOUT,
        _values(values),
        {"rejected": 0.1},
        _reference(REFERENCE, SHARE),
        lacks="",
        spec=spec,
        stored="a",
        measured_at=measured_at,
    )


def test_measured_again_only_the_time_differs(spec):
    before, now = _rows(spec, FAR_AWAY), _rows(spec, FAR_AWAY, measured_at=MEASURED + timedelta(days=1))
    assert before.drop("measured_at").equals(now.drop("measured_at"))
    assert says_the_same(before, now)
    assert changed_figures(before, now).is_empty()


def test_rounding_changes_nothing(spec):
    before = _rows(spec, FAR_AWAY)
    now = before.with_columns(pl.col("psi", "value") * (1 + 1e-9), values=pl.lit("b"))
    assert says_the_same(before, now)
    assert changed_figures(before, now).is_empty()


def test_another_figure_against_the_same_reference_is_found(spec):
    found = changed_figures(_rows(spec, FAR_AWAY), _rows(spec, [8.0] * 40))
    assert found.rows() == [("novelty", "value", 9, 8)]
    assert not says_the_same(_rows(spec, FAR_AWAY), _rows(spec, [8.0] * 40))


def test_another_tolerance_may_change_a_verdict_and_no_figure(spec):
    lenient = spec.model_copy(update={"drift": spec.drift.model_copy(update={"tolerance": 9.0})})
    before, now = _rows(spec, FAR_AWAY), _rows(lenient, FAR_AWAY)
    assert changed_figures(before, now).is_empty()
    assert not says_the_same(before, now)


def test_what_had_no_reference_may_be_measured_when_it_is_there(spec):
    without = metrics(
        ABOUT, _values(FAR_AWAY), {}, _reference(), lacks="none", spec=spec, stored="a", measured_at=MEASURED
    )
    assert changed_figures(without, _rows(spec, FAR_AWAY)).is_empty()


@pytest.mark.parametrize(
    ("value", "told"),
    [
        (0.0, "0"),
        (1.2345, "1.23"),
        (12345.0, "12300"),
        (5e-324, "4.94e-324"),
        (-2e9, "-2e+09"),
        (float("inf"), "inf"),
    ],
)
def test_a_figure_has_three_digits_and_is_never_long(value, told):
    assert figure(value) == told


_NUMBERS = st.one_of(
    st.none(), st.floats(allow_nan=True, allow_infinity=True), st.sampled_from([0.0, 1.0, 2.0])
)


@given(
    st.lists(_NUMBERS, max_size=60),
    st.lists(_NUMBERS, max_size=60),
    st.booleans(),
    st.sampled_from([None, 0.0, 1.0]),
    st.sampled_from(["both", "above"]),
    st.floats(0, 1),
    st.integers(1, 60),
)
def test_no_values_of_frames_break_it(spec, novelty, focus, calibrated, level, side, share, captures):
    plain = {**REFERENCE, "statistic": "decoded.focus", "role": "warns", "side": side, "psi_level": level}
    longest = max(len(novelty), len(focus))
    padded = {
        name: column + [None] * (longest - len(column))
        for name, column in (("novelty", novelty), ("decoded.focus", focus))
    }
    rows = _measure(
        spec,
        _values(**padded),
        {**REFERENCE, "calibrated": calibrated},
        plain,
        SHARE,
        about=replace(ABOUT, captures=captures),
        shares={"rejected": share},
    )
    for row in rows.values():
        enough = row["frames"] >= spec.drift.min_frames
        assert (row["verdict"] in ("ok", "drifted", "not_calibrated")) == enough
        assert row["why"].endswith(".")


@given(st.lists(st.floats(0, 9), min_size=30, max_size=60), st.randoms(use_true_random=False))
def test_the_order_of_frames_changes_no_figure(spec, values, random):
    shuffled = random.sample(values, len(values))
    assert _measure(spec, _values(values), REFERENCE) == _measure(spec, _values(shuffled), REFERENCE)
