"""What was measured beside what should be, and a delivery that is measured again beside what it was."""

from typing import Any, Final

import numpy as np
import polars as pl

from cv_assets.drift.metrics import expected
from cv_assets.drift.schema import DriftMetrics

TOLERANCE: Final = 1e-6
"""Figures that differ relatively by no more than this are the same: other processors round in other places."""

_FIGURES: Final = ("frames", "value", "psi", "kl")


def unmeasured(rows: pl.DataFrame, reference: pl.DataFrame, model: str | None) -> pl.DataFrame:
    """The statistics of `reference` that `rows` lack or hold more than once, with how often they do."""
    shares = reference.filter(role="station")["statistic"].to_list()
    found = rows["statistic"].to_list()
    wrong = [
        (name, times)
        for name in dict.fromkeys([*expected(reference, model), *shares, *found])
        if (times := found.count(name)) != 1
    ]
    return pl.DataFrame(wrong, schema={"statistic": pl.String, "rows": pl.Int64}, orient="row")


def changed_figures(before: pl.DataFrame, now: pl.DataFrame) -> pl.DataFrame:
    """What was measured before against the same reference, and is another figure now; columns statistic, before, now.

    What the spec decides (levels that count, tolerance, verdict) may change; frames and their values may not.
    """
    pairs = before.join(now, on=["statistic", "candidate"], suffix=" now", nulls_equal=True)
    found = []
    for row in pairs.iter_rows(named=True):
        for figure in _FIGURES:
            was, is_now = row[figure], row[f"{figure} now"]
            if was is not None and is_now is not None and not _same(was, is_now):
                found.append((row["statistic"], figure, float(was), float(is_now)))
    names = {"statistic": pl.String, "figure": pl.String, "before": pl.Float64, "now": pl.Float64}
    return pl.DataFrame(found, schema=names, orient="row")


def says_the_same(before: pl.DataFrame, now: pl.DataFrame) -> bool:
    """Whether `now` differs from `before` by rounding, by its time, and by where the values lie, at most."""
    names = [name for name in DriftMetrics.column_names() if name not in ("why", "values", "measured_at")]
    if before.height != now.height or not set(names) <= set(before.columns):
        return False
    pairs = zip(before.select(names).rows(), now.select(names).rows(), strict=True)
    return all(_same(was, is_now) for old, new in pairs for was, is_now in zip(old, new, strict=True))


def _same(was: Any, is_now: Any) -> bool:
    if isinstance(was, float) and isinstance(is_now, float):
        return bool(np.isclose(was, is_now, rtol=TOLERANCE, atol=TOLERANCE, equal_nan=True))
    return bool(was == is_now)
