"""Evidently's own report on two sets of frames: a page for people beside the verdicts, which are never taken from it.

It takes frames as independent, though frames of one delivery are alike, and its bins are made of both sets together,
so they move with the data. It is imported late: that takes seconds.
"""

import os
import re
import warnings
from collections.abc import Mapping
from dataclasses import dataclass
from html import escape
from typing import Any, Final

import numpy as np
import polars as pl

from cv_assets.words import listed

# The library reads this when it is imported, and reports usage over the network otherwise.
os.environ["DO_NOT_TRACK"] = "1"

with warnings.catch_warnings():
    # Parts that are not used here are built on what numpy and litestar call deprecated, as of evidently 0.7.23.
    warnings.simplefilter("ignore", DeprecationWarning)
    from evidently import DataDefinition, Dataset, Report
    from evidently.presets import DataDriftPreset

BOUND: Final = 0.2
"""The PSI that is commonly called drift, and is by Evidently's page."""

LEAST: Final = 10
"""Columns with fewer values in one of the two sets are left out."""

NARROWEST: Final = 1e-9
"""Columns whose values differ by less than this share of the largest are left out: bins need room between numbers."""

_FAILURES: Final = (ArithmeticError, AttributeError, LookupError, RuntimeError, TypeError, ValueError)
"""What a library may raise on odd values. No candidate and no alarm waits for what only illustrates it."""

_SAID_OF: Final = 5
_UUID: Final = re.compile(
    r"[0-9a-f]{8}-[0-9a-f]{4}-7[0-9a-f]{3}-[0-9a-f]{4}-[0-9a-f]{12}|(?<=metric_)[0-9a-f]{32}(?= =)"
)


@dataclass(frozen=True)
class EvidentlyPage:
    """The page, and what it says of each column that it could compare."""

    html: bytes
    drifted: Mapping[str, bool]
    left_out: Mapping[str, str]
    """Why a column is not on the page, in words."""
    frames: tuple[int, int]
    """Of the reference and of what is held against it."""
    failed: str = ""
    """What the library raised instead of making a page; then `html` is empty."""

    @property
    def in_words(self) -> str:
        """What the page says, and what it leaves out."""
        if self.failed:
            return f"No page: Evidently could not compare the frames ({self.failed})."
        named = [name for name, drifts in self.drifted.items() if drifts]
        said = (
            f"Evidently compares {self.frames[1]} frames with {self.frames[0]} of the reference, column by column, "
            f"and calls a PSI of {BOUND} and more drift: {len(named)} of {len(self.drifted)} columns{_listed(named)}."
        )
        out = [f"{name} {why}" for name, why in self.left_out.items()]
        return f"{said} Left out: {listed(out, _SAID_OF)}." if out else said

    def beside(self, ours: Mapping[str, bool]) -> str:
        """`in_words`, and where it differs from our verdicts on the same frames, and why."""
        if self.failed:
            return self.in_words
        both = [name for name in self.drifted if name in ours]
        louder = [name for name in both if self.drifted[name] and not ours[name]]
        quieter = [name for name in both if ours[name] and not self.drifted[name]]
        if not louder and not quieter:
            return f"{self.in_words} Of the {len(both)} columns that have a level here it says the same."
        differs = [f"drift only by its page{_listed(louder)}"] * bool(louder)
        differs += [f"drift only by the levels here{_listed(quieter)}"] * bool(quieter)
        return f"{self.in_words} The levels here decide, and differ: {'; '.join(differs)}. {WHY_IT_DIFFERS}"


WHY_IT_DIFFERS: Final = (
    "Evidently takes frames as independent, though frames of one delivery are alike, so it calls many ordinary "
    "deliveries drift; and its bins are made of both sets, so they move with the data. The levels here say how much "
    "ordinary deliveries differ, in bins that are frozen with the reference."
)


def page(reference: pl.DataFrame, current: pl.DataFrame) -> EvidentlyPage:
    """Evidently's comparison of the numeric columns that both tables have; rows are frames.

    A column with fewer than `LEAST` values, with one value only or with a range that bins cannot part is left out with
    a word: nulls, NaN and infinities are no values. The same tables give the same bytes. Nothing is sent over the
    network. Where Evidently fails all the same, there is no page, and it says so.
    """
    names = [name for name in reference.select(pl.selectors.numeric()).columns if name in current.columns]
    then, now = (_finite(table, names) for table in (reference, current))
    left_out = {name: why for name in names if (why := _unfit(then[name], now[name]))}
    shown = [name for name in names if name not in left_out]
    if not shown:
        return EvidentlyPage(_empty(left_out), {}, left_out, (then.height, now.height))
    return compared(then.select(shown), now.select(shown), left_out)


def compared(then: pl.DataFrame, now: pl.DataFrame, left_out: Mapping[str, str]) -> EvidentlyPage:
    """Evidently's page on two tables of finite numbers with the same columns; none, and why, when the library fails."""
    frames = (then.height, now.height)
    try:
        html, drifted = _compared(then, now)
    except _FAILURES as error:
        return EvidentlyPage(b"", {}, left_out, frames, f"{type(error).__name__}: {error}")
    return EvidentlyPage(html, drifted, left_out, frames)


def _finite(table: pl.DataFrame, names: list[str]) -> pl.DataFrame:
    floats = table.select(pl.col(names).cast(pl.Float64))
    return floats.with_columns(pl.when(pl.col(names).is_finite()).then(pl.col(names)))


def _unfit(then: pl.Series, now: pl.Series) -> str:
    fewest = min(then.count(), now.count())
    if fewest < LEAST:
        return f"has {fewest} values in one of the two sets"
    if then.drop_nulls().n_unique() == 1 or now.drop_nulls().n_unique() == 1:
        return "has one value only"
    if not np.isfinite(_range(pl.concat([then, now]))):
        return "has too wide a range"
    if any(_range(some) < NARROWEST * _largest(some) for some in (then, now)):
        return f"varies by less than {NARROWEST:g} of its size"
    return ""


def _range(values: pl.Series) -> float:
    known = values.drop_nulls().to_numpy()
    with np.errstate(over="ignore"):
        return float(known.max() - known.min())


def _largest(values: pl.Series) -> float:
    return float(np.abs(values.drop_nulls().to_numpy()).max())


def _compared(then: pl.DataFrame, now: pl.DataFrame) -> tuple[bytes, dict[str, bool]]:
    names = then.columns
    definition = DataDefinition(numerical_columns=names)
    preset = DataDriftPreset(columns=names, num_method="psi", num_threshold=BOUND)
    with warnings.catch_warnings():
        # What the library warns of is its own code; what it returns is held to its tests' outcomes below.
        warnings.simplefilter("ignore")
        snapshot = Report([preset], include_tests=True).run(
            current_data=Dataset.from_pandas(now.to_pandas(), data_definition=definition),
            reference_data=Dataset.from_pandas(then.to_pandas(), data_definition=definition),
        )
        said, html = snapshot.dict(), snapshot.get_html_str(as_iframe=False)
    drifted = _verdicts(said["tests"])
    return _numbered(html).encode(), {name: drifted[name] for name in names}


def _verdicts(tests: list[dict[str, Any]]) -> dict[str, bool]:
    """Column -> whether Evidently's test of it failed."""
    about = [(test["metric_config"]["params"].get("column"), test["status"]) for test in tests]
    return {column: status.value == "FAIL" for column, status in about if column is not None}


def _numbered(html: str) -> str:
    """The page with its random ids numbered as they come, so that the same tables give the same bytes."""
    numbers: dict[str, str] = {}
    for found in _UUID.findall(html):
        numbers.setdefault(found, f"{len(numbers):032x}")
    return re.sub("|".join(numbers) or "(?!)", lambda match: numbers[match[0]], html)


def _empty(left_out: Mapping[str, str]) -> bytes:
    why = (
        listed([f"{name} {why}" for name, why in left_out.items()], _SAID_OF)
        or "the tables have no column in common"
    )
    return (
        f"<!DOCTYPE html><title>Nothing to compare</title><p>Nothing to compare: {escape(why)}.</p>".encode()
    )


def _listed(names: list[str]) -> str:
    return f" ({listed(names, _SAID_OF)})" if names else ""
