"""The links of one verdict, in words: the capture, its preparation, the verdict itself, and what people said later."""

import json
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Final

import polars as pl

from cv_assets.evaluation.band import OperatingBand
from cv_assets.frames.schema import STATISTICS, PreparedFrames, RawFrames
from cv_assets.labels.consensus import with_class
from cv_assets.lookback.explanation import Fact, Row, Source, Written, missing
from cv_assets.lookback.words import moment, settings
from cv_assets.words import counted, listed

STATEMENT: Final = (
    "export",
    "row",
    "annotation_id",
    "annotator",
    "annotated_at",
    "objects",
    "uncertain",
    "guideline",
    "benchmark",
    "evidence",
)
"""All that is read here of annotations."""

_CLOCKS: Final = {"file_name": "as its file name says", "file_time": "by the time of its file"}


@dataclass(frozen=True)
class Seen:
    """One capture of the part: its rows in each table, each None while it is not there.

    `spec` is the spec that was published when it was decided; `verdicts`, `raw` and the others say where they are from.
    """

    delivery: str
    capture_id: str
    raw: Written
    prepared: Written
    verdicts: Written
    outbox: Written
    spec: Written

    @property
    def capture(self) -> Row:
        """Its row of raw_frames; columns that were added since are None."""
        return _whole(RawFrames, self.raw.row(capture_id=self.capture_id)) or {}

    @property
    def preparation(self) -> Row | None:
        """Its row of prepared_frames."""
        return _whole(PreparedFrames, self.prepared.row(capture_id=self.capture_id))

    @property
    def verdict(self) -> Row | None:
        """Its row of inspections."""
        return self.verdicts.row(capture_id=self.capture_id)


@dataclass(frozen=True)
class Answers:
    """What people were asked and what they said, as of the pin.

    `statements` are rows of annotations, `exports` says where the export of each is written.
    """

    queue: Written
    labels: Written
    benchmark: Written
    statements: pl.DataFrame
    exports: Mapping[str, Source]


def capture_facts(seen: Seen) -> list[Fact]:
    """What was taken, when and where, and which bytes they are."""
    row, table = seen.capture, seen.raw.source
    attributes = settings(row["attributes"])
    bits = f"{row['channels']} x {row['depth_bits']} bit" if row["channels"] and row["depth_bits"] else ""
    size = f"{row['width']} x {row['height']} pixels" if row["width"] else "no readable image"
    belongs = f"of group {row['group']}" if row["group"] else ""
    return [
        Fact(
            "capture",
            "part",
            ", ".join(filter(None, [row["part"], belongs, attributes, f"capture {row['capture_id']}"])),
            table,
        ),
        Fact(
            "capture",
            "taken",
            f"{moment(row['captured_at'])}, {_CLOCKS[row['captured_at_source']]}, by camera "
            f"{row['camera'] or 'unknown'} of station {row['station'] or 'unknown'}",
            table,
        ),
        Fact(
            "capture",
            "received",
            f"with delivery {row['delivery']} {moment(row['received_at'])}"
            + (f"; its file was complete {moment(row['arrived_at'])}" if row["arrived_at"] else ""),
            table,
        ),
        Fact(
            "capture",
            "frame",
            ", ".join(filter(None, [row["file_name"], size, bits, counted(row["size_bytes"], "byte")]))
            + f"; sha256 {row['frame_id']}",
            table.of(row["path"]),
        ),
    ]


def preparation_facts(seen: Seen) -> list[Fact]:
    """The pass that the frame went through, and what came out."""
    row = seen.preparation
    if row is None:
        return [Fact("preparation", "result", "it was not prepared yet", seen.raw.source)]
    table = seen.prepared.source
    facts = [
        Fact("preparation", "result", _result(row), table),
        Fact("preparation", "pass", f"digest {row['preparation']}", table),
    ]
    if spec := seen.spec.row(section="preparation"):
        said = f"{settings(spec['value'])}; spec {spec['spec_digest']}"
        facts.append(Fact("preparation", "spec then", said, seen.spec.source))
    if measured := row["prepared"] or row["decoded"]:
        names = (f"{name.replace('_', ' ')} {measured[name]:.4g}" for name in STATISTICS)
        facts.append(Fact("preparation", "measured", ", ".join(names), table))
    if row["path"]:
        says = f"as the model sees it; sha256 {_sha256(row['path'])}"
        facts.append(Fact("preparation", "prepared frame", says, table.of(row["path"])))
    return facts


def verdict_facts(seen: Seen) -> list[Fact]:
    """The verdict, and everything that was stored with it."""
    row, table = seen.verdict, seen.verdicts.source
    if row is None:
        return [Fact("verdict", "verdict", standing(seen), seen.raw.source)]
    told = {
        "verdict": f"{row['verdict']}: {row['why']} ({row['reason']})",
        "given": moment(row["decided_at"])
        + ("" if row["latency_ms"] is None else f"; the model took {row['latency_ms']:.1f} ms"),
        "decided by": _decided_by(row),
    }
    if row["scores"]:
        scores = dict(zip(row["classes"], row["scores"], strict=True))
        told["scores"] = ", ".join(f"{name} {score:.4f}" for name, score in scores.items())
        told["defect score"] = (
            f"{row['defect_score']:.4f}, which is 1 - the probability of the class that passes"
        )
    if row["lower"] is not None:
        band = OperatingBand(row["lower"], row["upper"])
        told["thresholds in effect"] = f"{band.words} (lower {row['lower']:.6g}, upper {row['upper']:.6g})"
    told["random audit"] = (
        f"{'drawn' if row['audit'] else 'not drawn'}; the probability that a person sees it was "
        f"{row['review_probability']:.3g}"
    )
    return [*(Fact("verdict", about, says, table) for about, says in told.items()), _told_the_line(seen)]


def standing(seen: Seen) -> str:
    """Where a capture without a verdict stands, in words."""
    row, where = seen.preparation, f"delivery {seen.delivery} was received"
    if row is None:
        return f"no verdict yet: {where}, and its frames are not prepared (job `receive`)"
    return f"no verdict yet: {where} and prepared ({_result(row)}), and not inspected (job `receive`)"


def review_facts(seen: Seen, people: Answers) -> list[Fact]:
    """Whether people were asked about the frame, what each said, and whether that contradicts the verdict."""
    row = seen.verdict
    if row is None:
        return []
    facts = [_asked(row, seen, people)]
    label, by = people.labels.row(frame_id=row["frame_id"]), people.labels.source
    verified = people.benchmark.row(frame_id=row["frame_id"])
    if label is not None:
        facts += _votes(label, people, pass_class(seen.spec))
        facts.append(Fact("review", "label", _label(label), by))
    if verified is not None:
        says = (
            f"{verified['label']}, verified by {verified['verified_by']} {moment(verified['verified_at'])} for the "
            f"{verified['set']} set of the benchmark"
        )
        facts.append(Fact("review", "verified", says, people.benchmark.source))
    if truth := known_class(row["frame_id"], people):
        source = people.benchmark.source if verified is not None else by
        facts.append(
            Fact(
                "review",
                "verdict and people",
                comparison(
                    row, truth, seen, earlier=known_since(row["frame_id"], people) < row["decided_at"]
                ),
                source,
            )
        )
    return facts


def known_class(frame_id: str, people: Answers) -> str | None:
    """The class that people verified or agreed on; None when it is not known."""
    verified, label = people.benchmark.row(frame_id=frame_id), people.labels.row(frame_id=frame_id)
    if verified is not None:
        return str(verified["label"])
    return None if label is None or label["status"] != "agreed" else str(label["label"])


def known_since(frame_id: str, people: Answers) -> datetime:
    """When what `known_class` gives was said last. Raises KeyError when it is not known."""
    verified, label = people.benchmark.row(frame_id=frame_id), people.labels.row(frame_id=frame_id)
    if verified is not None:
        return verified["verified_at"]  # type: ignore[no-any-return]
    if label is None:
        raise KeyError(frame_id)
    return label["labelled_at"]  # type: ignore[no-any-return]


def comparison(verdict: Row, truth: str, seen: Seen, *, earlier: bool) -> str:
    """Whether what people said, maybe `earlier` than the verdict, contradicts it, in words."""
    passes, given = pass_class(seen.spec), verdict["verdict"]
    if given == "REVIEW":
        left = (
            "the verdict leaves open what they had decided"
            if earlier
            else "they decided what the verdict left to them"
        )
        return f"people say {truth}: {left}"
    if passes is None:
        return f"people say {truth}; which class passes is not known, for no spec is published"
    if (given == "PASS") == (truth == passes):
        return f"people say {truth}: they agree with {given}"
    wrong = (
        "an escape, a defective part that passed" if given == "PASS" else "overkill, a sound part that failed"
    )
    return f"people say {truth}: they CONTRADICT {given}; it was {wrong}"


def pass_class(spec: Written) -> str | None:
    """The class that passes by a published spec; None when there is none."""
    row = spec.row(section="classes")
    if row is None:
        return None
    return next((str(one["name"]) for one in json.loads(row["value"]) if one["passes"]), None)


def _whole(schema: Any, row: Row | None) -> Row | None:
    """The row with all columns of its contract: a table of last year may lack one."""
    return None if row is None else {**dict.fromkeys(schema.column_names()), **row}


def _result(preparation: Row) -> str:
    if preparation["accepted"]:
        return "accepted"
    score, bound = preparation["score"], preparation["bound"]
    figures = "" if score is None else f" {score:.4g}"
    figures += "" if score is None or bound is None else f", the bound is {bound:.4g}"
    detail = f": {preparation['detail']}" if preparation["detail"] else ""
    return f"rejected as {preparation['reason']}{figures}{detail}"


def _sha256(path: str) -> str:
    return path.rpartition("/")[2].partition(".")[0]


def _decided_by(row: Row) -> str:
    if row["release"] is None:
        return "no release was in force that could decide, so no model looked at it: a person has to"
    release = f"{row['release']} (row {row['release_number']} of releases), model {row['model']} of {row['candidate']}"
    if row["weights_sha256"] is None:
        return f"{release}, was in force, but no model looked at it: {row['reason']}"
    return f"{release}; sha256 of its head {row['weights_sha256']}"


def _told_the_line(seen: Seen) -> Fact:
    row = seen.outbox.row(capture_id=seen.capture_id)
    if row is None:
        return Fact("verdict", "told the line", "not yet", seen.verdicts.source)
    says = (
        f"{row['verdict']} in {row['file']} {moment(row['told_at'])}, {row['seconds']:.1f} s after its file was "
        f"complete; sha256 of the verdict file {row['file_sha256']}"
    )
    return Fact("verdict", "told the line", says, seen.outbox.source)


def _asked(row: Row, seen: Seen, people: Answers) -> Fact:
    item = people.queue.row(frame_id=row["frame_id"])
    if item is not None:
        answered = f", {moment(item['answered_at'])}" if item["answered_at"] else ""
        says = (
            f"asked for {item['reason']}: {item['why']}; since {moment(item['opened_at'])}, due "
            f"{moment(item['due_at'])}; {item['state']}{answered}"
        )
        return Fact("review", "item", says, people.queue.source)
    if row["verdict"] == "REVIEW" or row["audit"]:
        says = "people are to look at it; the review queue does not hold it yet (job `refresh`)"
    else:
        says = "nobody was asked: an automatic verdict that was not drawn for the random audit"
    return Fact("review", "item", says, seen.verdicts.source)


def _label(label: Row) -> str:
    votes = counted(label["votes"], "vote")
    if label["status"] == "agreed":
        return f"{label['label']}, {label['resolution']} of {votes} by {listed(label['annotators'])}"
    return f"none yet: {votes} by {listed(label['annotators'])} do not decide ({label['resolution']})"


def _votes(label: Row, people: Answers, passes: str | None) -> list[Fact]:
    said = people.statements.filter(pl.col("annotation_id").is_in(label["annotations"]))
    if said.is_empty() and label["annotations"]:
        return missing("review", "votes", people.labels.source)
    newest = said.sort("export", "row").unique("annotation_id", keep="last")
    voted = with_class(newest, passes or "nothing seen").sort("annotated_at", "annotation_id")
    return [
        Fact("review", one["annotator"], _vote(one), people.exports[one["export"]])
        for one in voted.iter_rows(named=True)
    ]


def _vote(one: Row) -> str:
    sure = ", not sure" if one["uncertain"] else ""
    return (
        f"{one['label'] or 'several classes'}{sure}, {moment(one['annotated_at'])}, by guideline "
        f"{one['guideline'] or 'unknown'}, in export {one['export']}"
    )
