"""Rulings: the criteria of the gate as they were judged, and how their evidence is said in words.

A criterion that does not apply stands in no candidate's way; it is passed without a measurement.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final

import polars as pl

from cv_assets.words import counted

NOT_APPLICABLE: Final = "not applicable"
MISSING: Final = "missing evidence"

Measured = Mapping[str, Any]
"""A row of the evaluation report."""


@dataclass(frozen=True)
class Ruling:
    """One criterion as it was judged, as columns of `ReleaseDecision`."""

    kind: str
    criterion: str
    metric: str
    set: str
    slice: str
    required: float | None
    comparison: str
    passed: bool
    why: str
    judge: str = "estimate"
    measured: float | None = None
    low: float | None = None
    high: float | None = None
    samples: int = 0


def figure(report: pl.DataFrame, model: str, set_: str, slice_: str, metric: str) -> Measured | None:
    """The row of the report for this metric of this model, or None."""
    found = report.filter(
        pl.col("model") == model,
        pl.col("set") == set_,
        pl.col("slice") == slice_,
        pl.col("metric") == metric,
    )
    return found.row(0, named=True) if found.height else None


def evidence(measured: Measured | None) -> dict[str, Any]:
    """What a ruling keeps of a row of the report."""
    if measured is None:
        return {}
    return {"measured": measured["value"], **{name: measured[name] for name in ("low", "high", "samples")}}


def lacking(measured: Measured | None, what: str, min_samples: int) -> str:
    """Which evidence a row of the report lacks, in words; empty when it lacks none. `what` names the figure."""
    if measured is None:
        return f"{MISSING}: {what} was not measured"
    if measured["value"] is None:
        return f"{MISSING}: {what} is not defined on its {counted(measured['samples'], 'frame')}"
    if measured["samples"] < min_samples:
        return f"{MISSING}: {what} is {estimate(measured)}; {min_samples} frames are required"
    return ""


def estimate(measured: Measured) -> str:
    """An estimate with its interval, and the frames that it rests on."""
    ends = f"[{number(measured['low'])}, {number(measured['high'])}]"
    frames, groups = counted(measured["samples"], "frame"), counted(measured["groups"], "group")
    return f"{number(measured['value'])} {ends} on {frames} of {groups}"


def frames_of(set_: str, slice_: str) -> str:
    """The frames of a set, or those of one slice of it."""
    return f"{set_} frames{'' if slice_ == 'all' else f' with {slice_}'}"


def at_least_frames(min_samples: int) -> str:
    """How many frames a criterion asks for, if it asks for more than one."""
    return f", on {min_samples} frames or more" if min_samples > 1 else ""


def number(value: float | None) -> str:
    """A figure as people read it: three decimals, one for milliseconds."""
    return "unknown" if value is None else f"{value:.3f}" if abs(value) < 10 else f"{value:.1f}"


def met_in_words(decision: pl.DataFrame) -> str:
    """How many criteria of a decision are met, and how many do not apply."""
    # What is met was measured, unless it does not apply.
    idle = decision.filter(pl.col("passed"), pl.col("measured").is_null()).height
    judged, met = decision.height - idle, int(decision["passed"].sum()) - idle
    every = "the one criterion is met" if judged == 1 else f"all {judged} criteria are met"
    others = f", {idle} more {'does' if idle == 1 else 'do'} not apply" if idle else ""
    return (every if met == judged else f"{met} of {judged} criteria are met") + others
