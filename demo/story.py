"""The story: two seasons, and how it is told at the end."""

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Final

import polars as pl
from rich.table import Table

from demo.cast import SEED
from demo.claims import Claim, Outcome, claims
from demo.figures import WORDS, Figures, golden_figures, number, span, values, verdict_figures
from demo.play import Play
from demo.season1 import CANDIDATE, candidate, play_season1
from demo.season2 import Season2, inspected, play_season2
from demo.verdict_claims import Inspected, verdict_claims
from resources.tables import Snapshot

SEASONS: Final = {"season1": "1: golden cells", "season2": "2: later cells"}


def play_story(play: Play, file: Path) -> bool:
    """Both seasons, then `story.json` and the tables; whether every claim holds. Raises StoryError.

    Without a release there is no season 2: the story then ends with what was missed.
    """
    play_season1(play)
    released = play.watch.head().table("releases")["outcome"][-1] == "released"
    return _finish(play, play_season2(play) if released else None, file)


def outcome(play: Play) -> Outcome:
    """What season 1 left in the lake; of a refused candidate, what its own branch holds."""
    head = play.watch.head()
    releases = head.table("releases")
    judged = head if releases["outcome"][-1] == "released" else candidate(play)
    decision = judged.table("release_decision", CANDIDATE)
    checkpoint = judged.table(f"{decision['model'][0]}_checkpoint", CANDIDATE)
    return Outcome(
        spec=play.spec,
        truth={name: cell for cell, name in play.files.items()},
        golden=frozenset(module.number for module in play.cast.golden),
        voted=frozenset(cell.frame_id for cell in play.voted),
        raw=head.tables("raw_frames"),
        prepared=head.tables("prepared_frames"),
        labels=head.table("label_table"),
        benchmark=head.table("benchmark_frames"),
        split=judged.table("split_table", CANDIDATE),
        report=judged.table("evaluation_report", CANDIDATE),
        decision=decision,
        checkpoint=checkpoint,
        weights=(judged.read(checkpoint["weights"][0]), judged.read(checkpoint["backbone"][0])),
        releases=releases,
        tags={
            name: Snapshot(head.lake, commit).table("releases")
            for name, commit in play.watch.tables.lake.tags("v").items()
        },
        requests=head.tables("training_request"),
    )


def figures(first: Outcome, second: Inspected | None) -> dict[str, Figures]:
    """The figures of each season that was played under a release, by the truth that the plant knows."""
    if "released" not in first.releases["outcome"]:
        return {}
    told: dict[str, Figures] = {"season1": golden_figures(first.report, first.decision["model"][0])}
    if second is not None:
        truth = {frame_id: cell.defective for frame_id, cell in second.truth.items()}
        told["season2"] = verdict_figures(second.season, truth, second.spec.evaluation)
    return told


def story(first: Outcome, second: Inspected | None, *, seed: int, seconds: float) -> dict[str, Any]:
    """The story as numbers, for `story.json`."""
    released = first.releases.filter(pl.col("outcome") == "released")
    told = figures(first, second)
    return {
        "seed": seed,
        "seconds": round(seconds, 1),
        "frames": first.raw.height,
        "rejected": first.prepared.filter(~pl.col("accepted")).height,
        "releases": released.select("version", "candidate", "trigger").to_dicts(),
        "retrainings": first.requests.filter(pl.col("reason") != "first_release").height,
        "alarms": [],
        "kpi": {season: values(shown) for season, shown in told.items()},
        "intervals": {
            season: {name: [one.interval.low, one.interval.high] for name, one in shown.items()}
            for season, shown in told.items()
        },
        **({} if second is None else _inspection_story(second)),
    }


def _inspection_story(second: Inspected) -> dict[str, Any]:
    seconds = second.outbox.join(second.season, on="capture_id", how="semi")["seconds"]
    asked = pl.Series("reason", [task.reason for task in second.asked])
    return {
        "verdicts": {"season2": dict(second.season["verdict"].value_counts().sort("verdict").iter_rows())},
        "file_to_verdict_seconds": {
            "season2": {
                name: round(seconds.quantile(share, "linear") or 0.0, 2)
                for name, share in (("p50", 0.5), ("p95", 0.95))
            }
        },
        "review": {
            "asked": {"season2": dict(asked.value_counts().sort("reason").iter_rows())},
            "queue": dict(second.queue["state"].value_counts().sort("state").iter_rows()),
        },
    }


def _finish(play: Play, season: Season2 | None, file: Path) -> bool:
    """Tell how it ended, write story.json, and say whether every claim holds."""
    first, screen = outcome(play), play.screen
    second = None if season is None else inspected(play, season)
    told = story(first, second, seed=SEED, seconds=screen.seconds)
    file.write_text(json.dumps(told, indent=2) + "\n")
    checked = claims(first) + ([] if second is None else verdict_claims(second))
    screen.chapter("The story")
    screen.show(_criteria(first.decision))
    screen.show(_figures(figures(first, second)))
    screen.show(_claims(checked))
    screen.show(_summary(told))
    golden, later = play.cast.golden, play.cast.later
    screen.tell(
        f"Season 1's figures rest on {len(golden)} golden modules (their accepted cells), season 2's on {len(later)} "
        "later ones (every cell; a person sees a rejected one): read their intervals. The modules were drawn once, "
        "with one seed, before anything was trained. The two AUC criteria were lowered after this draw had missed one "
        "of the first: docs/decisions/0011-acceptance-criteria.md."
    )
    return all(claim.holds for claim in checked)


def _summary(told: Mapping[str, Any]) -> Table:
    table = Table("", "", title="The story in numbers")
    for release in told["releases"]:
        table.add_row("release", f"{release['version']} of {release['candidate']} ({release['trigger']})")
    table.add_row("frames", f"{told['frames']}, {told['rejected']} of them rejected")
    if "review" in told:
        latency = told["file_to_verdict_seconds"]["season2"]
        table.add_row("verdicts, season 2", _list(told["verdicts"]["season2"]))
        table.add_row("from file to verdict, season 2", f"p50 {latency['p50']} s, p95 {latency['p95']} s")
        table.add_row("people were asked, season 2", _list(told["review"]["asked"]["season2"]))
        table.add_row("review queue", _list(told["review"]["queue"]))
    table.add_row("seconds", str(told["seconds"]))
    return table


def _criteria(decision: pl.DataFrame) -> Table:
    table = Table("criterion", "measured", "interval", "required", "frames", "", title="What was required")
    for row in decision.iter_rows(named=True):
        table.add_row(
            f"{row['metric']} on {row['set']}{'' if row['slice'] == 'all' else ', ' + row['slice']}",
            number(row["measured"]),
            span(row["low"], row["high"]),
            f"{'≥' if row['comparison'] == 'at_least' else '≤'} {row['required']:g}",
            str(row["samples"]),
            "[green]met[/]" if row["passed"] else "[red]MISSED[/]",
        )
    return table


def _figures(told: Mapping[str, Figures]) -> Table:
    table = Table("figure", "season", "by the truth", "interval", "cells", "modules", title="By the truth")
    for name, words in WORDS.items():
        for season, shown in told.items():
            one = shown[name]
            interval = span(one.interval.low, one.interval.high)
            counted = (str(one.samples), str(one.groups))
            table.add_row(words, SEASONS[season], number(one.interval.value), interval, *counted)
    return table


def _claims(checked: Sequence[Claim]) -> Table:
    table = Table("the story claims that", "", "seen", title="Claims")
    for claim in checked:
        table.add_row(claim.words, "[green]holds[/]" if claim.holds else "[red]DOES NOT HOLD[/]", claim.seen)
    return table


def _list(counted: Mapping[str, int]) -> str:
    return ", ".join(f"{name} {count}" for name, count in counted.items())
