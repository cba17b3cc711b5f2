"""Regression: what a candidate may lose against the release in force, both scored on the same frames of the benchmark.

A release that cannot be scored on them is missing evidence; where nothing is in force there is nothing to lose.
"""

from collections.abc import Container, Sequence
from typing import Final

import polars as pl

from cv_assets.evaluation.acceptance import Choice
from cv_assets.evaluation.released import Released
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
from cv_assets.spec.evaluation import SMALLER_IS_BETTER, Regression
from cv_assets.spec.training import RELEASED

_ROUNDING: Final = 1e-9
"""A loss of 0.8 - 0.7 meets a bound of 0.1 whatever the rounding."""


def compare(
    report: pl.DataFrame,
    criterion: Regression,
    choice: Choice,
    released: Released | None,
    sets: Container[str],
) -> Ruling:
    """Whether the chosen model loses no more than `criterion` allows; `sets` are those that the benchmark has."""
    about = criterion.set, criterion.slice, criterion.metric
    now, then = figure(report, choice.model, *about), figure(report, RELEASED, *about)
    if released is None:
        return _ruling(criterion, None, None, passed=True, why=f"{NOT_APPLICABLE}: nothing is in force")
    if criterion.set == "challenge" and "challenge" not in sets:
        why = f"{NOT_APPLICABLE}: the benchmark holds no challenge frames"
        return _ruling(criterion, released, None, passed=True, why=why)
    if not choice.sound:
        return _ruling(criterion, released, None, now, passed=False, why=f"no model: {choice.why}")
    if released.unlike:
        return _ruling(criterion, released, None, now, passed=False, why=f"{MISSING}: {released.unlike}")
    where = frames_of(criterion.set, criterion.slice)
    own = lacking(now, f"{criterion.metric} on {where}", criterion.min_samples)
    its = lacking(then, f"{criterion.metric} of {released.version} on {where}", criterion.min_samples)
    if now is None or then is None or own or its:
        return _ruling(criterion, released, then, now, passed=False, why=own or its)
    passed = _gain(criterion.metric, now["value"], then["value"]) >= -criterion.max_loss - _ROUNDING
    why = (
        f"{criterion.metric} on {where} is {estimate(now)}; {released.version} has {number(then['value'])} there: "
        f"{difference(criterion.metric, now['value'], then['value'])}; at most {criterion.max_loss:.3f} worse is "
        f"{'met' if passed else 'not met'}"
    )
    return _ruling(criterion, released, then, now, passed=passed, why=why)


def side_by_side(report: pl.DataFrame, model: str, metrics: Sequence[str]) -> pl.DataFrame:
    """The release in force and a model of the candidate on the same frames, a line per set, slice and metric.

    `difference` says which way: 0.026 worse, 0.026 better, or the same.
    """
    keys = ["set", "slice", "metric"]
    shown = report.filter(pl.col("metric").is_in(metrics))
    then = shown.filter(pl.col("model") == RELEASED)
    now = shown.filter(pl.col("model") == model).select(
        *keys, *(pl.col(name).alias(f"own_{name}") for name in _TOLD)
    )
    return pl.DataFrame(
        [
            {
                "metric": row["metric"],
                "set": row["set"],
                "slice": row["slice"],
                "released": _told(row["value"], row["low"], row["high"]),
                "candidate": _told(row["own_value"], row["own_low"], row["own_high"]),
                "difference": "unknown"
                if row["value"] is None or row["own_value"] is None
                else difference(row["metric"], row["own_value"], row["value"]),
            }
            for row in then.join(now, on=keys, maintain_order="left").iter_rows(named=True)
        ],
        schema=dict.fromkeys(("metric", "set", "slice", "released", "candidate", "difference"), pl.String()),
    )


def difference(metric: str, now: float, then: float) -> str:
    """By how much a figure is better or worse than another one, in words."""
    gain = _gain(metric, now, then)
    if abs(gain) < _ROUNDING:
        return "the same"
    return f"{number(abs(gain))} {'better' if gain > 0 else 'worse'}"


def in_words(criterion: Regression, released: Released | None, then: float | None) -> str:
    """A criterion as people read it, with the figure of the release where it is known."""
    where = f"{criterion.metric} on {frames_of(criterion.set, criterion.slice)}"
    version = released.version if released else "the release in force"
    if then is None:
        demand = f"at most {criterion.max_loss:.3f} worse than {version}"
    elif criterion.metric in SMALLER_IS_BETTER:
        demand = f"at most {number(then)} + {criterion.max_loss:.3f} ({version})"
    else:
        demand = f"at least {number(then)} - {criterion.max_loss:.3f} ({version})"
    return f"{where}: {demand}{at_least_frames(criterion.min_samples)}"


_TOLD: Final = ("value", "low", "high")


def _gain(metric: str, now: float, then: float) -> float:
    return then - now if metric in SMALLER_IS_BETTER else now - then


def _ruling(
    criterion: Regression,
    released: Released | None,
    then: Measured | None,
    now: Measured | None = None,
    *,
    passed: bool,
    why: str,
) -> Ruling:
    smaller, value = criterion.metric in SMALLER_IS_BETTER, then["value"] if then else None
    loss = criterion.max_loss if smaller else -criterion.max_loss
    return Ruling(
        kind="regression",
        criterion=in_words(criterion, released, value),
        metric=criterion.metric,
        set=criterion.set,
        slice=criterion.slice,
        required=None if value is None else value + loss,
        comparison="at_most" if smaller else "at_least",
        passed=passed,
        why=why,
        **evidence(now),
    )


def _told(value: float | None, low: float | None, high: float | None) -> str:
    return "-" if value is None else f"{number(value)} [{number(low)}, {number(high)}]"
