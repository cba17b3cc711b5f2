"""What is claimed of verdicts and of what people are asked, from season 2 on, against what the plant knows."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Final

import polars as pl

from cv_assets.evaluation.band import OperatingBand, verdict
from cv_assets.spec.schema import Spec
from demo.claims import Claim, counts, defect, few
from demo.modules import Cell
from demo.people import Asked
from demo.plant import ANNOTATORS, VERIFIER
from demo.seasons import captured_in

CHAIN: Final = frozenset(
    {
        "capture",
        "preparation",
        "verdict",
        "release",
        "gate",
        "checkpoint",
        "request",
        "labels",
        "benchmark",
        "review",
    }
)
"""The links behind a verdict that a model gave and a person looked at."""


@dataclass(frozen=True)
class Decider:
    """What was in force in a season: the row of releases, and the sha256 of its head."""

    release: Mapping[str, Any]
    weights_sha256: str


@dataclass(frozen=True)
class Inspected:
    """All that there is at the end: what the plant knows, and what the product left.

    `truth` maps a delivered frame to its cell, `verified` are the frames that a person verified. `deciders` are the
    releases by season, from season 2 on. `verdict_files` maps a delivery to what the line reads. `asked` is what the
    worklist asked in each season, `drifted` the deliveries of drift alarms. `explained` is the part whose verdict was
    explained in season 2; `dangling` are the links of the explanation that lead nowhere; `before` holds the inspections
    as they were before thresholds were replayed.
    """

    spec: Spec
    truth: Mapping[str, Cell]
    verified: frozenset[str]
    deciders: Mapping[int, Decider]
    raw: pl.DataFrame
    inspections: pl.DataFrame
    verdict_files: Mapping[str, Sequence[Mapping[str, Any]]]
    asked: tuple[Asked, ...]
    drifted: frozenset[str]
    queue: pl.DataFrame
    explained: str
    explanation: pl.DataFrame
    dangling: tuple[str, ...]
    before: pl.DataFrame
    replay: pl.DataFrame

    def season(self, number: int) -> pl.DataFrame:
        """The verdicts on the season's captures."""
        return self.inspections.filter(captured_in(number))


def verdict_claims(outcome: Inspected) -> list[Claim]:
    """Everything that is claimed of them."""
    return [
        _every_capture_has_its_verdict(outcome),
        _line_was_told_the_same(outcome),
        *(_people_were_asked(outcome, asked) for asked in outcome.asked),
        _nobody_is_asked_twice(outcome),
        _every_question_is_answered(outcome),
        _explanation_can_be_followed(outcome),
        _replay_changed_nothing(outcome),
    ]


def _every_capture_has_its_verdict(outcome: Inspected) -> Claim:
    missing = sorted(set(outcome.raw["capture_id"]) ^ set(outcome.inspections["capture_id"]))
    repeated = outcome.inspections.height - outcome.inspections["capture_id"].n_unique()
    seasons = {number: outcome.season(number) for number in outcome.deciders}
    wrong = [
        row["part"]
        for number, rows in seasons.items()
        for row in rows.iter_rows(named=True)
        if not _follows(row, outcome.deciders[number], outcome.spec)
    ]
    early = outcome.inspections.join(pl.concat(seasons.values()), on="capture_id", how="anti")
    too_early = early.filter((pl.col("verdict") != "REVIEW") | pl.col("release").is_not_null()).height
    told = [
        f"{rows.height} in season {number} by {outcome.deciders[number].release['version']} "
        f"({counts(rows['reason'])})"
        for number, rows in seasons.items()
    ]
    return Claim(
        "every capture has exactly one verdict: REVIEW before the first release; after it by the release in force, "
        "with its scores, thresholds and model, or as a rejected frame",
        not (missing or repeated or wrong or too_early)
        and not any(map(pl.DataFrame.is_empty, seasons.values())),
        f"{early.height} captures before the first release; {'; '.join(told)}; {len(missing)} missing, {repeated} "
        f"repeated, {too_early} decided too early, {few(wrong, 'wrong')}",
    )


def _follows(row: Mapping[str, Any], decider: Decider, spec: Spec) -> bool:
    """Whether a verdict is the one that its own scores, thresholds and the release in force give."""
    release = decider.release
    if row["release"] != release["version"]:
        return False
    if row["reason"] == "frame_rejected":
        return row["verdict"] == "REVIEW" and row["scores"] is None
    if row["scores"] is None:
        return False
    decided_by = (row["model"], row["weights_sha256"], row["lower"], row["upper"])
    if decided_by != (release["model"], decider.weights_sha256, release["lower"], release["upper"]):
        return False
    scores = dict(zip(row["classes"], row["scores"], strict=True))
    band = OperatingBand(row["lower"], row["upper"])
    same = abs(row["defect_score"] - (1 - scores[spec.pass_class])) < 1e-6
    return bool(same) and verdict(row["defect_score"], band) == row["verdict"]


def _line_was_told_the_same(outcome: Inspected) -> Claim:
    stored = {row["capture_id"]: _told(row) for row in outcome.inspections.iter_rows(named=True)}
    told = {
        entry["capture_id"]: _told(entry) for entries in outcome.verdict_files.values() for entry in entries
    }
    entries = sum(map(len, outcome.verdict_files.values()))
    differ = sum(stored.get(key) != told.get(key) for key in stored.keys() | told.keys())
    deliveries = set(outcome.inspections["delivery"])
    return Claim(
        "every delivery's verdict file says the same as the table",
        not differ and entries == len(stored) and outcome.verdict_files.keys() == deliveries,
        f"{len(outcome.verdict_files)} files of {len(deliveries)} deliveries, {entries} verdicts, {differ} differ",
    )


def _told(row: Mapping[str, Any]) -> tuple[Any, ...]:
    """What the line must know of a verdict, from a row of the table or an entry of a verdict file."""
    at = row["decided_at"]
    moment = at if isinstance(at, datetime) else datetime.fromisoformat(at)
    return (row["part"], row["verdict"], row["reason"], row["release"], moment)


def _people_were_asked(outcome: Inspected, asked: Asked) -> Claim:
    before = {task.part for one in outcome.asked if one.season < asked.season for task in one.tasks}
    rows = outcome.season(asked.season).filter(~pl.col("part").is_in(before))
    due = {row["part"]: row for row in rows.iter_rows(named=True) if _is_due(row, outcome)}
    reasons = {task.part: task.reason for task in asked.tasks}
    probability = dict(asked.queue.select("frame_id", "probability").iter_rows())
    wrong = [
        part
        for part in due.keys() | reasons.keys()
        if part not in due
        or reasons.get(part) != _reason_to_ask(due[part], outcome)
        or probability.get(due[part]["frame_id"]) != _chance_to_ask(due[part], outcome)
    ]
    return Claim(
        f"season {asked.season}: people were asked about every REVIEW, every audited cell and every cell of a drifted "
        "delivery, and no other, with picture, reason and probability",
        not wrong and not asked.misshown and bool(due),
        f"{len(due)} to be asked, {len(reasons)} asked ({counts(asked.reasons)}), "
        f"{few(sorted(wrong), 'wrong')}, {few(asked.misshown, 'without their picture')}",
    )


def _is_due(row: Mapping[str, Any], outcome: Inspected) -> bool:
    return bool(row["verdict"] == "REVIEW" or row["audit"] or row["delivery"] in outcome.drifted)


def _reason_to_ask(row: Mapping[str, Any], outcome: Inspected) -> str:
    if row["delivery"] in outcome.drifted:
        return "drifted"
    return str(row["reason"] if row["verdict"] == "REVIEW" else "random_audit")


def _chance_to_ask(row: Mapping[str, Any], outcome: Inspected) -> float:
    return 1.0 if row["delivery"] in outcome.drifted else float(row["review_probability"])


def _nobody_is_asked_twice(outcome: Inspected) -> Claim:
    frames = outcome.queue["frame_id"]
    parts = [task.part for asked in outcome.asked for task in asked.tasks]
    twice = len(frames) - frames.n_unique() + len(parts) - len(set(parts))
    later = {part for number in outcome.deciders for part in outcome.season(number)["part"]}
    again = sum(part not in later for part in parts)
    return Claim(
        "nobody is asked about the same frame twice, in whatever season it is imaged",
        not twice and not again,
        f"{len(frames)} items in the queue; {len(parts)} on the worklists; {twice} twice, {again} answered before",
    )


def _every_question_is_answered(outcome: Inspected) -> Claim:
    open_ = outcome.queue.filter(pl.col("state") != "answered").height
    wrong = [row["part"] for row in outcome.queue.iter_rows(named=True) if not _is_their_answer(row, outcome)]
    lost = {task.part for asked in outcome.asked for task in asked.tasks} - set(outcome.queue["part"])
    return Claim(
        "every question is answered at the end, with what the people said",
        not open_ and not wrong and not lost,
        f"{outcome.queue.height} items, {open_} not answered, {len(lost)} lost; "
        f"answers: {counts(outcome.queue['answer'])}; {few(sorted(wrong), 'wrong')}",
    )


def _is_their_answer(row: Mapping[str, Any], outcome: Inspected) -> bool:
    cell = outcome.truth.get(row["frame_id"])
    if cell is None:
        return False
    said = defect(outcome.spec) if cell.defective else outcome.spec.pass_class
    people = {VERIFIER} if cell.frame_id in outcome.verified else set(ANNOTATORS)
    return row["answer"] == said and set(row["answered_by"]) == people


def _explanation_can_be_followed(outcome: Inspected) -> Claim:
    rows = outcome.season(2).filter(pl.col("part") == outcome.explained)
    asked = bool(rows.height) and _is_due(rows.row(0, named=True), outcome)
    missing = sorted((CHAIN if asked else CHAIN - {"review"}) - set(outcome.explanation["link"]))
    return Claim(
        "the explanation of one verdict is a whole chain, and each of its links can be followed",
        not rows.is_empty() and not missing and not outcome.dangling,
        f"part {outcome.explained} ({', '.join(rows['verdict'])}): {outcome.explanation.height} links "
        f"({counts(outcome.explanation['link'])}), {few(missing, 'missing')}, "
        f"{few(outcome.dangling, 'leading nowhere')}",
    )


def _replay_changed_nothing(outcome: Inspected) -> Claim:
    now = outcome.inspections.join(outcome.before, on="capture_id", how="semi")
    same = outcome.before.sort("capture_id").equals(now.sort("capture_id"))
    scored = outcome.before.filter(pl.col("defect_score").is_not_null())
    stored = outcome.replay.join(scored, on=["capture_id", "verdict", "defect_score"], how="semi").height
    whole = stored == outcome.replay.height == scored.height
    others = outcome.replay.filter("changed").height
    return Claim(
        "another band was tried on every stored score, and no verdict was touched",
        same and whole and bool(outcome.replay.height),
        f"{outcome.replay.height} scores replayed of {scored.height}, {others} verdicts would be others; "
        f"{'none was' if same else 'verdicts were'} touched",
    )
