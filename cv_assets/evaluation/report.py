"""The evaluation report: all models of a candidate on all sets, as rows of `EvaluationReport`.

Scores are one row per model and judged frame; `scores` has a probability per class, in the spec's order.
"""

from collections.abc import Mapping, Sequence
from typing import Any, Final

import numpy as np
import polars as pl
from numpy.typing import NDArray

from cv_assets.evaluation.acceptance import LOWER_THRESHOLD, UPPER_THRESHOLD
from cv_assets.evaluation.band import OperatingBand, choose_band, verdict
from cv_assets.evaluation.metrics import Judged, Measurement, mean, measure, measurement
from cv_assets.evaluation.schema import EvaluationReport
from cv_assets.frames.captures import attribute
from cv_assets.reference.quantiles import Interval, quantile_interval
from cv_assets.spec.schema import Spec

JUDGING: Final = ("test", "golden", "challenge")
"""Sets that a model scores for the first time when it is evaluated."""

SCORES: Final = ("model", "set", "frame_id", "group", "label", "attributes", "scores")
"""Columns of scores."""


def out_of_fold_scores(checkpoint: pl.DataFrame, split_table: pl.DataFrame) -> pl.DataFrame:
    """What models that never saw a training frame's group said of it, as rows of `SCORES`."""
    scored = checkpoint.select("model", "out_of_fold").explode("out_of_fold").unnest("out_of_fold")
    train = split_table.filter(pl.col("role") == "train")
    return _as_scores(train.join(scored, on="frame_id").with_columns(set=pl.lit("out_of_fold")))


def judging_scores(model: str, frames: pl.DataFrame, scores_NC: NDArray[np.float64]) -> pl.DataFrame:
    """What a model said of `frames`, rows of the split table, as rows of `SCORES`."""
    said = pl.Series("scores", scores_NC.tolist(), dtype=pl.List(pl.Float64))
    return _as_scores(frames.with_columns(said, model=pl.lit(model), set=pl.col("role")))


def _as_scores(rows: pl.DataFrame) -> pl.DataFrame:
    return rows.select(SCORES).sort("set", "frame_id")


def bands(scores: pl.DataFrame, spec: Spec) -> dict[str, OperatingBand]:
    """Each model's operating band, chosen on its out-of-fold scores. Raises ValueError when there are none."""
    chosen = {}
    for model in scores["model"].unique(maintain_order=True):
        judged = judge_frames(scores.filter(pl.col("model") == model, pl.col("set") == "out_of_fold"), spec)
        chosen[model] = choose_band(judged.defect, judged.defective, spec.evaluation.band)
    return chosen


def judge_frames(scores: pl.DataFrame, spec: Spec) -> Judged:
    """One model's scores of one set, as arrays. Raises ValueError for a label that the spec does not have."""
    names = spec.class_names
    if unknown := sorted(set(scores["label"]) - set(names)):
        raise ValueError(f"labels {unknown} are not among the classes {list(names)}")
    said_NC = np.array(scores["scores"].to_list(), dtype=np.float64).reshape(scores.height, len(names))
    return Judged(
        scores=said_NC,
        truth=np.array([names.index(label) for label in scores["label"]], dtype=np.intp),
        groups=np.array(scores["group"].to_list(), dtype=np.str_),
        classes=names,
        passing=names.index(spec.pass_class),
    )


def report(
    scores: pl.DataFrame,
    operating_bands: Mapping[str, OperatingBand],
    agreement: Mapping[str, float],
    latencies_ms: Mapping[tuple[str, str], Sequence[float]],
    spec: Spec,
) -> pl.DataFrame:
    """All metrics of all models, sets and slices, as rows of `EvaluationReport`.

    `agreement` is the share of votes behind each frame's label, `latencies_ms` the measured latencies by model and set.
    """
    rows = []
    for (model, set_), part in scores.group_by("model", "set", maintain_order=True):
        band = operating_bands[str(model)]
        measured = measure_set(part, band, spec)
        if set_ not in ("golden", "challenge"):
            measured += _agreement(part, agreement, spec)
        measured += _latency(latencies_ms.get((str(model), str(set_)), ()), spec)
        if set_ == "out_of_fold":
            measured += _thresholds(part, band, spec)
        rows += [_row(str(model), str(set_), one) for one in measured]
    return pl.DataFrame(rows, schema=EvaluationReport.create_empty().schema)


def measure_set(scores: pl.DataFrame, band: OperatingBand, spec: Spec) -> list[Measurement]:
    """All metrics of one model on one set: on all frames, each class and each operating condition."""
    slices = {
        f"{name}={value}": scores.select(attribute(name).fill_null("") == value).to_series().to_numpy()
        for name, values in spec.conditions.items()
        for value in values
    }
    return measure(judge_frames(scores, spec), band, slices, spec.evaluation)


def with_verdicts(
    scores: pl.DataFrame, operating_bands: Mapping[str, OperatingBand], spec: Spec
) -> pl.DataFrame:
    """`scores` with `defect_score` and the `verdict` of the model's own band."""
    passing = spec.class_names.index(spec.pass_class)
    defect = (1 - scores["scores"].list.get(passing)).clip(0, 1)
    said = [
        verdict(score, operating_bands[model]) for score, model in zip(defect, scores["model"], strict=True)
    ]
    return scores.with_columns(defect_score=defect, verdict=pl.Series(said, dtype=pl.String))


def _agreement(scores: pl.DataFrame, agreement: Mapping[str, float], spec: Spec) -> list[Measurement]:
    known = scores.filter(pl.col("frame_id").is_in(list(agreement)))
    judged = judge_frames(known, spec)
    said = np.array([agreement[frame_id] for frame_id in known["frame_id"]], dtype=np.float64)
    return [measurement("all", "label_agreement", mean(said, judged.group), spec.evaluation)]


def _latency(latencies_ms: Sequence[float], spec: Spec) -> list[Measurement]:
    if not len(latencies_ms):
        return []
    interval = quantile_interval(np.asarray(latencies_ms, dtype=np.float64), 0.95, spec.evaluation.confidence)
    # One machine measured them all: groups of frames have no part in it.
    return [Measurement("all", "latency_p95_ms", interval, len(latencies_ms), 1)]


def _thresholds(scores: pl.DataFrame, band: OperatingBand, spec: Spec) -> list[Measurement]:
    judged = judge_frames(scores, spec)
    rests_on = {LOWER_THRESHOLD: judged.defective, UPPER_THRESHOLD: judged.defect >= band.upper}
    values = {LOWER_THRESHOLD: band.lower, UPPER_THRESHOLD: band.upper}
    return [
        Measurement(
            "all",
            name,
            Interval(values[name], None, None),
            int(frames_N.sum()),
            len(np.unique(judged.group[frames_N])),
        )
        for name, frames_N in rests_on.items()
    ]


def _row(model: str, set_: str, one: Measurement) -> dict[str, Any]:
    return {
        "model": model,
        "set": set_,
        "slice": one.slice,
        "metric": one.metric,
        "value": one.interval.value,
        "low": one.interval.low,
        "high": one.interval.high,
        "samples": one.samples,
        "groups": one.groups,
    }
