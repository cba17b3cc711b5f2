"""What the story claims, checked on what the lake holds against what the plant knows."""

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import PurePath
from typing import Any

import polars as pl

from cv_assets.frames.schema import REASONS
from cv_assets.spec.evaluation import Criterion
from cv_assets.spec.schema import Spec
from demo.figures import golden_figures, values
from demo.modules import Cell


@dataclass(frozen=True)
class Claim:
    """A sentence about the story, whether it holds, and what was seen."""

    words: str
    holds: bool
    seen: str


@dataclass(frozen=True)
class Outcome:
    """All that there is at the end: what the plant knows, and the product's tables.

    `truth` maps a delivered file's name to its cell; `golden` holds the numbers of the golden modules, `voted` the
    frames that the annotators voted on, `verified` the benchmark's set of those that a person verified. `split`,
    `report` and `decision` are those of the first candidate, `weights` the bytes of its chosen model's head and
    backbone; `tags` are the lake's version tags, each with the releases table as of that tag.
    """

    spec: Spec
    truth: Mapping[str, Cell]
    golden: frozenset[int]
    voted: frozenset[str]
    verified: Mapping[str, str]
    raw: pl.DataFrame
    prepared: pl.DataFrame
    labels: pl.DataFrame
    benchmark: pl.DataFrame
    split: pl.DataFrame
    report: pl.DataFrame
    decision: pl.DataFrame
    checkpoint: pl.DataFrame
    weights: tuple[bytes, bytes]
    releases: pl.DataFrame
    tags: Mapping[str, pl.DataFrame]


def claims(outcome: Outcome) -> list[Claim]:
    """Everything that is claimed of season 1, and of frames, labels and releases in all seasons."""
    return [
        _every_frame_arrived(outcome),
        _bytes_are_unchanged(outcome),
        _every_frame_is_decided(outcome),
        _votes_are_labels(outcome),
        _benchmark_is_the_truth(outcome),
        _no_judge_trains(outcome),
        _every_criterion_has_evidence(outcome),
        _every_criterion_is_met(outcome),
        _escapes_are_bounded(outcome),
        _releases_are_tagged(outcome),
        _release_can_be_loaded(outcome),
    ]


def _every_frame_arrived(outcome: Outcome) -> Claim:
    delivered, taken = sorted(outcome.truth), sorted(outcome.raw["file_name"])
    return Claim(
        "every delivered frame has exactly one raw row",
        delivered == taken,
        f"{len(delivered)} delivered, {len(taken)} rows, {len(set(delivered) ^ set(taken))} differ",
    )


def _bytes_are_unchanged(outcome: Outcome) -> Claim:
    pairs = zip(outcome.raw["file_name"], outcome.raw["frame_id"], strict=True)
    changed = [
        name for name, frame_id in pairs if name in outcome.truth and outcome.truth[name].frame_id != frame_id
    ]
    return Claim("no frame's bytes changed on the way", not changed, few(changed, "changed"))


def _every_frame_is_decided(outcome: Outcome) -> Claim:
    undecided = outcome.raw.join(outcome.prepared, on="capture_id", how="anti").height
    rejected = outcome.prepared.filter(~pl.col("accepted"))
    silent = rejected.filter(~pl.col("reason").is_in(REASONS)).height
    return Claim(
        "every frame is accepted, or rejected with a reason",
        outcome.prepared.height == outcome.raw.height and not undecided and not silent,
        f"{outcome.prepared.height - rejected.height} accepted, {rejected.height} rejected "
        f"({counts(rejected['reason'])}), {undecided} undecided, {silent} without a reason",
    )


def _votes_are_labels(outcome: Outcome) -> Claim:
    """The benchmark's word stands above votes: what was voted on and verified has its label there."""
    labelled = set(outcome.labels["frame_id"]) | set(outcome.benchmark["frame_id"])
    unlabelled = outcome.voted - labelled
    return Claim(
        "every frame that was voted on has a row in the label table, or in the benchmark when it was verified too",
        not unlabelled and bool(outcome.voted),
        f"{len(outcome.voted)} voted on, {len(unlabelled)} missing; {counts(outcome.labels['resolution'])}",
    )


def _benchmark_is_the_truth(outcome: Outcome) -> Claim:
    names = {False: outcome.spec.pass_class, True: defect(outcome.spec)}
    known = {cell.frame_id: names[cell.defective] for cell in outcome.truth.values()}
    truth = {frame_id: (set_, known[frame_id]) for frame_id, set_ in outcome.verified.items()}
    rows = outcome.benchmark.select("frame_id", "set", "label").iter_rows()
    said = {frame_id: (set_, label) for frame_id, set_, label in rows}
    wrong = {key for key in truth.keys() | said.keys() if truth.get(key) != said.get(key)}
    sets = counts(pl.Series("set", list(outcome.verified.values()), dtype=pl.String))
    return Claim(
        "the benchmark holds every verified frame with the label that the plant knows",
        not wrong and bool(truth),
        f"{len(truth)} verified frames ({sets}), {len(wrong)} missing, surplus or wrong",
    )


def _no_judge_trains(outcome: Outcome) -> Claim:
    modules = {cell.frame_id: cell.module for cell in outcome.truth.values()}
    train = outcome.split.filter(pl.col("role") == "train")
    leaked = sorted({modules[key] for key in train["frame_id"]} & outcome.golden)
    return Claim(
        "no frame of a golden module trains the first release",
        not leaked and not train.is_empty(),
        f"{train.height} training frames of {len({modules[key] for key in train['frame_id']})} modules; "
        f"golden modules {_list(outcome.golden)}; {few([f'm{number:02d}' for number in leaked], 'in both')}",
    )


def _every_criterion_has_evidence(outcome: Outcome) -> Claim:
    asked = outcome.spec.evaluation.acceptance
    judged = {row["number"]: row for row in outcome.decision.filter(kind="acceptance").iter_rows(named=True)}
    missing = [
        number
        for number, criterion in enumerate(asked, start=1)
        if not _evidence(criterion, judged.get(number))
    ]
    return Claim(
        "every acceptance criterion that applies was judged on enough frames",
        not missing and len(judged) == len(asked),
        f"{len(asked)} criteria, {few([f'number {number}' for number in missing], 'without evidence')}",
    )


def _evidence(criterion: Criterion, row: Mapping[str, Any] | None) -> bool:
    asked = (criterion.metric, criterion.set, criterion.slice)
    if row is None or (row["metric"], row["set"], row["slice"]) != asked:
        return False
    # In season 1 nothing but mono is there: what asks for another product does not apply yet.
    if criterion.applies == "when_trained" and row["measured"] is None:
        return bool(row["passed"])
    return row["measured"] is not None and row["samples"] >= criterion.min_samples


def _every_criterion_is_met(outcome: Outcome) -> Claim:
    missed = outcome.decision.filter(~pl.col("passed"))
    return Claim(
        "the first release met every criterion",
        missed.is_empty() and not outcome.decision.is_empty(),
        f"{outcome.decision.height - missed.height} of {outcome.decision.height} met; "
        f"{few(list(missed['why']), 'missed')}",
    )


def _escapes_are_bounded(outcome: Outcome) -> Claim:
    bounds = [
        one.at_most
        for one in outcome.spec.evaluation.acceptance
        if one.metric == "escape_rate"
        and one.set == "golden"
        and one.slice == "all"
        and one.at_most is not None
    ]
    models = outcome.decision["model"].unique()
    escapes = [values(golden_figures(outcome.report, model))["escape"] for model in models]
    return Claim(
        "escapes on the golden modules are within the spec's bound",
        bool(bounds) and bool(escapes) and all(one is not None and one <= min(bounds) for one in escapes),
        f"{', '.join(map(_share, escapes))}; at most {', '.join(map(_share, bounds))}",
    )


def _releases_are_tagged(outcome: Outcome) -> Claim:
    released = outcome.releases.filter(pl.col("outcome") == "released")
    versions = list(released["version"])
    tagged = [
        version
        for version in versions
        if version in outcome.tags and version in outcome.tags[version]["version"].to_list()
    ]
    return Claim(
        "the first release is v1.0.0, and the lake has a tag of each release that holds it",
        versions[:1] == ["v1.0.0"] and tagged == versions and set(outcome.tags) == set(versions),
        f"released {_list(versions)}; tags {_list(outcome.tags)}",
    )


def _release_can_be_loaded(outcome: Outcome) -> Claim:
    checkpoint = outcome.checkpoint.row(0, named=True)
    # The backbone is stored under its hash.
    expected = [checkpoint["weights_sha256"], PurePath(checkpoint["backbone"]).stem]
    found = [hashlib.sha256(content).hexdigest() for content in outcome.weights]
    released = "released" in outcome.releases["outcome"]
    sizes = " and ".join(f"{len(content) / 1024:.0f} KiB" for content in outcome.weights)
    return Claim(
        "the first release's head and backbone can be read and are those that were evaluated",
        released and expected == found,
        f"{sizes}, sha256 {found[0][:12]} and {found[1][:12]}" if released else "nothing is released",
    )


def defect(spec: Spec) -> str:
    """The one class that does not pass."""
    return next(name for name in spec.class_names if name != spec.pass_class)


def _share(value: float | None) -> str:
    return "undefined" if value is None else f"{value:.3f}"


def counts(named: pl.Series) -> str:
    """How often each value is there, for people; the most frequent first."""
    counted = named.value_counts(sort=True)
    return ", ".join(f"{name} {count}" for name, count in counted.iter_rows()) or "none"


def few(names: Sequence[str], what: str) -> str:
    """The first of `names`, which are `what`, for people."""
    more = f" and {len(names) - 3} more" if len(names) > 3 else ""
    return f"none {what}" if not names else f"{what}: {', '.join(names[:3])}{more}"


def _list(values: Any) -> str:
    return ", ".join(str(value) for value in sorted(values)) or "none"
