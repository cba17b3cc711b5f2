"""The rows of the evaluation report."""

import contextlib
import itertools
import json
from pathlib import Path
from typing import get_args

import numpy as np
import polars as pl
import pytest
from pydantic import ValidationError

from cv_assets.evaluation.band import OperatingBand
from cv_assets.evaluation.report import bands, judging_scores, out_of_fold_scores, report, with_verdicts
from cv_assets.evaluation.schema import EvaluationReport
from cv_assets.spec.evaluation import SMALLER_IS_BETTER, Metric
from cv_assets.spec.load import load_spec
from cv_assets.spec.schema import Spec

SPEC = load_spec(Path(__file__).parents[3] / "specs" / "solar_cells.yaml")
SETS = ("out_of_fold", "test", "golden", "challenge")
BAND = {"cnn": OperatingBand(0.3, 0.7)}


def frames(role: str, *labels: str, product: str = "mono") -> pl.DataFrame:
    return pl.DataFrame(
        {
            "frame_id": [f"{role}{n}" for n in range(len(labels))],
            "group": [f"{role}-m{n % 2}" for n in range(len(labels))],
            "role": [role] * len(labels),
            "label": labels,
            "attributes": [json.dumps({"product": product})] * len(labels),
        },
        schema_overrides={"label": pl.String},
    )


def scored(rows: pl.DataFrame, *defect: float) -> pl.DataFrame:
    return judging_scores("cnn", rows, np.array([[1 - one, one] for one in defect]))


GOLDEN = scored(frames("golden", "sound", "defective", "defective"), 0.2, 0.25, 0.9)


def figure(rows: pl.DataFrame, metric: str, slice_: str = "all") -> dict:
    return rows.filter(pl.col("metric") == metric, pl.col("slice") == slice_).row(0, named=True)


def test_every_metric_has_a_row_on_every_slice_that_the_spec_names():
    rows = report(GOLDEN, BAND, {}, {}, SPEC)
    EvaluationReport.validate(rows)
    assert rows["slice"].unique().sort().to_list() == [
        "all", "class=defective", "class=sound", "product=mono", "product=poly"
    ]  # fmt: skip
    assert figure(rows, "escape_rate")["value"] == 0.5
    assert figure(rows, "escape_rate", "product=mono")["samples"] == 2
    assert figure(rows, "recall", "class=defective")["value"] == 0.5


def test_a_slice_without_frames_is_a_row_without_a_value():
    row = figure(report(GOLDEN, BAND, {}, {}, SPEC), "escape_rate", "product=poly")
    assert (row["value"], row["low"], row["high"], row["samples"], row["groups"]) == (None, None, None, 0, 0)


def test_label_agreement_is_the_mean_over_the_frames_that_were_voted_on():
    rows = scored(frames("test", "sound", "defective", "defective"), 0.2, 0.25, 0.9)
    row = figure(report(rows, BAND, {"test0": 1.0, "test1": 0.5, "unused": 0.0}, {}, SPEC), "label_agreement")
    assert (row["value"], row["samples"]) == (0.75, 2)


def test_verified_labels_have_no_votes_to_agree():
    rows = report(GOLDEN, BAND, {"golden0": 0.5}, {}, SPEC)
    assert rows.filter(pl.col("metric") == "label_agreement").is_empty()


def test_latency_is_the_95th_percentile_of_what_was_measured():
    row = figure(report(GOLDEN, BAND, {}, {("cnn", "golden"): np.arange(1.0, 101)}, SPEC), "latency_p95_ms")
    assert (row["value"], row["low"], row["high"], row["samples"]) == (95, 90, 100, 100)


def test_scores_out_of_fold_are_those_of_the_frames_that_train():
    checkpoint = pl.DataFrame(
        {
            "model": ["cnn"],
            "out_of_fold": [
                [{"frame_id": f"train{n}", "fold": 0, "scores": [1 - n / 4, n / 4]} for n in range(4)],
            ],
        }
    )
    split = pl.concat(
        [frames("train", "sound", "sound", "defective", "defective"), frames("golden", "sound")]
    )
    rows = out_of_fold_scores(checkpoint, split)
    assert rows.select("set", "frame_id", "label").rows()[2] == ("out_of_fold", "train2", "defective")
    # No defective frame may be lost at one in ten, and from 0.5 on all are defective.
    assert bands(rows, SPEC) == {"cnn": OperatingBand(0.5, 0.5)}
    thresholds = report(rows, bands(rows, SPEC), {}, {}, SPEC)
    assert figure(thresholds, "lower_threshold")["value"] == 0.5


def test_kept_scores_say_the_verdict_of_the_models_own_band():
    kept = with_verdicts(GOLDEN, BAND, SPEC)
    assert kept["verdict"].to_list() == ["PASS", "PASS", "FAIL"]
    assert kept["defect_score"].to_list() == pytest.approx([0.2, 0.25, 0.9])


@pytest.fixture(scope="module")
def every_figure():
    """The report on sets that hold every class and condition, and its rows with a figure."""
    cases = [("sound", "mono"), ("defective", "mono"), ("sound", "poly"), ("defective", "poly")] * 2
    scores = pl.concat(
        scored(frames(set_, label, product=product), 0.2 + place / 10).with_columns(
            frame_id=pl.lit(f"{set_}{place}")
        )
        for set_ in SETS
        for place, (label, product) in enumerate(cases)
    )
    agreement = dict.fromkeys(scores["frame_id"], 1.0)
    rows = report(scores, BAND, agreement, {("cnn", set_): [1.0] for set_ in SETS}, SPEC)
    return rows, rows.filter(pl.col("value").is_not_null(), ~pl.col("metric").str.ends_with("_threshold"))


def test_a_criterion_is_accepted_exactly_where_the_report_has_a_figure(every_figure):
    rows, figures = every_figure
    sections = SPEC.model_dump(mode="json")
    sections["splits"]["shares"] = {"train": 0.5, "test": 0.5}
    accepted = set()
    for asked in itertools.product(SETS, rows["slice"].unique(), get_args(Metric)):
        criterion = dict(zip(("set", "slice", "metric"), asked, strict=True))
        criterion["at_most" if criterion["metric"] in SMALLER_IS_BETTER else "at_least"] = 0.5
        sections["evaluation"]["acceptance"] = [criterion]
        with contextlib.suppress(ValidationError):
            Spec.model_validate(sections)
            accepted.add(asked)
    assert accepted == set(figures.select("set", "slice", "metric").iter_rows())


def test_a_loss_can_be_bounded_exactly_where_the_report_compares(every_figure):
    rows, figures = every_figure
    compared = figures.filter(
        pl.col("set").is_in(("golden", "challenge")), pl.col("metric") != "latency_p95_ms"
    )
    sections, accepted = SPEC.model_dump(mode="json"), set()
    for asked in itertools.product(("golden", "challenge"), rows["slice"].unique(), get_args(Metric)):
        criterion = dict(zip(("set", "slice", "metric"), asked, strict=True))
        sections["evaluation"]["regression"] = [{**criterion, "max_loss": 0.5}]
        with contextlib.suppress(ValidationError):
            Spec.model_validate(sections)
            accepted.add(asked)
    assert accepted == set(compared.select("set", "slice", "metric").iter_rows())


def test_a_label_that_the_spec_does_not_know_is_refused():
    with pytest.raises(ValueError, match=r"labels \['scratch'\] are not among the classes"):
        report(scored(frames("golden", "scratch"), 0.5), BAND, {}, {}, SPEC)
