"""What season 2 claims, checked on what the lake, the outbox and the worklist hold against what the plant knows."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Final

import polars as pl

from cv_assets.evaluation.band import OperatingBand, verdict
from cv_assets.spec.schema import Spec
from demo.claims import Claim, counts, defect, few
from demo.modules import Cell
from demo.plant import ANNOTATORS, VERIFIER, Task

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
class Inspected:
    """All that there is after season 2: what the plant knows, and what the product left.

    `truth` maps a delivered frame to its cell, `later` and `golden` are numbers of modules; `release` is the row in
    force and `weights_sha256` its head. `verdict_files` maps a delivery to what the line reads. `asked` is the worklist
    as the annotators read it, `misshown` the parts whose picture was not beside it. `dangling` are the links of the
    explanation that lead nowhere; `before` holds the inspections as they were before thresholds were replayed.
    """

    spec: Spec
    truth: Mapping[str, Cell]
    later: frozenset[int]
    golden: frozenset[int]
    raw: pl.DataFrame
    inspections: pl.DataFrame
    release: Mapping[str, Any]
    weights_sha256: str
    outbox: pl.DataFrame
    verdict_files: Mapping[str, Sequence[Mapping[str, Any]]]
    asked: tuple[Task, ...]
    misshown: tuple[str, ...]
    queue: pl.DataFrame
    explained: str
    explanation: pl.DataFrame
    dangling: tuple[str, ...]
    before: pl.DataFrame
    replay: pl.DataFrame

    @property
    def season(self) -> pl.DataFrame:
        """The verdicts on season 2's captures."""
        return self.inspections.filter(self._is_later)

    @property
    def _is_later(self) -> pl.Expr:
        frames = [frame_id for frame_id, cell in self.truth.items() if cell.module in self.later]
        return pl.col("frame_id").is_in(frames)


def verdict_claims(outcome: Inspected) -> list[Claim]:
    """Everything that season 2 claims."""
    return [
        _every_capture_has_its_verdict(outcome),
        _line_was_told_the_same(outcome),
        _people_were_asked(outcome),
        _nobody_is_asked_twice(outcome),
        _every_question_is_answered(outcome),
        _explanation_can_be_followed(outcome),
        _replay_changed_nothing(outcome),
    ]


def _every_capture_has_its_verdict(outcome: Inspected) -> Claim:
    missing = sorted(set(outcome.raw["capture_id"]) ^ set(outcome.inspections["capture_id"]))
    repeated = outcome.inspections.height - outcome.inspections["capture_id"].n_unique()
    season, earlier = outcome.season, outcome.inspections.join(outcome.season, on="capture_id", how="anti")
    wrong = [row["part"] for row in season.iter_rows(named=True) if not _follows(row, outcome)]
    too_early = earlier.filter((pl.col("verdict") != "REVIEW") | pl.col("release").is_not_null()).height
    version = outcome.release["version"]
    return Claim(
        f"every capture has exactly one verdict: REVIEW before the release; after it by {version}, with its scores, "
        "thresholds and model, or as a rejected frame",
        not (missing or repeated or wrong or too_early) and not season.is_empty(),
        f"{earlier.height} captures before {version} and {season.height} after it ({counts(season['reason'])}); "
        f"{len(missing)} missing, {repeated} repeated, {too_early} decided too early, {few(wrong, 'wrong')}",
    )


def _follows(row: Mapping[str, Any], outcome: Inspected) -> bool:
    """Whether a verdict of season 2 is the one that its own scores, thresholds and the release in force give."""
    release = outcome.release
    if row["release"] != release["version"]:
        return False
    if row["reason"] == "frame_rejected":
        return row["verdict"] == "REVIEW" and row["scores"] is None
    if row["scores"] is None:
        return False
    decided_by = (row["model"], row["weights_sha256"], row["lower"], row["upper"])
    if decided_by != (release["model"], outcome.weights_sha256, release["lower"], release["upper"]):
        return False
    scores = dict(zip(row["classes"], row["scores"], strict=True))
    band = OperatingBand(row["lower"], row["upper"])
    same = abs(row["defect_score"] - (1 - scores[outcome.spec.pass_class])) < 1e-6
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


def _people_were_asked(outcome: Inspected) -> Claim:
    due = {row["part"]: row for row in outcome.season.iter_rows(named=True) if _is_due(row)}
    asked = {task.part: task.reason for task in outcome.asked}
    probability = dict(outcome.queue.select("frame_id", "probability").iter_rows())
    wrong = [
        part
        for part in due.keys() | asked.keys()
        if part not in due
        or asked.get(part) != _reason_to_ask(due[part])
        or probability.get(due[part]["frame_id"]) != due[part]["review_probability"]
    ]
    return Claim(
        "people were asked about every REVIEW and every audited cell, and no other, with picture, reason and "
        "probability",
        not wrong and not outcome.misshown and bool(due),
        f"{len(due)} to be asked, {len(asked)} asked ({counts(pl.Series(list(asked.values())))}), "
        f"{few(sorted(wrong), 'wrong')}, {few(outcome.misshown, 'without their picture')}",
    )


def _is_due(row: Mapping[str, Any]) -> bool:
    return bool(row["verdict"] == "REVIEW" or row["audit"])


def _reason_to_ask(row: Mapping[str, Any]) -> str:
    return str(row["reason"] if row["verdict"] == "REVIEW" else "random_audit")


def _nobody_is_asked_twice(outcome: Inspected) -> Claim:
    frames, parts = outcome.queue["frame_id"], [task.part for task in outcome.asked]
    twice = len(frames) - frames.n_unique() + len(parts) - len(set(parts))
    names = {cell.frame_id for cell in outcome.truth.values() if cell.module in outcome.later}
    again = sum(_module(part) not in outcome.later for part in parts)
    return Claim(
        "nobody is asked about the same frame twice",
        not twice and not again,
        f"{len(frames)} items in the queue, {len(names & set(frames))} of them of season 2; {len(parts)} on the "
        f"worklist; {twice} twice, {again} answered before",
    )


def _module(part: str) -> int:
    return int(part[1:].split("c")[0])


def _every_question_is_answered(outcome: Inspected) -> Claim:
    open_ = outcome.queue.filter(pl.col("state") != "answered").height
    wrong = [row["part"] for row in outcome.queue.iter_rows(named=True) if not _is_their_answer(row, outcome)]
    lost = {task.part for task in outcome.asked} - set(outcome.queue["part"])
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
    people = {VERIFIER} if cell.module in outcome.golden else set(ANNOTATORS)
    return row["answer"] == said and set(row["answered_by"]) == people


def _explanation_can_be_followed(outcome: Inspected) -> Claim:
    rows = outcome.season.filter(pl.col("part") == outcome.explained)
    asked = bool(rows.height) and _is_due(rows.row(0, named=True))
    missing = sorted((CHAIN if asked else CHAIN - {"review"}) - set(outcome.explanation["link"]))
    return Claim(
        "the explanation of one verdict is a whole chain, and each of its links can be followed",
        not rows.is_empty() and not missing and not outcome.dangling,
        f"part {outcome.explained} ({', '.join(rows['verdict'])}): {outcome.explanation.height} links "
        f"({counts(outcome.explanation['link'])}), {few(missing, 'missing')}, "
        f"{few(outcome.dangling, 'leading nowhere')}",
    )


def _replay_changed_nothing(outcome: Inspected) -> Claim:
    same = outcome.before.sort("capture_id").equals(outcome.inspections.sort("capture_id"))
    scored = outcome.inspections.filter(pl.col("defect_score").is_not_null())
    stored = outcome.replay.join(scored, on=["capture_id", "verdict", "defect_score"], how="semi").height
    whole = stored == outcome.replay.height == scored.height
    others = outcome.replay.filter("changed").height
    return Claim(
        "another band was tried on every stored score, and no verdict was touched",
        same and whole and bool(outcome.replay.height),
        f"{outcome.replay.height} scores replayed of {scored.height}, {others} verdicts would be others; "
        f"{'none was' if same else 'verdicts were'} touched",
    )
