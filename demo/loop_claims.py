"""What is claimed of the loop: the data moves, the system notices, people label, it retrains, and it gets better.

The bands on figures are those that other draws of the modules kept: the study `python -m demo.seeds` counts how many.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

import polars as pl

from cv_assets.spec.schema import Spec
from demo.claims import Claim, counts, few
from demo.figures import Figures, number, values
from demo.modules import Cell
from demo.seasons import captured_in

JUMP: Final = 0.15
"""Season 3 fails so many more of the sound cells than season 2, at least, and than season 4."""

LOST: Final = 0.10
"""On the mono modules of season 2, escapes and overkill rise by no more than this in season 4."""

Shown = Mapping[str, float | None]


@dataclass(frozen=True)
class Alarms:
    """The table of alarms at the story's turns: as season 2 ended, after season 3's first delivery, and after all."""

    season2: pl.DataFrame
    warned: pl.DataFrame
    alarmed: pl.DataFrame
    end: pl.DataFrame


@dataclass(frozen=True)
class Loop:
    """All that there is at the end of season 4: what the plant knows, and the product's tables.

    `truth` maps a delivered frame to its cell; `unseen` are the numbers of the modules that judge or are inspected
    later, none of which may train. `requests` and `releases` are the whole tables, `split` and `decision` those of the
    candidate that a sensor requested. `figures` are by the truth: season2, season3, poly and mono of season 4.
    """

    spec: Spec
    truth: Mapping[str, Cell]
    unseen: frozenset[int]
    inspections: pl.DataFrame
    alarms: Alarms
    requests: pl.DataFrame
    releases: pl.DataFrame
    split: pl.DataFrame
    decision: pl.DataFrame
    figures: Mapping[str, Figures]


@dataclass(frozen=True)
class Band:
    """What is claimed of one figure in two seasons: `keeps` says it of its values, neither of which is undefined."""

    words: str
    figure: str
    before: str
    after: str
    keeps: Callable[[float, float], bool]

    def holds(self, shown: Mapping[str, Shown]) -> bool:
        """Whether the seasons keep it."""
        before, after = shown[self.before][self.figure], shown[self.after][self.figure]
        return before is not None and after is not None and self.keeps(before, after)

    def seen(self, shown: Mapping[str, Shown]) -> str:
        """The two values, for people."""
        return ", ".join(
            f"{season} {number(shown[season][self.figure])}" for season in (self.before, self.after)
        )


def loop_claims(outcome: Loop) -> list[Claim]:
    """Everything that is claimed of seasons 3 and 4."""
    return [
        _season_2_is_calm(outcome),
        _first_delivery_warns(outcome),
        _second_delivery_alarms(outcome),
        _one_retraining(outcome),
        _judges_do_not_train(outcome),
        _everything_is_met(outcome),
        _release_closes_the_alarm(outcome),
        *banded(outcome.figures, outcome.spec),
        _season_4_is_calm(outcome),
    ]


def banded(figures: Mapping[str, Figures], spec: Spec) -> list[Claim]:
    """The claims on figures."""
    shown = {season: values(one) for season, one in figures.items()}
    return [Claim(band.words, band.holds(shown), band.seen(shown)) for band in bands(spec)]


def bands(spec: Spec) -> list[Band]:
    """The bands; their bounds are the spec's own where it has one."""
    overkill, escape = limits(spec)["overkill"], limits(spec)["escape"]
    return [
        Band(
            f"season 3: overkill jumps by {JUMP:g} or more",
            *("overkill", "season2", "season3"),
            lambda before, after: after - before >= JUMP,
        ),
        Band(
            f"season 4, later poly: overkill is {JUMP:g} or more below season 3",
            *("overkill", "season3", "poly"),
            lambda before, after: before - after >= JUMP,
        ),
        Band(
            f"season 4, later poly: overkill is back under its bound of {overkill:g}",
            *("overkill", "season3", "poly"),
            lambda _, after: after <= overkill,
        ),
        Band(
            f"season 4, later poly: escapes are within the bound of {escape:g}",
            *("escape", "season3", "poly"),
            lambda _, after: after <= escape,
        ),
        *(
            Band(
                f"season 4, mono again: {words} at most {LOST:g} above season 2",
                *(name, "season2", "mono"),
                lambda before, after: after - before <= LOST,
            )
            for name, words in (("escape", "escapes are"), ("overkill", "overkill is"))
        ),
    ]


def limits(spec: Spec) -> dict[str, float]:
    """What the spec bounds: overkill in production, and escapes on the golden modules."""
    overkill = [one.at_most for one in spec.kpis.bounds if one.metric == "overkill"]
    escape = [one.at_most for one in spec.evaluation.acceptance if one.metric == "escape_rate"]
    return {
        "overkill": min(one for one in overkill if one is not None),
        "escape": min(one for one in escape if one is not None),
    }


def _season_2_is_calm(outcome: Loop) -> Claim:
    known = outcome.alarms.season2
    opened = known.filter(pl.col("kind") == "drift", pl.col("state") != "warning")
    warnings = known.filter(kind="drift", state="warning").height
    others = outcome.alarms.season2.filter(pl.col("kind") != "drift")["alarm_id"].to_list()
    return Claim(
        "season 2 opens no drift alarm",
        opened.is_empty(),
        f"{opened.height} drift alarms, {warnings} drift warnings; {few(others, 'other alarms')}",
    )


def _season_4_is_calm(outcome: Loop) -> Claim:
    """Another alarm than the one that retrained."""
    before = outcome.alarms.alarmed["alarm_id"]
    known = outcome.alarms.end.filter(pl.col("kind") == "drift", ~pl.col("alarm_id").is_in(before))
    opened = known.filter(pl.col("state") != "warning")["alarm_id"].to_list()
    return Claim(
        "season 4 opens no drift alarm",
        not opened,
        f"{few(opened, 'opened')}; {known.height - len(opened)} drift warnings",
    )


def _first_delivery_warns(outcome: Loop) -> Claim:
    first = _deliveries(outcome, 3)[:1]
    warned = _drift(outcome.alarms.warned, "warning")
    return Claim(
        "the first poly delivery gives a drift warning, and no alarm yet",
        warned is not None and list(warned["deliveries"]) == first,
        "no warning" if warned is None else str(warned["why"]).partition(". ")[0],
    )


def _second_delivery_alarms(outcome: Loop) -> Claim:
    """Deliveries follow one another as they were captured, in whatever order they are measured."""
    alarm = _drift(outcome.alarms.alarmed, "open")
    at_end = outcome.alarms.end.filter(alarm_id=alarm["alarm_id"] if alarm else "")
    shown = [name for row in at_end["deliveries"] for name in row]
    return Claim(
        "the second poly delivery makes it an alarm",
        alarm is not None and shown[:2] == _deliveries(outcome, 3)[:2],
        "no alarm"
        if alarm is None
        else f"{alarm['alarm_id']}: {alarm['why'].partition('. ')[0]}; then {len(shown)}",
    )


def _one_retraining(outcome: Loop) -> Claim:
    again = outcome.requests.filter(pl.col("reason") != "first_release")
    alarm = _drift(outcome.alarms.alarmed, "open")
    asked = [(row["evidence"], row["reason"], row["requested_by"]) for row in again.iter_rows(named=True)]
    expected = [(alarm["alarm_id"], "drift", "retrain_on_drift")] if alarm else []
    return Claim(
        "one alarm starts one retraining, and a sensor asks for it",
        bool(expected) and asked == expected,
        "; ".join(f"{by} asks for {reason}: {evidence}" for evidence, reason, by in asked) or "none",
    )


def _judges_do_not_train(outcome: Loop) -> Claim:
    train = outcome.split.filter(pl.col("role") == "train")
    modules = {outcome.truth[frame_id].module for frame_id in train["frame_id"]}
    products = sorted(set(_products(outcome, list(train["frame_id"]))))
    leaked = sorted(modules & outcome.unseen)
    return Claim(
        "no frame of a golden or a later module trains the second release, and poly frames do",
        not leaked and "poly" in products,
        f"{train.height} training frames of {len(modules)} modules ({', '.join(products)}); "
        f"{few([f'm{one:02d}' for one in leaked], 'in both')}",
    )


def _products(outcome: Loop, frame_ids: Sequence[str]) -> list[str]:
    rows = outcome.inspections.filter(pl.col("frame_id").is_in(frame_ids))
    return rows["attributes"].str.json_path_match("$.product").drop_nulls().to_list()


def _everything_is_met(outcome: Loop) -> Claim:
    decision = outcome.decision
    missed = decision.filter(~pl.col("passed"))
    unknown = decision.filter(pl.col("measured").is_null())["criterion"].to_list()
    kinds = set(decision["kind"])
    return Claim(
        "the second release met every criterion, on mono and on poly, and lost no more against the first than it may",
        missed.is_empty() and not unknown and kinds == {"acceptance", "regression", "condition"},
        f"{decision.height - missed.height} of {decision.height} met: {counts(decision['kind'])}; "
        f"{few(list(missed['why']), 'missed')}, {few(unknown, 'without evidence')}",
    )


def _release_closes_the_alarm(outcome: Loop) -> Claim:
    released = outcome.releases.filter(pl.col("outcome") == "released")
    versions, last = released["version"].to_list(), released["candidate"].tail(1).to_list()
    known = outcome.alarms.alarmed
    alarm = _drift(known, "open")
    now = outcome.alarms.end.filter(alarm_id=alarm["alarm_id"]) if alarm else outcome.alarms.end.clear()
    closed = now.filter(pl.col("state") == "closed", pl.col("closed_by").is_in(last))
    return Claim(
        "the retrained candidate is released as v1.1.0 and closes the alarm",
        versions == ["v1.0.0", "v1.1.0"] and closed.height == 1,
        f"released: {', '.join(versions)}; "
        + (
            "; ".join(f"{row['alarm_id']} is {row['state']}" for row in now.iter_rows(named=True))
            or "no alarm"
        ),
    )


def _drift(alarms: pl.DataFrame, state: str) -> dict[str, Any] | None:
    """The drift alarm in that state; None when there is none."""
    return next(alarms.filter(kind="drift", state=state).iter_rows(named=True), None)


def _deliveries(outcome: Loop, season: int) -> list[str]:
    """The season's deliveries, as they were captured."""
    first = outcome.inspections.group_by("delivery").agg(pl.col("captured_at").min())
    return first.filter(captured_in(season)).sort("captured_at", "delivery")["delivery"].to_list()
