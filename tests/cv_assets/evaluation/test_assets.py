"""A candidate from its split to its decision, on a real embedded lake, with models that train in a second."""

import io
from dataclasses import dataclass
from typing import Any

import dagster as dg
import polars as pl
import pytest
import torch
from by_hand import publish_by_hand
from make_candidates import CANDIDATE, MODELS, Plant
from run_results import checks, failure, metadata, passed

from cv_assets.evaluation.band import OperatingBand, verdict
from resources.tables import parquet, table_path

STEPS = ("split_table", *(f"{model['name']}_checkpoint" for model in MODELS), "evaluation_report")
SECOND = "second"


@pytest.fixture(scope="module")
def data_dir(tmp_path_factory):
    return tmp_path_factory.mktemp("data")


@pytest.fixture(scope="module", autouse=True)
def one_thread():
    """PyTorch's threads wait for each other in a loop: on busy cores tiny models then take many times as long."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


@pytest.fixture
def plant(deployment, tables, instance, data_dir) -> Plant:
    return Plant(deployment, tables, instance, data_dir)


def judged(plant: Plant, candidate: str = CANDIDATE) -> tuple[Any, Any]:
    """The runs that evaluate and that judge a candidate."""
    evaluated = plant.run(*STEPS, partition_key=candidate)
    assert evaluated.success
    plant.refer(candidate)
    decided = plant.run("release_decision", partition_key=candidate)
    assert decided.success
    return evaluated, decided


def test_a_candidate_is_evaluated_and_judged_on_its_own_branch(plant):
    plant.publish()
    result, decided = judged(plant)
    answers = passed(result) | passed(decided)
    assert all(answers.values()), answers
    report, decision = plant.table("evaluation_report"), plant.table("release_decision")

    def value(model, set_, metric, slice_="all"):
        keys = {"model": model, "set": set_, "metric": metric, "slice": slice_}
        return report.row(by_predicate=pl.all_horizontal(pl.col(k) == v for k, v in keys.items()), named=True)

    assert value("cnn", "golden", "roc_auc")["samples"] == 16
    assert value("cnn", "golden", "roc_auc")["groups"] == 2
    assert value("cnn", "golden", "escape_rate", "product=poly")["groups"] == 1
    assert value("cnn", "out_of_fold", "label_agreement")["value"] == 1
    assert value("cnn", "golden", "latency_p95_ms")["value"] > 0
    assert report.filter(pl.col("metric") == "label_agreement")["set"].unique().to_list() == ["out_of_fold"]
    assert not plant.tables.head().partitions("evaluation_report")

    chosen = max(("cnn", "weak"), key=lambda name: value(name, "out_of_fold", "roc_auc")["value"])
    assert decision["model"].unique().to_list() == [chosen]
    assert decision["lower"][0] == value(chosen, "out_of_fold", "lower_threshold")["value"]
    assert decision["upper"][0] == value(chosen, "out_of_fold", "upper_threshold")["value"]
    assert decision["kind"].to_list() == ["acceptance"] * 4 + ["regression"] * 2 + ["condition"] * 2
    assert decision["number"].to_list() == list(range(1, 9))
    assert decision["why"].to_list()[4:] == [
        "not applicable: nothing is in force",
        "not applicable: nothing is in force",
        "golden frames with product=mono: 8, at least 8",
        "golden frames with product=poly: 8, at least 8",
    ]
    assert checks(decided)["every_criterion_is_met"].description == (
        "All 6 criteria are met, 2 more do not apply."
    )
    assert value(chosen, "out_of_fold", "escape_rate")["value"] <= plant.spec.evaluation.band.max_escape
    assert decision["measured"][0] == value(chosen, "golden", "roc_auc")["value"]

    shown = metadata(result, "evaluation_report")
    assert {"scores of cnn", "scores of weak", "slices of golden", "slices of out_of_fold"} <= shown.keys()
    kept = pl.read_parquet(io.BytesIO(plant.candidate.read(shown["scores of every frame"])))
    assert kept.group_by("model", "set").len().sort("model", "set").rows() == [
        ("cnn", "golden", 16), ("cnn", "out_of_fold", 48), ("weak", "golden", 16), ("weak", "out_of_fold", 48)
    ]  # fmt: skip
    of_chosen = kept.filter(pl.col("model") == chosen)
    band = OperatingBand(decision["lower"][0], decision["upper"][0])
    assert of_chosen["verdict"].to_list() == [verdict(one, band) for one in of_chosen["defect_score"]]


def test_a_criterion_that_is_not_met_is_published_with_a_warning(plant):
    plant.publish(benchmark=False)
    result, decided = judged(plant)
    assert not passed(decided)["every_criterion_is_met"]
    assert not passed(result)["benchmark_is_there"]
    decision = plant.table("release_decision")
    assert decision["passed"].to_list() == [False, False, False, True, True, True, False, False]
    assert decision["why"][0] == "missing evidence: roc_auc on golden frames was not measured"
    assert decision["why"][6] == (
        "golden frames with product=mono: 0, at least 8; 24 frames with it trained: verify 8 more golden ones, then "
        "request a new candidate"
    )


@dataclass(frozen=True)
class Judged:
    """A second candidate, as it was judged against a first one in force as v1.0.0."""

    plant: Plant
    runs: tuple[Any, Any]
    report: pl.DataFrame
    decision: pl.DataFrame


@pytest.fixture(scope="module")
def second(data_dir, tmp_path_factory):
    with dg.DagsterInstance.ephemeral() as instance:
        plant = Plant.in_folder(tmp_path_factory.mktemp("second"), instance, data_dir)
        plant.publish()
        judged(plant)
        plant.conclude()
        plant.request(SECOND, released_version="v1.0.0")
        runs = judged(plant, SECOND)
        tables = (plant.table(name, SECOND) for name in ("evaluation_report", "release_decision"))
        yield Judged(plant, runs, *tables)


def test_the_release_in_force_is_measured_again_on_the_candidates_own_benchmark(second):
    evaluated, decided = second.runs
    answers = passed(evaluated) | passed(decided)
    assert all(answers.values()), answers
    chosen = second.decision["model"][0]
    its, own = (second.report.filter(pl.col("model") == model) for model in ("released", chosen))
    assert its["set"].unique().to_list() == ["golden"]
    # The same frames train the same model: it loses nothing against itself. The release is not timed again.
    measured = own.filter(pl.col("set") == "golden", pl.col("metric") != "latency_p95_ms")
    assert its.drop("model").equals(measured.drop("model"))
    auc, escapes = second.decision.filter(pl.col("kind") == "regression").iter_rows(named=True)
    assert auc["criterion"] == (
        f"roc_auc on golden frames: at least {auc['measured']:.3f} - 0.050 (v1.0.0), on 16 frames or more"
    )
    assert auc["passed"]
    assert auc["required"] == pytest.approx(auc["measured"] - 0.05)
    assert auc["why"].endswith("there: the same; at most 0.050 worse is met")
    assert escapes["why"] == "not applicable: the benchmark holds no challenge frames"
    assert second.decision["released_version"].unique().to_list() == ["v1.0.0"]


def test_people_see_candidate_and_release_side_by_side(second):
    chosen = second.decision["model"][0]
    for asset, run in zip(("evaluation_report", "release_decision"), second.runs, strict=True):
        shown = metadata(run, asset)
        assert shown["release in force"].startswith(f"v1.0.0 ({chosen} of first): ")
        records = [record.data for record in shown[f"{chosen} beside v1.0.0"].records]
        first = {"metric": "roc_auc", "set": "golden", "slice": "all", "difference": "the same"}
        assert records[0] == {**records[0], **first}
        assert records[0]["released"] == records[0]["candidate"]
    assert "scores of released" in metadata(second.runs[0], "evaluation_report")


def test_a_release_that_knows_another_pass_is_missing_evidence(second):
    plant, its = second.plant, f"{second.decision['model'][0]}_checkpoint"
    older = plant.table(its).with_columns(preparation=pl.lit("an-older-pass"))
    files = {table_path(its, CANDIDATE): parquet(older)}
    publish_by_hand(plant.tables.lake, files, f"candidate-{SECOND}")
    result = plant.run("evaluation_report", partition_key=SECOND)
    assert passed(result)["every_frame_is_scored"]
    assert not passed(result)["release_is_compared"]
    assert "released" not in plant.table("evaluation_report", SECOND)["model"]
    decided = plant.run("release_decision", partition_key=SECOND)
    row = plant.table("release_decision", SECOND).row(4, named=True)
    assert not row["passed"]
    assert row["why"].startswith("missing evidence: v1.0.0 was trained on the pass an-older-pass, and the")
    assert "It was not measured again: v1.0.0" in metadata(decided, "release_decision")["release in force"]


def test_a_decision_waits_for_the_reference_that_later_deliveries_are_held_against(plant):
    plant.publish()
    assert plant.run(*STEPS).success
    refused = failure(plant.run("release_decision"))
    assert "it failed drift_reference_is_there" in refused
    assert not plant.candidate.has("release_decision", CANDIDATE)


def test_a_training_frame_without_a_score_keeps_the_report_back(plant):
    plant.publish()
    assert plant.run(*STEPS[:3]).success
    path = table_path("weak_checkpoint", CANDIDATE)
    checkpoint = plant.table("weak_checkpoint").with_columns(pl.col("out_of_fold").list.head(40))
    publish_by_hand(plant.tables.lake, {path: parquet(checkpoint)}, f"candidate-{CANDIDATE}")
    assert "it failed every_frame_is_scored" in failure(plant.run("evaluation_report"))
