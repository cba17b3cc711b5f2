"""Why one part got its verdict: from its pictures back to who approved, who labelled, and what people say.

Each table is read as of the commit that the next link names: frames as of the verdict, the model as of its decision,
the labels as of the split that trained it. Nothing is read as of today but what is said of today.
"""

import difflib
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import replace
from typing import Final

import polars as pl

from cv_assets.labels.schema import Annotations
from cv_assets.lookback.explanation import (
    Archive,
    Explanation,
    Fact,
    Finding,
    Picture,
    Row,
    Section,
    Source,
    Written,
    missing,
    with_let_go,
)
from cv_assets.lookback.findings import agreement_findings, release_findings, verdict_findings
from cv_assets.lookback.in_short import in_short
from cv_assets.lookback.model_links import (
    Behind,
    benchmark_facts,
    checkpoint_facts,
    gate_facts,
    label_facts,
    release_facts,
    request_facts,
    training_labels,
)
from cv_assets.lookback.verdict_links import (
    STATEMENT,
    Answers,
    Seen,
    capture_facts,
    preparation_facts,
    review_facts,
    verdict_facts,
)
from cv_assets.lookback.words import moment
from cv_assets.requests.base import release_in_force
from cv_assets.words import counted

_NEAR: Final = 5
_TITLES: Final = {
    "FAIL": "Why part {} failed inspection",
    "PASS": "Why part {} passed inspection",
    "REVIEW": "Why part {} was sent to people",
}


class UnknownPartError(LookupError):
    """No capture of that part was received."""

    def __init__(self, part: str, known: Sequence[str]) -> None:
        near = near_matches(part, known)
        many = f"{counted(len(known), 'part')} {'is' if len(known) == 1 else 'are'} known"
        like = f" Is one of these meant: {', '.join(near)}?" if near else ""
        super().__init__(
            f"No part {part!r} was received; {many}.{like}" if known else "No part was received yet."
        )


def near_matches(part: str, known: Sequence[str]) -> list[str]:
    """Up to five of the `known` parts that are most like `part`: those that hold it, or are held by it, first."""
    asked = part.casefold()
    alike = [one for one in known if asked and (asked in one.casefold() or one.casefold() in asked)]
    alike.sort(key=lambda one: (abs(len(one) - len(part)), one))
    return list(dict.fromkeys([*alike[:_NEAR], *difflib.get_close_matches(part, known, n=_NEAR)]))[:_NEAR]


def explain(archive: Archive, part: str) -> Explanation:
    """The chain behind the verdicts on all captures of `part`, the newest capture first.

    Raises UnknownPartError.
    """
    captures = [_seen(archive, *found) for found in _captures(archive, part)]
    behind, lost = _releases(archive, captures)
    people = _answers(archive, captures)
    row = captures[0].verdict
    decided_by = behind.get(row["release_number"]) if row else None
    return Explanation(
        part=part,
        title=(_TITLES[row["verdict"]] if row else "Part {} has no verdict yet").format(part),
        in_short=tuple(in_short(captures, decided_by, people)),
        sections=with_let_go(
            [
                *_capture_sections(captures),
                *(section for one in behind.values() for section in _release_sections(one)),
                *lost,
                *_later_sections(archive, captures, people),
            ],
            archive,
        ),
        findings=tuple(_findings(archive, captures, behind)),
        pin=archive.pin,
        verdict=row["verdict"] if row else None,
        release=row["release"] if row else None,
        approver=decided_by.release["approver"] if decided_by else None,
    )


def _captures(archive: Archive, part: str) -> list[tuple[str, str]]:
    """Delivery and capture of every capture of the part, the newest first."""
    received = archive.scan(archive.pin, "raw_frames", ("part", "delivery", "capture_id", "captured_at"))
    if received is None:
        raise UnknownPartError(part, [])
    mine = received.filter(pl.col("part") == part).collect()
    if mine.is_empty():
        known = received.select(pl.col("part").unique().sort()).collect()["part"].to_list()
        raise UnknownPartError(part, known)
    return mine.sort("captured_at", "capture_id", descending=True).select("delivery", "capture_id").rows()


def _seen(archive: Archive, delivery: str, capture_id: str) -> Seen:
    verdicts = archive.read(archive.pin, "inspections", delivery)
    decided = verdicts.row(capture_id=capture_id) is not None
    # What the verdict was given on: a later correction of the delivery is another story.
    then = (verdicts.source.input_commit or verdicts.source.commit) if decided else archive.pin
    return Seen(
        delivery=delivery,
        capture_id=capture_id,
        raw=archive.read(then, "raw_frames", delivery),
        prepared=archive.read(then, "prepared_frames", delivery),
        verdicts=verdicts,
        outbox=archive.read(archive.pin, "outbox", delivery),
        spec=archive.read(then, "project_spec"),
    )


def _releases(archive: Archive, captures: Sequence[Seen]) -> tuple[dict[int, Behind], list[Section]]:
    """What each release that decided rests on, by its row in the history, the newest first; and those that are lost."""
    rows = [seen.verdict for seen in captures]
    named = {row["release_number"]: row["release"] for row in rows if row and row["release_number"]}
    found, lost = dict[int, Behind](), list[Section]()
    for number in sorted(named, reverse=True):
        releases = _when_added(archive, number)
        release = releases.row(number=number)
        if release is None:
            lost.append(
                _section(f"Release {named[number]}", missing("release", named[number], releases.source))
            )
        else:
            found[number] = _behind(archive, releases, release)
    return found, lost


def _when_added(archive: Archive, number: int) -> Written:
    """The history of releases as it was when its row `number` was added."""
    releases = archive.read(archive.pin, "releases")
    while before := releases.source.input_commit:
        earlier = archive.read(before, "releases")
        if earlier.row(number=number) is None:
            break
        releases = earlier
    return releases


def _behind(archive: Archive, releases: Written, release: Row) -> Behind:
    judged, candidate = release["candidate_commit"], release["candidate"]
    split = archive.read(judged, "split_table", candidate)
    learned = split.source.input_commit or judged
    labels = archive.read(learned, "label_table")
    statements, exports = _statements(archive, learned, training_labels(split, labels))
    request = archive.read(judged, "training_request", candidate)
    asked = request.row(candidate=candidate) or {}
    return Behind(
        release=release,
        releases=releases,
        decision=archive.read(judged, "release_decision", candidate),
        report=archive.read(judged, "evaluation_report", candidate),
        checkpoint=archive.read(judged, f"{release['model']}_checkpoint", candidate),
        request=request,
        split=split,
        labels=labels,
        benchmark=archive.read(learned, "benchmark_frames"),
        statements=statements,
        exports=exports,
        tagged=archive.tagged(release["version"]),
        # What was looked at then: by now the alarm may be closed, by this very release.
        alarms=archive.read(asked.get("base_commit") or learned, "alarms"),
    )


def _answers(archive: Archive, captures: Sequence[Seen]) -> Answers:
    labels = archive.read(archive.pin, "label_table")
    frames = [seen.capture["frame_id"] for seen in captures]
    mine = labels.rows.filter(pl.col("frame_id").is_in(frames)) if labels.rows.width else labels.rows
    statements, exports = _statements(archive, archive.pin, mine)
    return Answers(
        queue=archive.read(archive.pin, "review_queue"),
        labels=labels,
        benchmark=archive.read(archive.pin, "benchmark_frames"),
        statements=statements,
        exports=exports,
    )


def _statements(
    archive: Archive, commit: str, labels: pl.DataFrame
) -> tuple[pl.DataFrame, dict[str, Source]]:
    """The annotations behind `labels`, and where the export of each is written."""
    found = archive.scan(commit, "annotations", STATEMENT)
    if found is None or not labels.width:
        return Annotations.create_empty().select(STATEMENT), {}
    behind = labels.select(
        annotation_id=pl.col("annotations").list.explode(keep_nulls=False, empty_as_null=False)
    )
    votes = found.filter(pl.col("benchmark").is_null())
    rows = votes.join(behind.unique().lazy(), on="annotation_id", how="semi").collect()
    exports = rows["export"].unique().sort()
    return rows, {name: archive.read(commit, "annotations", name).source for name in exports}


def _capture_sections(captures: Sequence[Seen]) -> Iterator[Section]:
    for number, seen in enumerate(captures, start=1):
        which = f" (capture {number} of {len(captures)})" if len(captures) > 1 else ""
        yield _section("Capture", capture_facts(seen), which, _pictures(seen))
        yield _section("Preparation", preparation_facts(seen), which)
        yield _section("Verdict", verdict_facts(seen), which)


def _pictures(seen: Seen) -> tuple[Picture, ...]:
    row, prepared = seen.capture, seen.preparation
    taken = Picture(f"as it was taken: {row['file_name']}", seen.raw.source.of(row["path"]))
    if prepared is None or not prepared["path"]:
        return (taken,)
    return taken, Picture("as the model sees it", seen.prepared.source.of(prepared["path"]))


def _release_sections(behind: Behind) -> Iterator[Section]:
    version = behind.release["version"]
    yield _section(f"Release {version}", release_facts(behind))
    yield _section(f"Gate of {version}: criteria", gate_facts(behind))
    yield _section(f"Model of {version}", checkpoint_facts(behind))
    yield _section("Why it was trained", request_facts(behind))
    yield _section("Labels that it was trained on", label_facts(behind))
    yield _section("Benchmark that judged it", benchmark_facts(behind))


def _later_sections(archive: Archive, captures: Sequence[Seen], people: Answers) -> Iterator[Section]:
    for number, seen in enumerate(captures, start=1):
        which = f" (capture {number} of {len(captures)})" if len(captures) > 1 else ""
        if facts := review_facts(seen, people):
            yield _section("What people say", facts, which)
    today = archive.read(archive.pin, "releases")
    if now := release_in_force(today.rows) if today.rows.width else None:
        yield _section("In force today", [_in_force_today(now, captures[0].verdict, today.source)])


def _in_force_today(now: Row, verdict: Row | None, source: Source) -> Fact:
    by = f"put in force by {now['approver']}, {moment(now['concluded_at'])}"
    says = f"{now['version']} (row {now['number']}), {now['model']} of {now['candidate']}, {by}"
    if verdict is not None:
        same = verdict["release_number"] == now["number"]
        says += "; it decided the verdict above" if same else "; it did NOT decide the verdict above"
    return Fact("release", "in force today", says, source)


def _section(
    title: str, facts: Iterable[Fact], which: str = "", pictures: tuple[Picture, ...] = ()
) -> Section:
    """A section whose title and facts tell by `which` of several captures they are about."""
    named = tuple(replace(fact, about=f"{fact.about}{which}") for fact in facts)
    return Section(f"{title}{which}", named, pictures)


def _findings(archive: Archive, captures: Sequence[Seen], behind: Mapping[int, Behind]) -> Iterator[Finding]:
    for seen in captures:
        yield from verdict_findings(seen, archive.fetch)
        row = seen.verdict
        if row and row["release_number"] in behind:
            yield from agreement_findings(seen, behind[row["release_number"]])
    for one in behind.values():
        yield from release_findings(one, archive.fetch)
        yield from _then_and_now(archive, one)


def _then_and_now(archive: Archive, behind: Behind) -> Iterator[Finding]:
    """Whether what a release names is still said of it, and is what it was made from."""
    release, base = behind.release, (behind.asked or {}).get("base_commit")
    today = archive.read(archive.pin, "releases").row(number=release["number"])
    # A column that was added to the contract since then says nothing of that row.
    as_then = today and {name: today.get(name) for name in release}
    yield Finding(
        as_then == release, f"row {release['number']} of releases says today what it said when it was added"
    )
    if base:
        looked_at = archive.read(base, "label_table").source
        yield Finding(
            looked_at == behind.labels.source, "it was trained on the labels that its request looked at"
        )
