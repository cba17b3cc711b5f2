"""Acceptance: which of a candidate's models is proposed, and whether it meets every criterion of the spec.

The model is chosen by out-of-fold figures alone: to choose by the benchmark would be to train on it. Missing evidence
is a criterion that is not met.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

import polars as pl

from cv_assets.evaluation.band import OperatingBand
from cv_assets.evaluation.schema import ReleaseDecision
from cv_assets.spec.evaluation import SMALLER_IS_BETTER, Criterion

LOWER_THRESHOLD: Final = "lower_threshold"
UPPER_THRESHOLD: Final = "upper_threshold"
"""Metrics of the out-of-fold set that hold a model's operating band."""


@dataclass(frozen=True)
class Choice:
    """The model that a candidate proposes, and why in words. `sound` is false when nothing spoke for any model."""

    model: str
    why: str
    sound: bool


def choose_model(report: pl.DataFrame, models: Sequence[str], select_by: str) -> Choice:
    """The model with the best out-of-fold value of `select_by`; of equal ones the first in the spec.

    Raises ValueError when there is no model.
    """
    if not models:
        raise ValueError("a candidate needs at least one model")
    values = {model: _value(report, model, select_by) for model in models}
    known = {model: value for model, value in values.items() if value is not None}
    if not known:
        return Choice(models[0], f"{select_by} is not defined out of fold for any model", sound=False)
    best = (min if select_by in SMALLER_IS_BETTER else max)(known, key=lambda model: known[model])
    told = ", ".join(f"{name} {_number(value)}" for name, value in values.items())
    return Choice(best, f"best {select_by} out of fold: {told}", sound=True)


def band_of(report: pl.DataFrame, model: str) -> OperatingBand:
    """The operating band that the report holds for a model. Raises ValueError when it holds none."""
    lower, upper = _value(report, model, LOWER_THRESHOLD), _value(report, model, UPPER_THRESHOLD)
    if lower is None or upper is None:
        raise ValueError(f"the evaluation report holds no operating band for {model!r}")
    return OperatingBand(lower, upper)


def decide(
    report: pl.DataFrame,
    criteria: Sequence[Criterion],
    choice: Choice,
    *,
    candidate: str,
    released_version: str | None,
) -> pl.DataFrame:
    """One row of `ReleaseDecision` per criterion, in the order of the spec."""
    band = band_of(report, choice.model)
    rows = []
    for number, criterion in enumerate(criteria, start=1):
        found = report.filter(
            pl.col("model") == choice.model,
            pl.col("set") == criterion.set,
            pl.col("slice") == criterion.slice,
            pl.col("metric") == criterion.metric,
        )
        measured = found.row(0, named=True) if found.height else None
        passed, why = judge(criterion, measured) if choice.sound else (False, f"no model: {choice.why}")
        rows.append(
            {
                "number": number,
                "candidate": candidate,
                "criterion": in_words(criterion),
                "metric": criterion.metric,
                "set": criterion.set,
                "slice": criterion.slice,
                "required": _required(criterion),
                "comparison": "at_most" if criterion.at_least is None else "at_least",
                "judge": criterion.judge,
                **_evidence(measured),
                "passed": passed,
                "why": why,
                "model": choice.model,
                "lower": band.lower,
                "upper": band.upper,
                "released_version": released_version,
            }
        )
    return pl.DataFrame(rows, schema=ReleaseDecision.create_empty().schema)


def judge(criterion: Criterion, measured: Mapping[str, Any] | None) -> tuple[bool, str]:
    """Whether a row of the report meets a criterion, and why in words. None, null or too few frames do not."""
    where = f"{criterion.metric} on {_frames(criterion)}"
    if measured is None:
        return False, f"missing evidence: {where} was not measured"
    samples, told = measured["samples"], f"{where} is {_interval(measured)}"
    if measured["value"] is None:
        return False, f"missing evidence: {where} is not defined on its {_counted(samples, 'frame')}"
    if samples < criterion.min_samples:
        return False, f"missing evidence: {told}; {criterion.min_samples} frames are required"
    worse_end = "high" if criterion.at_least is None else "low"
    counts = measured[worse_end if criterion.judge == "bound" else "value"]
    if counts is None:
        return False, f"missing evidence: {told}, too few frames for the {worse_end} end of its interval"
    sign = -1 if criterion.at_least is None else 1
    passed = sign * counts >= sign * _required(criterion)
    return passed, f"{told}; {_demand(criterion)} is {'met' if passed else 'not met'}"


def in_words(criterion: Criterion) -> str:
    """A criterion as people read it."""
    few = f", on {criterion.min_samples} frames or more" if criterion.min_samples > 1 else ""
    return f"{criterion.metric} on {_frames(criterion)}: {_demand(criterion)}{few}"


def _demand(criterion: Criterion) -> str:
    side = "at most" if criterion.at_least is None else "at least"
    end = f" ({'upper' if criterion.at_least is None else 'lower'} end of its interval)"
    return f"{side} {_required(criterion):g}{end if criterion.judge == 'bound' else ''}"


def _frames(criterion: Criterion) -> str:
    among = "" if criterion.slice == "all" else f" with {criterion.slice}"
    return f"{criterion.set} frames{among}"


def _required(criterion: Criterion) -> float:
    bound = criterion.at_most if criterion.at_least is None else criterion.at_least
    if bound is None:
        raise ValueError(f"a criterion on {criterion.metric} needs `at_least` or `at_most`")
    return bound


def _interval(measured: Mapping[str, Any]) -> str:
    ends = f"[{_number(measured['low'])}, {_number(measured['high'])}]"
    frames, groups = _counted(measured["samples"], "frame"), _counted(measured["groups"], "group")
    return f"{_number(measured['value'])} {ends} on {frames} of {groups}"


def _counted(number: int, what: str) -> str:
    return f"{number} {what}" if number == 1 else f"{number} {what}s"


def _number(value: float | None) -> str:
    return "unknown" if value is None else f"{value:.3f}" if abs(value) < 10 else f"{value:.1f}"


def _evidence(measured: Mapping[str, Any] | None) -> dict[str, Any]:
    found = measured or {"value": None, "low": None, "high": None, "samples": 0}
    return {"measured": found["value"], **{name: found[name] for name in ("low", "high", "samples")}}


def _value(report: pl.DataFrame, model: str, metric: str) -> float | None:
    rows = report.filter(
        pl.col("model") == model,
        pl.col("set") == "out_of_fold",
        pl.col("slice") == "all",
        pl.col("metric") == metric,
    )
    return rows["value"][0] if rows.height else None
