"""KPIs: quality in production by release, over the newest deliveries at each of them. What is not known is not said.

Deliveries follow one another as they were captured, not as they arrived, and a window belongs to one release. Figures
follow from the tables alone: made again, whatever the order of rows, they are the same.
"""

import itertools
from collections.abc import Collection, Iterator
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Final

import numpy as np
import polars as pl
from numpy.typing import NDArray

from cv_assets.evaluation.metrics import Mask, Vector
from cv_assets.reference.quantiles import Interval
from cv_assets.release.history import another_passes
from cv_assets.review.asked import asked
from cv_assets.review.estimates import Estimate, Sample, estimate, group_numbers, verdict_codes, weights
from cv_assets.review.schema import Kpis
from cv_assets.spec import drift
from cv_assets.spec.schema import Spec
from cv_assets.words import counted

NEEDED: Final = (
    "capture_id",
    "frame_id",
    "delivery",
    "group",
    "captured_at",
    "verdict",
    "reason",
    "audit",
    "review_probability",
    "release",
    "release_number",
)
"""The columns of inspections that are read here; there may be millions of rows."""

SAYS: Final[dict[drift.Kpi, str]] = {
    "escape_rate": "of the defective pass",
    "overkill": "of the sound fail",
    "fail_precision": "of those that fail are defective",
    "review_share": "of all are sent to people",
}
"""What each KPI is the share of."""

_COUNTED: Final = {"escape_rate": "defective", "overkill": "sound", "fail_precision": "failed"}


@dataclass(frozen=True)
class Captures:
    """The captures of one release, delivery after delivery, and what people answered; every array is (N,)."""

    stored: NDArray[np.intp]
    probability: Vector
    asked: Mask
    known: Mask
    defective: Mask
    group: NDArray[np.intp]

    def every(self, window: slice) -> Sample:
        """The captures of a window, each for itself."""
        stored = self.stored[window]
        return Sample(stored, stored, np.ones(len(stored)), self.defective[window], self._group(window))

    def weighted(self, window: slice) -> Sample:
        """The captures of a window, weighted among themselves."""
        stored, known = self.stored[window], self.known[window]
        weight = weights(stored, self.probability[window], self.asked[window], known)
        return Sample(stored, stored, weight, self.defective[window], self._group(window))

    def _group(self, window: slice) -> NDArray[np.intp]:
        """From 0 on in each window: what is counted by group there must not grow with all the groups of a release."""
        return np.unique(self.group[window], return_inverse=True)[1].astype(np.intp)


@dataclass(frozen=True)
class Window:
    """The trailing deliveries of one release up to `until`, and what is counted in them.

    `every` holds all their captures. `weighted` leaves out those whose frame was rejected and that nobody answered:
    often they have no class that anybody could tell, so nothing is taken to be like them.
    """

    until: str
    deliveries: int
    captured_to: datetime
    captures: int
    asked: int
    answered: int
    answered_at: datetime | None
    every: Sample
    weighted: Sample


def kpis(
    *,
    inspections: pl.DataFrame,
    truth: pl.DataFrame,
    drifted: Collection[str],
    releases: pl.DataFrame,
    spec: Spec,
) -> pl.DataFrame:
    """The rows of Kpis: by release, window and metric; of inspections it reads `NEEDED`.

    `truth` is that of `known_truth`; a label of no class of the spec says nothing. `drifted` are the deliveries that
    people see whole. Where a release was judged with another class as the one that passes, its verdicts and the labels
    are not about the same: nothing is said of what they did.
    """
    judged_otherwise = {row["number"]: another_passes(row, spec.pass_class) for row in _released(releases)}
    decided = (
        asked(inspections.select(NEEDED).filter(pl.col("release_number").is_not_null()), drifted)
        .join(truth.filter(pl.col("truth").is_in(spec.class_names)), on="frame_id", how="left")
        .with_columns(
            answered=pl.col("asked") & pl.col("truth").is_not_null(),
            rejected=pl.col("reason") == "frame_rejected",
        )
        .with_columns(answerable=~pl.col("rejected") | pl.col("answered"))
    )
    rows = [
        _row(metric, window, number, release, judged_otherwise.get(number, ""), spec)
        for (number, release), of_release in _by_release(decided)
        for window in _windows(of_release, spec)
        for metric in drift.KPIS
    ]
    return pl.DataFrame(rows, schema=Kpis.create_empty().schema)


def newest(rows: pl.DataFrame, release_number: int | None) -> pl.DataFrame:
    """The rows of the release's newest window; none when it inspected nothing yet."""
    return rows.filter(pl.col("release_number").eq_missing(release_number)).tail(len(drift.KPIS))


def _by_release(decided: pl.DataFrame) -> list[tuple[tuple[int, str], pl.DataFrame]]:
    found: dict[Any, pl.DataFrame] = dict(decided.group_by("release_number", "release"))
    return sorted(found.items(), key=lambda one: one[0])


def _released(releases: pl.DataFrame) -> Iterator[dict[str, Any]]:
    return releases.filter(pl.col("outcome") != "refused").iter_rows(named=True)


def _windows(of_release: pl.DataFrame, spec: Spec) -> Iterator[Window]:
    """One window for each delivery of the release, in the order of captures."""
    deliveries = (
        of_release.group_by("delivery")
        .agg(
            (pl.col("asked", "answered") & ~pl.col("rejected")).sum(),
            pl.col("answerable").sum(),
            captures=pl.len(),
            captured_from=pl.col("captured_at").min(),
            captured_to=pl.col("captured_at").max(),
            answered_at=pl.col("answered_at").filter("answered").max(),
        )
        .sort("captured_from", "delivery")
        .with_row_index("place")
    )
    ordered = of_release.join(deliveries.select("delivery", "place"), on="delivery").sort(
        "place", "captured_at", "capture_id"
    )
    every = _captures(ordered, spec.pass_class)
    answerable = _captures(ordered.filter("answerable"), spec.pass_class)
    column = deliveries.to_dict(
        as_series=False
    )  # a table of a few rows for each window costs more than its figures
    ends, answerable_ends = (
        list(itertools.accumulate(column[one], initial=0)) for one in ("captures", "answerable")
    )
    for last, until in enumerate(column["delivery"]):
        first = max(0, last + 1 - spec.kpis.window)
        of_window = slice(first, last + 1)
        yield Window(
            until=until,
            deliveries=last + 1 - first,
            captured_to=max(column["captured_to"][of_window]),
            captures=ends[last + 1] - ends[first],
            asked=sum(column["asked"][of_window]),
            answered=sum(column["answered"][of_window]),
            answered_at=max((at for at in column["answered_at"][of_window] if at), default=None),
            every=every.every(slice(ends[first], ends[last + 1])),
            weighted=answerable.weighted(slice(answerable_ends[first], answerable_ends[last + 1])),
        )


def _captures(rows: pl.DataFrame, pass_class: str) -> Captures:
    return Captures(
        stored=verdict_codes(rows["verdict"]),
        probability=rows["probability"].to_numpy(),
        asked=rows["asked"].to_numpy(),
        known=rows["truth"].is_not_null().to_numpy(),
        defective=(rows["truth"] != pass_class).fill_null(value=False).to_numpy(),
        group=group_numbers(rows),
    )


def _row(
    metric: drift.Kpi, window: Window, number: int, release: str, judged_otherwise: str, spec: Spec
) -> dict[str, Any]:
    needs_answers = metric != "review_share"
    if needs_answers and judged_otherwise:
        found = Estimate(Interval(None, None, None), why=judged_otherwise)
    else:
        found = estimate(metric, window.weighted if needs_answers else window.every, spec.evaluation)
    bound = next((one for one in spec.kpis.bounds if one.metric == metric), None)
    verdict, why = _judged(metric, found, window, bound, spec.kpis)
    said = None if verdict == "not_enough" else found.interval
    return {
        "release_number": number,
        "metric": metric,
        "until": window.until,
        "release": release,
        "captured_to": window.captured_to,
        "deliveries": window.deliveries,
        "captures": window.captures,
        "asked": window.asked,
        "answered": window.answered,
        "samples": found.samples,
        "groups": found.groups,
        "value": said and said.value,
        "low": said and said.low,
        "high": said and said.high,
        "bound": bound and (bound.at_least if bound.at_most is None else bound.at_most),
        "verdict": verdict,
        "why": why,
        "answered_at": window.answered_at if needs_answers else None,
    }


def _judged(
    metric: drift.Kpi, found: Estimate, window: Window, bound: drift.KpiBound | None, settings: drift.Kpis
) -> tuple[str, str]:
    """The verdict on a figure, and that in words."""
    value, low, high = found.interval.value, found.interval.low, found.interval.high
    if not found.exact and window.asked and window.answered / window.asked < settings.min_answered:
        return "not_enough", (
            f"{window.answered} of {window.asked} captures that people were asked about are answered, fewer than the "
            f"{settings.min_answered:.0%} that are needed"
        )
    if value is None or low is None or high is None:
        return "not_enough", found.why
    if found.samples < settings.min_samples:
        kind = "capture" if found.exact else f"answered {_COUNTED[metric]} capture"
        deliveries = counted(window.deliveries, "delivery", "deliveries")
        return "not_enough", (
            f"{counted(found.samples, kind)} in {deliveries}, fewer than the {settings.min_samples} that are needed"
        )
    if low < high:
        by = f"{counted(found.samples, 'capture')} of {counted(found.groups, 'group')}"
        said = f"{value:.3f} [{low:.3f}, {high:.3f}] {SAYS[metric]}, by {by}"
    else:
        said = f"{value:.3f} {SAYS[metric]}: {found.why}"
    if bound is None:
        return "unbounded", f"{said}; the spec asks for nothing"
    if bound.at_most is not None:
        asked_for, broken, met = f"at most {bound.at_most:g}", low > bound.at_most, high <= bound.at_most
    else:
        least = bound.at_least or 0.0
        asked_for, broken, met = f"at least {least:g}", high < least, low >= least
    if broken:
        return "broken", f"{said}; {asked_for} is asked for, and all of the interval breaks it"
    if met:
        return "met", f"{said}; {asked_for} is asked for, and all of the interval meets it"
    return "undecided", f"{said}; {asked_for} is asked for, and the interval does not rule it out"
