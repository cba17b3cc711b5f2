"""How the story is told at its end: as numbers for `story.json`, and as tables on the screen."""

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any, Final

import polars as pl
from rich.table import Table

from demo.claims import Claim
from demo.figures import WORDS, Estimate, Figures, number, span, values
from demo.people import Asked
from demo.screen import Screen
from demo.seasons import captured_in

SEASONS: Final = {
    "season1": "1: golden cells",
    "season2": "2: later mono",
    "season3": "3: poly arrives",
    "poly": "4: later poly",
    "mono": "4: mono again",
}
"""The seasons whose figures are shown; season 4 as a whole is in `story.json`."""

BY_PRODUCT: Final = ("poly", "mono")
LAST: Final = "season4"

NOTES: Final = (
    "Figures by the truth rest on few modules: read their intervals. Season 1's are those of its golden modules, from "
    "accepted cells; all others count every cell, and a person sees a rejected one. Which module plays which part was "
    "drawn once, with one seed, before anything was trained; how other draws come out is in the README. In season 4 "
    "the mono modules of season 2 pass again: the same pictures, and no cell of them has trained. What the product "
    "estimates rests on people's answers, each weighted by how likely it was asked for. The two AUC criteria were "
    "lowered after this draw had missed one of the first: docs/decisions/0011-acceptance-criteria.md."
)


@dataclass(frozen=True)
class Told:
    """All that is told in figures: `figures` are by the truth, `estimates` the product's own, by season.

    `decisions` are those of all candidates, by name.
    """

    figures: Mapping[str, Figures]
    estimates: Mapping[int, Sequence[Estimate]]
    decisions: Mapping[str, pl.DataFrame]
    asked: Sequence[Asked]
    raw: pl.DataFrame
    prepared: pl.DataFrame
    inspections: pl.DataFrame
    outbox: pl.DataFrame
    queue: pl.DataFrame
    releases: pl.DataFrame
    requests: pl.DataFrame
    alarms: pl.DataFrame

    @property
    def seasons(self) -> dict[str, pl.DataFrame]:
        """The verdicts of each season after the first."""
        rows = {f"season{one}": self.inspections.filter(captured_in(one)) for one in (2, 3, 4)}
        return {name: verdicts for name, verdicts in rows.items() if not verdicts.is_empty()}


def numbers(told: Told, checked: Sequence[Claim], *, seed: int, seconds: float) -> dict[str, Any]:
    """The story as numbers, for `story.json`. Shares are in [0, 1]; null where one has no cells."""
    released = told.releases.filter(pl.col("outcome") == "released")
    intervals = {name: _intervals(one) for name, one in told.figures.items()}
    return {
        "seed": seed,
        "seconds": round(seconds, 1),
        "frames": told.raw.height,
        "rejected": told.prepared.filter(~pl.col("accepted")).height,
        "releases": released.select("version", "candidate", "trigger").to_dicts(),
        "retrainings": told.requests.filter(pl.col("reason") != "first_release").height,
        "alarms": [_alarm(row) for row in told.alarms.iter_rows(named=True)],
        "kpi": _nested({name: values(one) for name, one in told.figures.items()}),
        "intervals": _nested(intervals),
        "estimates": {f"season{one}": _estimates(found) for one, found in told.estimates.items()},
        "verdicts": {name: _counted(rows["verdict"]) for name, rows in told.seasons.items()},
        "file_to_verdict_seconds": {name: _seconds(told, rows) for name, rows in told.seasons.items()},
        "review": {
            "asked": {f"season{one.season}": _counted(one.reasons) for one in told.asked},
            "queue": _counted(told.queue["state"]),
        },
        "claims": [{"claim": one.words, "holds": one.holds, "seen": one.seen} for one in checked],
    }


def tell(screen: Screen, told: Told, checked: Sequence[Claim], shown: Mapping[str, Any]) -> None:
    """The tables at the end."""
    screen.chapter("The story")
    for candidate, decision in told.decisions.items():
        screen.show(_criteria(candidate, decision))
    screen.show(_by_truth(told.figures))
    screen.show(_beside_the_truth(told.estimates))
    screen.show(_alarms(shown["alarms"]))
    screen.show(_claims(checked))
    screen.show(_summary(shown))
    screen.tell(NOTES)


def _nested(by_season: Mapping[str, Mapping[str, Any]]) -> dict[str, dict[str, Any]]:
    """Season 4 as a whole, with its products inside."""
    products = {name: by_season[name] for name in BY_PRODUCT if name in by_season}
    seasons = {name: dict(one) for name, one in by_season.items() if name not in BY_PRODUCT}
    return {name: {**one, **(products if name == LAST else {})} for name, one in seasons.items()}


def _intervals(figures: Figures) -> dict[str, list[float | None]]:
    return {name: [one.interval.low, one.interval.high] for name, one in figures.items()}


def _estimates(found: Sequence[Estimate]) -> dict[str, dict[str, Any]]:
    said = {one.name: asdict(one) for one in found}
    return {name: {key: value for key, value in one.items() if key != "name"} for name, one in said.items()}


def _alarm(row: Mapping[str, Any]) -> dict[str, Any]:
    kept = ("alarm_id", "kind", "state", "why", "release", "first_delivery", "attempts", "closed_by")
    return {**{name: row[name] for name in kept}, "deliveries": len(row["deliveries"])}


def _seconds(told: Told, rows: pl.DataFrame) -> dict[str, float]:
    seconds = told.outbox.join(rows, on="capture_id", how="semi")["seconds"]
    shares = (("p50", 0.5), ("p95", 0.95))
    return {name: round(seconds.quantile(share, "linear") or 0.0, 2) for name, share in shares}


def _counted(named: pl.Series) -> dict[str, int]:
    return dict(named.alias("name").value_counts().sort("name").iter_rows())


def _summary(shown: Mapping[str, Any]) -> Table:
    table = Table("", "", title="The story in numbers")
    for release in shown["releases"]:
        table.add_row("release", f"{release['version']} of {release['candidate']} ({release['trigger']})")
    table.add_row("retrainings", str(shown["retrainings"]))
    table.add_row("frames", f"{shown['frames']}, {shown['rejected']} of them rejected")
    for season, verdicts in shown["verdicts"].items():
        latency = shown["file_to_verdict_seconds"][season]
        told = f"{_list(verdicts)}; from file to verdict p50 {latency['p50']} s, p95 {latency['p95']} s"
        table.add_row(f"verdicts, {season}", told)
    for season, reasons in shown["review"]["asked"].items():
        table.add_row(f"people were asked, {season}", _list(reasons))
    table.add_row("review queue", _list(shown["review"]["queue"]))
    table.add_row("seconds", str(shown["seconds"]))
    return table


def _criteria(candidate: str, decision: pl.DataFrame) -> Table:
    table = Table(
        "criterion", "measured", "interval", "required", "frames", "", title=f"What {candidate} had to meet"
    )
    for row in decision.iter_rows(named=True):
        required = "nothing" if row["required"] is None else f"{row['required']:.3g}"
        table.add_row(
            f"{row['metric']} on {row['set']}{'' if row['slice'] == 'all' else ', ' + row['slice']}"
            f"{'' if row['kind'] == 'acceptance' else ' (' + row['kind'] + ')'}",
            number(row["measured"]),
            span(row["low"], row["high"]),
            f"{'≥' if row['comparison'] == 'at_least' else '≤'} {required}",
            str(row["samples"]),
            _outcome(row),
        )
    return table


def _outcome(row: Mapping[str, Any]) -> str:
    if not row["passed"]:
        return "[red]MISSED[/]"
    return "does not apply" if row["measured"] is None else "[green]met[/]"


def _by_truth(told: Mapping[str, Figures]) -> Table:
    table = Table("figure", "season", "by the truth", "interval", "cells", "modules", title="By the truth")
    for name, words in WORDS.items():
        for season in (one for one in SEASONS if one in told):
            one = told[season][name]
            interval = span(one.interval.low, one.interval.high)
            counted = (str(one.samples), str(one.groups))
            table.add_row(words, SEASONS[season], number(one.interval.value), interval, *counted)
    return table


def _beside_the_truth(estimates: Mapping[int, Sequence[Estimate]]) -> Table:
    titles = ("figure", "after season", "estimate", "interval", "by the truth", "deliveries", "verdict")
    table = Table(*titles, title="What the product itself makes of people's answers")
    for season, found in estimates.items():
        for one in found:
            shown = (number(one.value), span(one.low, one.high), number(one.truth))
            table.add_row(WORDS[one.name], str(season), *shown, str(one.deliveries), one.verdict)
    return table


def _alarms(alarms: Sequence[Mapping[str, Any]]) -> Table:
    table = Table("alarm", "state", "deliveries", "closed by", "what happened", title="Alarms and warnings")
    for one in alarms:
        closed_by, deliveries = one["closed_by"] or "", str(one["deliveries"])
        table.add_row(one["alarm_id"], one["state"], deliveries, closed_by, one["why"].partition(". ")[0])
    return table


def _claims(checked: Sequence[Claim]) -> Table:
    table = Table("the story claims that", "", "seen", title="Claims")
    for claim in checked:
        table.add_row(claim.words, "[green]holds[/]" if claim.holds else "[red]DOES NOT HOLD[/]", claim.seen)
    return table


def _list(counted: Mapping[str, int]) -> str:
    return ", ".join(f"{name} {count}" for name, count in counted.items())
