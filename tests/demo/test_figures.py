from datetime import UTC, datetime

import polars as pl
import pytest
from hypothesis import given
from hypothesis import strategies as st
from make_story import report

from cv_assets.evaluation.band import OperatingBand, verdict
from cv_assets.evaluation.metrics import measurement, overall
from cv_assets.evaluation.report import judge_frames
from cv_assets.spec.evaluation import Evaluation
from cv_assets.spec.load import load_spec
from demo.figures import estimates, golden_figures, span, values, verdict_figures
from resources.deployments import ROOT

SPEC = load_spec(ROOT / "specs" / "solar_cells.yaml")
SETTINGS: Evaluation = SPEC.evaluation
BAND = OperatingBand(0.3, 0.7)


def inspected(*said: tuple[str, str, str]) -> pl.DataFrame:
    """Captures with frame, group and verdict."""
    return pl.DataFrame(said, schema=["frame_id", "group", "verdict"], orient="row")


def test_each_figure_is_the_share_that_its_name_says():
    rows = inspected(
        ("escaped", "m1", "PASS"),
        ("caught", "m1", "FAIL"),
        ("seen", "m2", "REVIEW"),
        ("failed", "m2", "FAIL"),
        ("passed", "m2", "PASS"),
    )
    defective = {"escaped": True, "caught": True, "seen": True, "failed": False, "passed": False}
    figures = verdict_figures(rows, defective, SETTINGS)
    assert values(figures) == {
        "escape": pytest.approx(1 / 3),
        "overkill": pytest.approx(1 / 2),
        "precision": pytest.approx(1 / 2),
        "review": pytest.approx(1 / 5),
    }
    assert {name: one.samples for name, one in figures.items()} == {
        "escape": 3, "overkill": 2, "precision": 2, "review": 5,
    }  # fmt: skip


def test_a_share_of_nothing_is_not_defined():
    figures = verdict_figures(
        inspected(("a", "m1", "PASS"), ("b", "m2", "PASS")), {"a": False, "b": False}, SETTINGS
    )
    assert values(figures) == {"escape": None, "overkill": 0.0, "precision": None, "review": 0.0}


def test_a_frame_whose_truth_the_plant_does_not_know_is_an_error():
    with pytest.raises(KeyError, match="stranger"):
        verdict_figures(inspected(("stranger", "m1", "PASS")), {}, SETTINGS)


@given(st.lists(st.tuples(st.floats(0, 1), st.booleans(), st.sampled_from("abc")), min_size=1, max_size=30))
def test_on_scored_captures_they_are_the_figures_that_an_evaluation_reports(
    captures: list[tuple[float, bool, str]],
):
    frames = pl.DataFrame(
        [
            {
                "frame_id": str(number),
                "group": group,
                "label": "defective" if defective else "sound",
                "scores": [1 - score, score],
                # As the product does, from the stored vector: 1 - (1 - score) is not always the score.
                "verdict": verdict(min(max(1 - (1 - score), 0), 1), BAND),
            }
            for number, (score, defective, group) in enumerate(captures)
        ]
    )
    truth = {str(number): defective for number, (_, defective, _) in enumerate(captures)}
    reported = overall(judge_frames(frames, SPEC), BAND, 10)
    for one in verdict_figures(frames, truth, SETTINGS).values():
        assert one == measurement("all", one.metric, reported[one.metric], SETTINGS)


def test_the_golden_figures_are_those_of_the_released_model_on_all_golden_frames():
    other = report(escape_rate=0.9, overkill=0.9, fail_precision=0.9, review_share=0.9)
    rows = pl.concat(
        [
            report(escape_rate=0.1, overkill=0.2, fail_precision=None, review_share=0.4, roc_auc=0.9),
            other.with_columns(model=pl.lit("vit")),
            other.with_columns(set=pl.lit("out_of_fold")),
            other.with_columns(slice=pl.lit("product=mono")),
        ]
    )
    figures = golden_figures(rows, "cnn")
    assert values(figures) == {"escape": 0.1, "overkill": 0.2, "precision": None, "review": 0.4}
    assert (figures["escape"].interval.low, figures["escape"].samples, figures["escape"].groups) == (
        0.0,
        9,
        3,
    )


def test_figures_that_are_not_reported_are_an_error():
    with pytest.raises(ValueError, match=r"report of cnn lacks .*'overkill'"):
        golden_figures(report(escape_rate=0.1), "cnn")


def test_a_figure_that_is_not_defined_is_told_so():
    assert span(None, None) == "undefined to undefined"
    assert span(0.0312, 0.5) == "0.031 to 0.500"


def kpi(metric: str, until: str, day: int, deliveries: int, value: float | None) -> dict[str, object]:
    """A row of kpis: the window that ends with `until`, on that day."""
    verdict = "not_enough" if value is None else "met"
    at = datetime(2026, 3, day, tzinfo=UTC)
    return {
        "metric": metric, "until": until, "captured_to": at, "deliveries": deliveries,
        "value": value, "low": value, "high": value, "verdict": verdict,
    }  # fmt: skip


def test_the_newest_estimate_stands_beside_the_truth_on_the_deliveries_that_it_is_about():
    verdicts = inspected(("a", "m1", "FAIL"), ("b", "m1", "PASS"), ("c", "m2", "FAIL"), ("d", "m2", "PASS"))
    days = [datetime(2026, 3, day, tzinfo=UTC) for day in (1, 1, 2, 2)]
    verdicts = verdicts.with_columns(
        delivery=pl.Series(["d1", "d1", "d2", "d2"]), captured_at=pl.Series(days)
    )
    truth = {"a": True, "b": False, "c": False, "d": False}
    rows = pl.DataFrame([kpi("overkill", "d1", 1, 1, 0.0), kpi("overkill", "d2", 2, 1, 0.4)])
    (one,) = estimates(rows, verdicts, truth, SETTINGS)
    assert (one.name, one.value, one.truth, one.deliveries) == ("overkill", 0.4, 0.5, 1)
    (whole,) = estimates(pl.DataFrame([kpi("overkill", "d2", 2, 2, 0.4)]), verdicts, truth, SETTINGS)
    assert whole.truth == pytest.approx(1 / 3)
    assert whole.words == "overkill over 2 deliveries: 0.400 (0.400 to 0.400), by the truth 0.333; met"


def test_an_estimate_that_rests_on_too_little_says_so():
    verdicts = inspected(("a", "m1", "PASS")).with_columns(
        delivery=pl.lit("d1"), captured_at=pl.lit(datetime(2026, 3, 1, tzinfo=UTC))
    )
    (one,) = estimates(pl.DataFrame([kpi("escape_rate", "d1", 1, 1, None)]), verdicts, {"a": False}, SETTINGS)
    assert one.words == "escape over 1 deliveries: undefined, by the truth undefined; not_enough"
