"""Each claim holds on a small sound story and breaks when its one fact is taken away."""

import dataclasses
import hashlib
from collections.abc import Callable
from pathlib import Path

import polars as pl
import pytest

from cv_assets.spec.schema import Spec
from demo.claims import Outcome, claims, season_kpis, story
from demo.modules import Cell

HEAD, BACKBONE = b"head", b"backbone"
TRAIN, GOLDEN = 1, 2


@pytest.fixture
def sound(spec: Spec, tmp_path: Path) -> Outcome:
    """Two cells of a training module and two of a golden one, all as it should be."""
    cells = []
    for module in (TRAIN, GOLDEN):
        for position, probability in enumerate((0.0, 1.0)):
            image = tmp_path / f"{module}-{position}.png"
            image.write_bytes(image.name.encode())
            cells.append(Cell(module, position, probability, image))
    truth = {f"m{cell.module:02d}c{cell.position:03d}.png": cell for cell in cells}
    frames = [cell.frame_id for cell in cells]
    raw = pl.DataFrame({"capture_id": list("abcd"), "frame_id": frames, "file_name": list(truth)})
    releases = pl.DataFrame(
        {
            "outcome": ["released"],
            "version": ["v1.0.0"],
            "candidate": ["first"],
            "trigger": ["first_release"],
            "model": ["cnn"],
        }
    )
    return Outcome(
        spec=spec,
        truth=truth,
        golden=frozenset({GOLDEN}),
        raw=raw,
        prepared=raw.select("capture_id", accepted=pl.lit(True), reason=pl.lit("ok")),
        labels=pl.DataFrame({"frame_id": frames[:2], "resolution": ["unanimous", "majority"]}),
        benchmark=pl.DataFrame({"frame_id": frames[2:], "label": ["sound", "defective"]}),
        split=pl.DataFrame({"frame_id": frames, "role": ["train", "train", "golden", "golden"]}),
        report=report(escape_rate=0.1, overkill=0.0, fail_precision=1.0, review_share=0.4),
        decision=decision(spec),
        checkpoint=pl.DataFrame(
            {
                "weights_sha256": [sha256(HEAD)],
                "backbone": [f"cnn_checkpoint/first/{sha256(BACKBONE)}.safetensors"],
            }
        ),
        weights=(HEAD, BACKBONE),
        releases=releases,
        tags={"v1.0.0": releases},
        requests=pl.DataFrame({"reason": ["first_release"]}),
    )


def sha256(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()


def report(**values: float | None) -> pl.DataFrame:
    rows = [
        {"model": "cnn", "set": "golden", "slice": "all", "metric": metric, "value": value}
        for metric, value in values.items()
    ]
    return pl.DataFrame(rows, schema_overrides={"value": pl.Float64})


def decision(spec: Spec) -> pl.DataFrame:
    rows = [
        {
            "number": number,
            "metric": one.metric,
            "set": one.set,
            "slice": one.slice,
            "measured": 0.5,
            "samples": one.min_samples,
            "passed": True,
            "why": "met",
            "model": "cnn",
        }
        for number, one in enumerate(spec.evaluation.acceptance, start=1)
    ]
    return pl.DataFrame(rows)


def broken(outcome: Outcome) -> list[str]:
    return [claim.words for claim in claims(outcome) if not claim.holds]


def test_a_sound_story_keeps_every_claim(sound: Outcome):
    assert broken(sound) == []


def of_the_first(column: str, value: object) -> Callable[[pl.DataFrame], pl.DataFrame]:
    """A change of one table: another value in the first row of `column`."""

    def change(table: pl.DataFrame) -> pl.DataFrame:
        rest = table[column].slice(1)
        return table.with_columns(pl.Series(column, [value, *rest], dtype=table.schema[column]))

    return change


@pytest.mark.parametrize(
    ("table", "change", "words"),
    [
        ("raw", lambda raw: raw.head(3), "every delivered frame has exactly one raw row"),
        ("raw", lambda raw: pl.concat([raw, raw.head(1)]), "every delivered frame has exactly one raw row"),
        ("raw", of_the_first("frame_id", "0" * 64), "no frame's bytes changed on the way"),
        ("prepared", lambda prepared: prepared.head(3), "every frame is accepted, or rejected with a reason"),
        ("prepared", of_the_first("accepted", False), "every frame is accepted, or rejected with a reason"),
        (
            "labels",
            lambda labels: labels.head(1),
            "every frame that was voted on has a row in the label table",
        ),
        (
            "benchmark",
            of_the_first("label", "defective"),
            "the benchmark holds every golden frame with the label that the plant knows",
        ),
        (
            "benchmark",
            lambda benchmark: benchmark.head(1),
            "the benchmark holds every golden frame with the label that the plant knows",
        ),
        (
            "split",
            lambda split: split.with_columns(role=pl.lit("train")),
            "no frame of a golden module trains",
        ),
        (
            "decision",
            lambda decision: decision.head(1),
            "every acceptance criterion of the spec was judged on enough frames",
        ),
        (
            "decision",
            of_the_first("samples", 0),
            "every acceptance criterion of the spec was judged on enough frames",
        ),
        (
            "decision",
            of_the_first("measured", None),
            "every acceptance criterion of the spec was judged on enough frames",
        ),
        ("decision", of_the_first("passed", False), "the released model met every criterion"),
        ("report", of_the_first("value", 0.5), "escapes on the golden modules are within the spec's bound"),
        ("report", of_the_first("value", None), "escapes on the golden modules are within the spec's bound"),
        (
            "releases",
            of_the_first("version", "v2.0.0"),
            "there is one release, v1.0.0, and the lake's tag of that name holds it",
        ),
        (
            "checkpoint",
            of_the_first("backbone", "cnn_checkpoint/first/0.safetensors"),
            "the released head and backbone can be read and are those that were evaluated",
        ),
        (
            "checkpoint",
            of_the_first("weights_sha256", "0" * 64),
            "the released head and backbone can be read and are those that were evaluated",
        ),
    ],
)
def test_a_claim_breaks_when_its_fact_is_gone(
    sound: Outcome, table: str, change: Callable[[pl.DataFrame], pl.DataFrame], words: str
):
    changed = dataclasses.replace(sound, **{table: change(getattr(sound, table))})
    assert words in broken(changed)


def test_a_release_without_its_tag_is_no_release(sound: Outcome):
    words = ["there is one release, v1.0.0, and the lake's tag of that name holds it"]
    assert broken(dataclasses.replace(sound, tags={})) == words
    earlier = {"v1.0.0": sound.releases.clear()}
    assert broken(dataclasses.replace(sound, tags=earlier)) == words


def test_a_refused_candidate_breaks_what_is_claimed_of_the_release_and_has_no_figures(sound: Outcome):
    refused = sound.releases.with_columns(outcome=pl.lit("refused"), version=pl.lit(None, dtype=pl.String))
    outcome = dataclasses.replace(sound, releases=refused, tags={})
    assert broken(outcome) == [
        "there is one release, v1.0.0, and the lake's tag of that name holds it",
        "the released head and backbone can be read and are those that were evaluated",
    ]
    assert story(outcome, seed=0, seconds=1.0)["releases"] == []
    assert story(outcome, seed=0, seconds=1.0)["kpi"] == {}


def test_a_rejected_frame_with_a_reason_is_decided(sound: Outcome):
    rejected = sound.prepared.with_columns(accepted=pl.lit(False), reason=pl.lit("low_focus"))
    assert broken(dataclasses.replace(sound, prepared=rejected)) == []


def test_the_figures_are_those_of_the_released_model_on_all_golden_frames():
    other = report(escape_rate=0.9, overkill=0.9, fail_precision=0.9, review_share=0.9)
    rows = pl.concat(
        [
            report(escape_rate=0.1, overkill=0.2, fail_precision=None, review_share=0.4),
            other.with_columns(model=pl.lit("vit")),
            other.with_columns(set=pl.lit("out_of_fold")),
            other.with_columns(slice=pl.lit("product=mono")),
        ]
    )
    assert season_kpis(rows, "cnn") == {"escape": 0.1, "overkill": 0.2, "precision": None, "review": 0.4}


def test_figures_that_are_not_reported_are_an_error():
    with pytest.raises(ValueError, match=r"report of cnn lacks .*'overkill'"):
        season_kpis(report(escape_rate=0.1), "cnn")


def test_the_story_in_numbers_has_the_agreed_shape(sound: Outcome):
    assert story(sound, seed=0, seconds=123.45) == {
        "seed": 0,
        "seconds": 123.5,
        "frames": 4,
        "rejected": 0,
        "releases": [{"version": "v1.0.0", "candidate": "first", "trigger": "first_release"}],
        "retrainings": 0,
        "alarms": [],
        "kpi": {"season1": {"escape": 0.1, "overkill": 0.0, "precision": 1.0, "review": 0.4}},
    }
