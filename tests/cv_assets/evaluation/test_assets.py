"""A candidate from its split to its decision, on a real embedded lake, with models that train in a second."""

import io

import polars as pl
import pytest
import torch
from by_hand import publish_by_hand
from make_candidates import CANDIDATE, MODELS, Plant
from run_results import failure, metadata, passed

from cv_assets.evaluation.band import OperatingBand, verdict
from resources.tables import parquet, table_path

STEPS = (
    "split_table",
    *(f"{model['name']}_checkpoint" for model in MODELS),
    "evaluation_report",
    "release_decision",
)


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


def test_a_candidate_is_evaluated_and_judged_on_its_own_branch(plant):
    plant.publish()
    result = plant.run(*STEPS)
    assert result.success
    assert all(passed(result).values()), passed(result)
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
    assert decision["number"].to_list() == [1, 2, 3, 4]
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
    result = plant.run(*STEPS)
    assert result.success
    assert not passed(result)["every_criterion_is_met"]
    assert not passed(result)["benchmark_is_there"]
    decision = plant.table("release_decision")
    assert decision["passed"].to_list() == [False, False, False, True]
    assert decision["why"][0] == "missing evidence: roc_auc on golden frames was not measured"


def test_a_training_frame_without_a_score_keeps_the_report_back(plant):
    plant.publish()
    assert plant.run(*STEPS[:3]).success
    path = table_path("weak_checkpoint", CANDIDATE)
    checkpoint = plant.table("weak_checkpoint").with_columns(pl.col("out_of_fold").list.head(40))
    publish_by_hand(plant.tables.lake, {path: parquet(checkpoint)}, f"candidate-{CANDIDATE}")
    assert "it failed every_frame_is_scored" in failure(plant.run("evaluation_report"))
