"""What a replayed band does to escapes, overkill, precision of FAIL and review load, before and after.

They are estimated as the KPIs are, from the captures that people answered for.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final, Literal

import polars as pl

from cv_assets.review.estimates import Estimate, Sample, estimate, group_numbers, verdict_codes
from cv_assets.spec.drift import Kpi
from cv_assets.spec.evaluation import Evaluation

Given = Literal["verdict", "replayed"]
"""Which verdict of a row of `ThresholdReplay`: the stored one or the one of the replayed band."""

ESCAPES: Final = "escapes"
OVERKILL: Final = "overkill"
FAIL_PRECISION: Final = "precision of FAIL"
REVIEW_LOAD: Final = "review load"

SHARES: Final = {
    ESCAPES: "of the defective, those that pass",
    OVERKILL: "of the sound, those that fail",
    FAIL_PRECISION: "of those that fail, the defective",
    REVIEW_LOAD: "of all, those that people look at",
}
"""What each effect is the share of."""

_KPIS: Final[dict[str, Kpi]] = {
    ESCAPES: "escape_rate",
    OVERKILL: "overkill",
    FAIL_PRECISION: "fail_precision",
    REVIEW_LOAD: "review_share",
}
_ROUNDING: Final = 1e-9
"""A share of 2/20 meets a bound of 0.1 whatever the rounding."""


@dataclass(frozen=True)
class Effect:
    """One share under the stored verdicts and under the replayed ones, and the spec's bound on it if it has one."""

    name: str
    before: Estimate
    after: Estimate
    bound: float | None = None

    @property
    def met(self) -> bool:
        """Does the replayed band's estimate meet the bound? What is not known does not, unless nothing can break it."""
        value = self.after.interval.value
        if self.bound is None or value is None:
            return self.bound is None or self.after.exact
        sign = -1 if self.name == FAIL_PRECISION else 1
        return sign * value <= sign * self.bound + _ROUNDING

    @property
    def decided(self) -> bool:
        """Does the replayed band's interval lie on one side of the bound?"""
        low, high = self.after.interval.low, self.after.interval.high
        if self.bound is None or self.after.exact:
            return True
        return low is not None and high is not None and (high <= self.bound or low >= self.bound)

    @property
    def asked_for(self) -> str:
        """The spec's bound, in words."""
        if self.bound is None:
            return "no bound"
        return f"{'at least' if self.name == FAIL_PRECISION else 'at most'} {self.bound:g}"


def effects(rows: pl.DataFrame, settings: Evaluation, pass_class: str) -> list[Effect]:
    """Every one of `SHARES`, before and after. `rows` are those of `replay`, at least one."""
    bounds = {
        ESCAPES: settings.band.max_escape,
        OVERKILL: settings.band.max_overkill,
        FAIL_PRECISION: settings.band.min_fail_precision,
    }
    stored, replayed = _sample(rows, "verdict", pass_class), _sample(rows, "replayed", pass_class)
    return [
        Effect(
            name,
            before=estimate(kpi, stored, settings),
            after=estimate(kpi, replayed, settings),
            bound=bounds.get(name),
        )
        for name, kpi in _KPIS.items()
    ]


def as_table(found: Sequence[Effect]) -> pl.DataFrame:
    """The effects as people read them."""
    return pl.DataFrame(
        {
            "effect": [one.name for one in found],
            "share": [SHARES[one.name] for one in found],
            "before": [one.before.words for one in found],
            "after": [one.after.words for one in found],
            "the spec asks for": [one.asked_for for one in found],
            "rests on": [f"{one.after.samples} captures, {one.after.groups} groups" for one in found],
        }
    )


def bounds_are_met(found: Sequence[Effect]) -> tuple[bool, str]:
    """Whether the replayed band meets the spec's bounds, by what is known, and that in words."""
    bounded = [one for one in found if one.bound is not None]
    told = [f"{one.name} {one.after.words}, {one.asked_for} is {_standing(one)}" for one in bounded]
    return all(one.met for one in bounded), f"With the replayed band: {'; '.join(told)}."


def enough_is_known(found: Sequence[Effect], answers: pl.DataFrame) -> tuple[bool, str]:
    """Whether every interval lies on one side of its bound, and which answers stand behind them, in words.

    `answers` are those of `answers_by_verdict`.
    """
    asked, answered, otherwise = (
        int(answers[name].sum()) for name in ("asked", "answered", "labelled otherwise")
    )
    each = [
        f"{stored} {of_them} of {asked_of}"
        for stored, asked_of, of_them in answers.select("stored", "asked", "answered").iter_rows()
    ]
    words = [
        f"Of {answers['captures'].sum()} captures people were asked about {asked} and answered for {answered} "
        f"({', '.join(each)})."
    ]
    if 0 < answered < asked:
        words.append("The unanswered are taken to be like the answered of their verdict.")
    if otherwise:
        words.append(f"{otherwise} more were labelled without being asked about: they do not count here.")
    unclear = [one for one in found if not one.decided]
    if unclear:
        told = [f"{one.name} {one.after.words}, {one.asked_for}" for one in unclear]
        words.append(f"Too little to tell: {'; '.join(told)}.")
    else:
        words.append("That is enough: every interval lies on one side of the spec's bound.")
    return not unclear, " ".join(words)


def _standing(one: Effect) -> str:
    if one.met:
        return "met"
    return "asked for" if one.after.interval.value is None else "not met"


def _sample(rows: pl.DataFrame, given: Given, pass_class: str) -> Sample:
    answered_N = rows["weight"].is_not_null().to_numpy()
    return Sample(
        stored=verdict_codes(rows["verdict"]),
        given=verdict_codes(rows[given]),
        weight=rows["weight"].fill_null(0.0).to_numpy(),
        defective=answered_N & (rows["truth"] != pass_class).fill_null(value=False).to_numpy(),
        group=group_numbers(rows),
    )
