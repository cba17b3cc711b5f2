"""What a replayed band does to escapes, overkill, precision of FAIL and review load, before and after.

The first three need the truth: they are ratios of weighted sums over the captures that people answered for, with
intervals that respect groups. The last one follows from the verdicts alone. All are shares, 0 to 1.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final, Literal

import numpy as np
import polars as pl

from cv_assets.evaluation.intervals import Interval, score_interval
from cv_assets.evaluation.metrics import weighted_share
from cv_assets.inspection.schema import VERDICTS
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

_UNKNOWN: Final = Interval(None, None, None)
_ROUNDING: Final = 1e-9
"""A share of 2/20 meets a bound of 0.1 whatever the rounding."""


@dataclass(frozen=True)
class Estimate:
    """A share with its interval, and the captures and groups it rests on.

    An `exact` one follows from the verdicts alone and has no interval. `why`: why it is exact, or not known.
    """

    interval: Interval
    samples: int = 0
    groups: int = 0
    exact: bool = False
    why: str = ""

    @property
    def words(self) -> str:
        """The share with its interval, or why there is none: a share of nothing is not defined, others not known."""
        value, low, high = self.interval.value, self.interval.low, self.interval.high
        if value is None:
            return f"not {'defined' if self.exact else 'known'}: {self.why}"
        return f"{value:.3f} (exact: {self.why})" if self.exact else f"{value:.3f} [{low:.3f}, {high:.3f}]"


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
    return [
        Effect(
            name,
            before=_estimate(name, rows, "verdict", settings, pass_class),
            after=_estimate(name, rows, "replayed", settings, pass_class),
            bound=bounds.get(name),
        )
        for name in SHARES
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
        words.append("The unanswered are taken to be like the answered.")
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


def _estimate(name: str, rows: pl.DataFrame, given: Given, settings: Evaluation, pass_class: str) -> Estimate:
    if name == REVIEW_LOAD:
        share = Interval(float((rows[given] == "REVIEW").sum() / rows.height), None, None)
        return Estimate(
            share, rows.height, len(set(_groups(rows))), exact=True, why="all captures are counted"
        )
    decision = "PASS" if name == ESCAPES else "FAIL"
    if not (rows[given] == decision).any():
        share_of_none = None if name == FAIL_PRECISION else 0.0
        none = Interval(share_of_none, None, None)
        return Estimate(none, exact=True, why=f"no capture gets {decision}")
    in_play = rows.filter(pl.col(given) == "FAIL") if name == FAIL_PRECISION else rows
    if why := _unanswered(rows, in_play, given, decision):
        return Estimate(_UNKNOWN, why=why)
    return _measured(name, in_play.filter(pl.col("weight").is_not_null()), given, settings, pass_class)


def _unanswered(rows: pl.DataFrame, in_play: pl.DataFrame, given: Given, decision: str) -> str:
    """Which captures in play no answer speaks for; empty when each kind has one.

    Without this, no answer on what passes would read as no escape.
    """
    for stored in VERDICTS:
        of_it = rows.filter(pl.col("verdict") == stored)
        if stored in in_play["verdict"] and not of_it["weight"].count():
            return f"people answered for none of the captures that got {stored} ({of_it.height})"
    for side, got in ((pl.col(given) == decision, "get"), (pl.col(given) != decision, "do not get")):
        of_it = in_play.filter(side)
        if of_it.height and not of_it["weight"].count():
            return f"people answered for none of the captures that {got} {decision} ({of_it.height})"
    return ""


def _measured(
    name: str, answered: pl.DataFrame, given: Given, settings: Evaluation, pass_class: str
) -> Estimate:
    passes_N, fails_N = ((answered[given] == one).to_numpy() for one in ("PASS", "FAIL"))
    defective_N = (answered["truth"] != pass_class).to_numpy()
    hits_N, among_N, kind = {
        ESCAPES: (passes_N, defective_N, "defective"),
        OVERKILL: (fails_N, ~defective_N, "sound"),
        FAIL_PRECISION: (defective_N, fails_N, "failed"),
    }[name]
    if not among_N.any():
        return Estimate(_UNKNOWN, why=f"none of the {answered.height} captures answered for is {kind}")
    group_N = np.unique(_groups(answered), return_inverse=True)[1].astype(np.intp)
    share = weighted_share(hits_N, among_N, answered["weight"].to_numpy(), group_N)
    interval = score_interval(share, settings.confidence, settings.assumed_correlation)
    return Estimate(interval, share.samples, share.groups)


def _groups(rows: pl.DataFrame) -> list[str]:
    """The group of each row; a delivery is the closest thing to one where none is known."""
    return rows["group"].fill_null(rows["delivery"]).to_list()
