"""Acceptance: which of a candidate's models is proposed, and whether it meets the bounds of the spec.

The model is chosen by out-of-fold figures alone: to choose by the benchmark would be to train on it. Missing evidence
is a criterion that is not met.
"""

from collections.abc import Container, Sequence
from dataclasses import dataclass
from typing import Final

import polars as pl

from cv_assets.evaluation.band import OperatingBand
from cv_assets.evaluation.rulings import (
    MISSING,
    NOT_APPLICABLE,
    Measured,
    Ruling,
    at_least_frames,
    estimate,
    evidence,
    figure,
    frames_of,
    lacking,
    number,
)
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
    told = ", ".join(f"{name} {number(value)}" for name, value in values.items())
    return Choice(best, f"best {select_by} out of fold: {told}", sound=True)


def band_of(report: pl.DataFrame, model: str) -> OperatingBand:
    """The operating band that the report holds for a model. Raises ValueError when it holds none."""
    lower, upper = _value(report, model, LOWER_THRESHOLD), _value(report, model, UPPER_THRESHOLD)
    if lower is None or upper is None:
        raise ValueError(f"the evaluation report holds no operating band for {model!r}")
    return OperatingBand(lower, upper)


def accept(report: pl.DataFrame, criterion: Criterion, choice: Choice, trained: Container[str]) -> Ruling:
    """Whether the chosen model meets one criterion; `trained` are the conditions that training frames have."""
    measured = figure(report, choice.model, criterion.set, criterion.slice, criterion.metric)
    if criterion.applies == "when_trained" and criterion.slice not in trained:
        passed, why = True, f"{NOT_APPLICABLE}: no training frame has {criterion.slice}"
        measured = None
    elif choice.sound:
        passed, why = judge(criterion, measured)
    else:
        passed, why = False, f"no model: {choice.why}"
    return Ruling(
        kind="acceptance",
        criterion=in_words(criterion),
        metric=criterion.metric,
        set=criterion.set,
        slice=criterion.slice,
        required=_required(criterion),
        comparison="at_most" if criterion.at_least is None else "at_least",
        judge=criterion.judge,
        passed=passed,
        why=why,
        **evidence(measured),
    )


def judge(criterion: Criterion, measured: Measured | None) -> tuple[bool, str]:
    """Whether a row of the report meets a criterion, and why in words. None, null or too few frames do not."""
    where = f"{criterion.metric} on {frames_of(criterion.set, criterion.slice)}"
    lacks = lacking(measured, where, criterion.min_samples)
    if measured is None or lacks:
        return False, lacks
    worse_end = "high" if criterion.at_least is None else "low"
    counts = measured[worse_end if criterion.judge == "bound" else "value"]
    told = f"{where} is {estimate(measured)}"
    if counts is None:
        return False, f"{MISSING}: {told}, too few frames for the {worse_end} end of its interval"
    sign = -1 if criterion.at_least is None else 1
    passed = sign * counts >= sign * _required(criterion)
    return passed, f"{told}; {_demand(criterion)} is {'met' if passed else 'not met'}"


def in_words(criterion: Criterion) -> str:
    """A criterion as people read it."""
    when = ", once such frames train" if criterion.applies == "when_trained" else ""
    where = frames_of(criterion.set, criterion.slice)
    few = at_least_frames(criterion.min_samples)
    return f"{criterion.metric} on {where}: {_demand(criterion)}{few}{when}"


def _demand(criterion: Criterion) -> str:
    side = "at most" if criterion.at_least is None else "at least"
    end = f" ({'upper' if criterion.at_least is None else 'lower'} end of its interval)"
    return f"{side} {_required(criterion):g}{end if criterion.judge == 'bound' else ''}"


def _required(criterion: Criterion) -> float:
    bound = criterion.at_most if criterion.at_least is None else criterion.at_least
    if bound is None:
        raise ValueError(f"a criterion on {criterion.metric} needs `at_least` or `at_most`")
    return bound


def _value(report: pl.DataFrame, model: str, metric: str) -> float | None:
    found = figure(report, model, "out_of_fold", "all", metric)
    return None if found is None else found["value"]
