"""Each claim holds on a small sound story and breaks when its one fact is taken away."""

import dataclasses
from pathlib import Path

import polars as pl
import pytest
from make_story import Change, first_season, of_the_first

from cv_assets.spec.schema import Spec
from demo.claims import Outcome, claims


@pytest.fixture
def sound(spec: Spec, tmp_path: Path) -> Outcome:
    return first_season(spec, tmp_path)


def broken(outcome: Outcome) -> list[str]:
    return [claim.words for claim in claims(outcome) if not claim.holds]


def test_a_sound_story_keeps_every_claim(sound: Outcome):
    assert broken(sound) == []


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
            "every frame that was voted on has a row in the label table, or in the benchmark when it was verified too",
        ),
        (
            "benchmark",
            of_the_first("label", "defective"),
            "the benchmark holds every verified frame with the label that the plant knows",
        ),
        (
            "benchmark",
            lambda benchmark: benchmark.head(1),
            "the benchmark holds every verified frame with the label that the plant knows",
        ),
        (
            "benchmark",
            of_the_first("set", "challenge"),
            "the benchmark holds every verified frame with the label that the plant knows",
        ),
        (
            "split",
            lambda split: split.with_columns(role=pl.lit("train")),
            "no frame of a golden module trains the first release",
        ),
        (
            "decision",
            lambda decision: decision.head(1),
            "every acceptance criterion that applies was judged on enough frames",
        ),
        (
            "decision",
            of_the_first("samples", 0),
            "every acceptance criterion that applies was judged on enough frames",
        ),
        (
            "decision",
            of_the_first("measured", None),
            "every acceptance criterion that applies was judged on enough frames",
        ),
        ("decision", of_the_first("passed", False), "the first release met every criterion"),
        ("report", of_the_first("value", 0.5), "escapes on the golden modules are within the spec's bound"),
        ("report", of_the_first("value", None), "escapes on the golden modules are within the spec's bound"),
        (
            "releases",
            of_the_first("version", "v2.0.0"),
            "the first release is v1.0.0, and the lake has a tag of each release that holds it",
        ),
        (
            "checkpoint",
            of_the_first("backbone", "cnn_checkpoint/first/0.safetensors"),
            "the first release's head and backbone can be read and are those that were evaluated",
        ),
        (
            "checkpoint",
            of_the_first("weights_sha256", "0" * 64),
            "the first release's head and backbone can be read and are those that were evaluated",
        ),
    ],
)
def test_a_claim_breaks_when_its_fact_is_gone(sound: Outcome, table: str, change: Change, words: str):
    changed = dataclasses.replace(sound, **{table: change(getattr(sound, table))})
    assert words in broken(changed)


def test_a_frame_that_was_voted_on_and_verified_needs_no_row_in_the_label_table(sound: Outcome):
    both = sound.voted | {sound.benchmark["frame_id"][0]}
    assert broken(dataclasses.replace(sound, voted=both)) == []


def test_a_release_without_its_tag_is_no_release(sound: Outcome):
    words = ["the first release is v1.0.0, and the lake has a tag of each release that holds it"]
    assert broken(dataclasses.replace(sound, tags={})) == words
    earlier = {"v1.0.0": sound.releases.clear()}
    assert broken(dataclasses.replace(sound, tags=earlier)) == words
    surplus = {**sound.tags, "v1.1.0": sound.releases}
    assert broken(dataclasses.replace(sound, tags=surplus)) == words


def test_a_criterion_of_a_product_that_does_not_train_needs_no_evidence(sound: Outcome):
    poly = pl.col("slice") == "product=poly"
    nothing = sound.decision.with_columns(
        pl.when(poly).then(None).otherwise("measured").alias("measured"),
        samples=pl.when(poly).then(0).otherwise("samples"),
    )
    assert broken(dataclasses.replace(sound, decision=nothing)) == []


def test_a_refused_candidate_breaks_what_is_claimed_of_the_release(sound: Outcome):
    refused = sound.releases.with_columns(outcome=pl.lit("refused"), version=pl.lit(None, dtype=pl.String))
    outcome = dataclasses.replace(sound, releases=refused, tags={})
    assert broken(outcome) == [
        "the first release is v1.0.0, and the lake has a tag of each release that holds it",
        "the first release's head and backbone can be read and are those that were evaluated",
    ]


def test_a_rejected_frame_with_a_reason_is_decided(sound: Outcome):
    rejected = sound.prepared.with_columns(accepted=pl.lit(False), reason=pl.lit("low_focus"))
    assert broken(dataclasses.replace(sound, prepared=rejected)) == []
