"""The links behind a release, in words: the approval, the gate, the checkpoint, the request, the labels, the judges."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final

import polars as pl

from cv_assets.alarms.opening import names_an_alarm
from cv_assets.evaluation.band import OperatingBand
from cv_assets.evaluation.conditions import BENCHMARK_FRAMES
from cv_assets.lookback.explanation import Fact, Row, Source, Written, missing
from cv_assets.lookback.words import day, moment, settings, tally
from cv_assets.release.history import by_whom
from cv_assets.words import counted, listed

TRAINS: Final = "train"
_EXPORTS_SHOWN: Final = 20
_ROLES: Final = ("train", "val", "test", "golden", "challenge")
_WHY: Final = {
    "first_release": "the first release was wanted",
    "drift": "the data drifted",
    "kpi": "quality in production fell",
    "schedule": "the schedule asked for it",
    "person": "a person asked for it",
}


@dataclass(frozen=True)
class Behind:
    """What a release rests on, each table as of the commit that it was made from or judged at.

    `release` is its row, `releases` the history as it was when that was added. `statements` are the annotations behind
    the training labels, `exports` says where the export of each is written, `tagged` what the version's tag names, and
    `alarms` is the table of alarms as the request found it.
    """

    release: Row
    releases: Written
    decision: Written
    report: Written
    checkpoint: Written
    request: Written
    split: Written
    labels: Written
    benchmark: Written
    statements: pl.DataFrame
    exports: Mapping[str, Source]
    tagged: str | None
    alarms: Written

    @property
    def trained(self) -> Row | None:
        """The row of the checkpoint that decides."""
        return self.checkpoint.row(model=self.release["model"])

    @property
    def asked(self) -> Row | None:
        """The row of the training request."""
        return self.request.row(candidate=self.release["candidate"])

    def frames(self, role: str) -> pl.DataFrame:
        """The frames of one role."""
        return self.split.rows.filter(role=role) if self.split.rows.width else self.split.rows

    @property
    def training_labels(self) -> pl.DataFrame:
        """The rows of label_table of the frames that trained."""
        return training_labels(self.split, self.labels)

    @property
    def judges(self) -> pl.DataFrame:
        """The benchmark as of the version that the request names."""
        rows, asked = self.benchmark.rows, self.asked
        if not rows.width or asked is None or asked["benchmark_version"] is None:
            return rows
        return rows.filter(pl.col("version") <= asked["benchmark_version"])

    @property
    def annotators(self) -> list[str]:
        """Who voted on training frames, who voted most first."""
        rows = self.training_labels
        if not rows.width:
            return []
        voted = rows.select(name=pl.col("annotators").list.explode(keep_nulls=False, empty_as_null=False))
        return voted["name"].value_counts().sort("count", "name", descending=[True, False])["name"].to_list()


def training_labels(split: Written, labels: Written) -> pl.DataFrame:
    """The rows of `labels` of the frames that trained; without columns while either table is missing."""
    if not labels.rows.width or not split.rows.width:
        return pl.DataFrame()
    return labels.rows.join(split.rows.filter(role=TRAINS).select("frame_id"), on="frame_id", how="semi")


def release_facts(behind: Behind) -> list[Fact]:
    """Which version, why, by whom and when."""
    row, table = behind.release, behind.releases.source
    facts = [
        Fact(
            "release",
            row["version"],
            f"{_OUTCOMES[row['outcome']]} (row {row['number']}): {row['why']}",
            table,
        ),
        Fact("release", "approver", f"{by_whom(row)}, {moment(row['concluded_at'])}", table),
        Fact(
            "release",
            "model",
            f"{row['model']} of candidate {row['candidate']}, as of commit {row['candidate_commit']}",
            table,
        ),
        Fact("release", "thresholds", OperatingBand(row["lower"], row["upper"]).words, table),
        Fact("release", "spec", f"judged by spec {row['spec_digest']}", table),
        Fact("release", "tag", _tag(row, behind.tagged), table),
    ]
    if row["outcome"] == "rolled_back" and (
        first := behind.releases.row(outcome="released", version=row["version"])
    ):
        when = moment(first["concluded_at"])
        says = f"released (row {first['number']}) by {by_whom(first)}, {when}: {first['why']}"
        facts.append(Fact("release", "first released", says, table))
    return facts


def gate_facts(behind: Behind) -> list[Fact]:
    """Every criterion: what was required, what was measured, whether it is met."""
    candidate, table = behind.release["candidate"], behind.decision.source
    if behind.decision.rows.is_empty():
        return missing("gate", candidate, table)
    facts = [
        Fact("gate", row["criterion"], _measured(row), table)
        for row in behind.decision.rows.iter_rows(named=True)
    ]
    if behind.report.rows.width:
        report = behind.report.rows
        says = f"{counted(report.height, 'figure')} of {listed(report['model'].unique(maintain_order=True).to_list())}"
        facts.append(Fact("gate", "evaluation report", says, behind.report.source))
    return facts


def checkpoint_facts(behind: Behind) -> list[Fact]:
    """The model: its weights, how it was made, and on how much."""
    row, table = behind.trained, behind.checkpoint.source
    if row is None:
        return missing("checkpoint", behind.release["model"], table)
    told = {
        "architecture": f"{row['architecture']}; classes {', '.join(row['classes'])}",
        "trained on": f"{counted(row['frames'], 'frame')} of {counted(row['groups'], 'group')}, all of the pass "
        f"{row['preparation']}, in {row['seconds']:.1f} s",
        "recipe": f"{settings(row['recipe'])}; seed {row['seed']}",
        "libraries": settings(row["libraries"]),
    }
    return [
        *(Fact("checkpoint", about, says, table) for about, says in told.items()),
        Fact("checkpoint", "head", f"sha256 {row['weights_sha256']}", table.of(row["weights"])),
        Fact(
            "checkpoint",
            "backbone",
            f"made from weights with the sha256 {row['backbone_sha256']}",
            table.of(row["backbone"]),
        ),
    ]


def request_facts(behind: Behind) -> list[Fact]:
    """Why it was trained, who asked, and from which state of the world."""
    row, table = behind.asked, behind.request.source
    if row is None:
        return missing("request", behind.release["candidate"], table)
    data = row["base_commit"] or table.input_commit or table.commit
    return [
        Fact("request", "why", f"{_WHY[row['reason']]}: {row['evidence'] or 'no evidence given'}", table),
        Fact(
            "request", "asked by", f"{row['requested_by'] or 'unknown'}, {moment(row['requested_at'])}", table
        ),
        Fact("request", "training data", f"the lake as of commit {data}", table),
        Fact("request", "spec", f"spec {row['spec_digest']} was in force", table),
        Fact(
            "request",
            "in force then",
            f"{row['released_version'] or 'no release'}; benchmark version {row['benchmark_version'] or 0}",
            table,
        ),
        *(_alarm_facts(row["evidence"], behind.alarms) if names_an_alarm(row["evidence"] or "") else ()),
    ]


def _alarm_facts(alarm_id: str, alarms: Written) -> list[Fact]:
    """The alarm that a request names, as it stood when it was asked for."""
    row = alarms.row(alarm_id=alarm_id)
    if row is None:
        return missing("alarm", alarm_id, alarms.source)
    labels = counted(row["fresh_labels"], "fresh label")
    facts = [
        Fact(
            "alarm", alarm_id, f"{row['state']} since {moment(row['opened_at'])}: {row['why']}", alarms.source
        ),
        Fact("alarm", "deliveries", listed(row["deliveries"]) or "none", alarms.source),
        Fact("alarm", "labels", f"{labels} of {row['needed_labels']} were there", alarms.source),
    ]
    if row["page"]:
        says = f"Evidently's report{': ' + row['page_note'] if row['page_note'] else ''}"
        facts.append(Fact("alarm", "page", says, alarms.source.of(row["page"])))
    return facts


def label_facts(behind: Behind) -> list[Fact]:
    """Who labelled the frames that trained, by which guideline, how votes were resolved, and in which exports."""
    split, labels = behind.split.source, behind.training_labels
    if not behind.split.rows.width:
        return missing("labels", "roles", split)
    facts = [
        Fact("labels", role, _role(behind.frames(role)), split)
        for role in _ROLES
        if behind.frames(role).height
    ]
    if not labels.width:
        return facts + missing("labels", "votes", behind.labels.source)
    trained = counted(behind.frames(TRAINS).height, "training frame")
    votes = f"{counted(int(labels['votes'].sum()), 'vote')} on {trained}, resolved as {tally(labels['resolution'])}"
    facts.append(Fact("labels", "votes", votes, behind.labels.source))
    facts += [
        Fact("labels", name, _voted(name, behind, trained), behind.labels.source)
        for name in behind.annotators
    ]
    return facts + _exports(behind)


def benchmark_facts(behind: Behind) -> list[Fact]:
    """By which frames it was judged, and who verified them."""
    rows, table = behind.judges, behind.benchmark.source
    if not rows.height:
        return [Fact("benchmark", "version 0", "there was no benchmark", behind.request.source)]
    facts = [
        Fact(
            "benchmark",
            f"version {max(rows['version'].to_list())}",
            f"{counted(rows.height, 'frame')}: {tally(rows['set'])}",
            table,
        )
    ]
    for part in rows.partition_by("verified_by", "set", maintain_order=True):
        frames = counted(part.height, f"{part['set'][0]} frame")
        says = f"verified {frames} ({tally(part['label'].drop_nulls())}), {_days(part['verified_at'])}"
        facts.append(Fact("benchmark", part["verified_by"][0] or "unknown", says, table))
    return facts


_OUTCOMES: Final = {"released": "released", "rolled_back": "put back in force", "refused": "refused"}


def _measured(row: Row) -> str:
    if not row["passed"]:
        return f"NOT met: {row['why']}"
    if row["measured"] is None:
        return str(row["why"])
    if row["metric"] == BENCHMARK_FRAMES:
        return f"met: {counted(row['samples'], 'frame')}"
    low, high = ("unknown" if end is None else f"{end:.3g}" for end in (row["low"], row["high"]))
    return f"met: {row['measured']:.3g} (interval {low} to {high}) on {counted(row['samples'], 'frame')}"


def _tag(row: Row, tagged: str | None) -> str:
    return f"{row['version']} names commit {tagged}" if tagged else f"there is no tag {row['version']}"


def _role(frames: pl.DataFrame) -> str:
    groups = counted(frames["group"].n_unique(), "group")
    return f"{counted(frames.height, 'frame')} of {groups}: {tally(frames['label'])}"


def _voted(name: str, behind: Behind, trained: str) -> str:
    frames = behind.training_labels.filter(pl.col("annotators").list.contains(name)).height
    mine = behind.statements.filter(annotator=name)
    says = f"voted on {frames:,} of {trained}"
    if mine.is_empty():
        return says
    by = mine.select(pl.format("guideline {}", pl.col("guideline").fill_null("unknown"))).to_series()
    return f"{says}; statements by {tally(by)}; {_days(mine['annotated_at'])}"


def _days(times: pl.Series) -> str:
    """From the first day to the last one."""
    first, last = (day(one) for one in (times.min(), times.max()))  # type: ignore[arg-type]
    return first if first == last else f"{first} to {last}"


def _exports(behind: Behind) -> list[Fact]:
    """The exports that the votes came with, those with most of them first."""
    said = behind.statements
    if said.is_empty():
        # The labels name statements: if there are none, evidence is lost.
        lost = behind.training_labels["annotations"].list.len().sum()
        return missing("labels", "exports", behind.labels.source) if lost else []
    counts = said.group_by("export", "evidence").len().sort("len", "export", descending=[True, False])
    facts = [
        Fact(
            "labels",
            f"export {export}",
            f"{counted(count, 'statement')} on training frames, as they arrived",
            behind.exports[export].of(evidence),
        )
        for export, evidence, count in counts.head(_EXPORTS_SHOWN).iter_rows()
    ]
    others = counts.slice(_EXPORTS_SHOWN)
    if others.height:
        says = f"{counted(others.height, 'export')} with {counted(int(others['len'].sum()), 'statement')}"
        facts.append(Fact("labels", "more exports", says, behind.labels.source))
    return facts
