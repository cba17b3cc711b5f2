"""What normal looks like to a candidate, through Dagster, on a real embedded lake."""

import json
from pathlib import Path

import cv2
import numpy as np
import polars as pl
import pytest
import torch
from make_candidates import Plant, cells
from ruamel.yaml import YAML
from run_results import checks, failure, metadata, passed

from cv_assets.frames.schema import STATISTICS
from cv_assets.reference.assets import drift_reference_asset
from cv_assets.reference.novelty import NoveltyReference, extractor
from cv_assets.reference.statistics import PLAIN, SHARES
from cv_assets.training.features import read_image

TRAINED = ("split_table", "cnn_checkpoint", "weak_checkpoint")


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
    """A plant whose six training deliveries of eight frames are enough for a reference."""
    sections = YAML(typ="safe").load(deployment.spec_file)
    novelty = {"model": "cnn", "dimensions": 4, "neighbours": 3}
    sections["drift"] = {"novelty": novelty, "bins": 4, "min_frames": 8, "min_deliveries": 6}
    deployment.spec_file.write_text(json.dumps(sections))
    plant = Plant(deployment, tables, instance, data_dir)
    plant.steps = [one for one in plant.steps if "drift_reference" not in str(one.key)]
    plant.steps.append(drift_reference_asset(plant.spec))
    return plant


def measured_cells() -> pl.DataFrame:
    """The plant's cells, a delivery per module, with their statistics: the brightness is real, the others their own."""
    frames = cells()
    levels = [cv2.imdecode(np.frombuffer(one, np.uint8), 0).mean() for one in frames["content"]]
    statistics = [{**dict.fromkeys(STATISTICS, 1.0), "brightness": float(level)} for level in levels]
    column = pl.Series(statistics, dtype=pl.Struct(dict.fromkeys(STATISTICS, pl.Float64)))
    return frames.with_columns(delivery="group", decoded=column, prepared=column)


def refer(plant: Plant, frames: pl.DataFrame | None = None):
    """Run the step after the candidate's models are there."""
    plant.publish(frames=measured_cells() if frames is None else frames)
    assert plant.run(*TRAINED).success
    return plant.run("drift_reference")


def test_a_candidate_carries_what_is_normal_to_it_on_its_own_branch(plant):
    result = refer(plant)
    assert all(passed(result).values()), passed(result)
    rows = plant.table("drift_reference")
    assert rows["statistic"].to_list() == ["novelty", *PLAIN, "score.cnn", "score.weak", *SHARES]
    assert rows["deliveries"].unique().to_list() == [6]
    assert rows["calibrated"].all()
    assert not plant.tables.head().partitions("drift_reference")

    of_frames = rows.filter(pl.col("role") != "station")
    assert of_frames["frames"].unique().to_list() == [48]
    assert of_frames["counts"].list.sum().unique().to_list() == [48]
    (novelty,) = rows.filter(role="alarms").iter_rows(named=True)
    assert (novelty["statistic"], novelty["side"], novelty["quantile"]) == ("novelty", "above", 0.9)
    assert novelty["psi_level"] == max(novelty["psi"])
    assert novelty["least_false_alarms"] == pytest.approx(1 / 7)
    assert rows.filter(statistic="rejected")["psi"].to_list() == [[0.0] * 6]


def test_what_is_stored_is_all_that_the_novelty_of_a_frame_takes(plant, tmp_path):
    refer(plant)
    lake = plant.candidate
    (row,) = plant.table("drift_reference").filter(statistic="novelty").iter_rows(named=True)
    values, reference = (
        pl.read_parquet(lake.fetch(row["values"])),
        NoveltyReference.read(lake.fetch(row["arrays"])),
    )
    assert values.columns == [
        "frame_id",
        "capture_id",
        "delivery",
        *PLAIN,
        "score.cnn",
        "score.weak",
        "novelty",
    ]
    assert values["novelty"].is_not_null().all()
    assert Path(row["arrays"]).stem.startswith("novelty-")

    golden = plant.table("split_table").filter(role="golden")["path"]
    images = [read_image(lake.fetch(path)) for path in golden]
    features = extractor(reference.features, lake.fetch, tmp_path)
    ordinary, inverted = (
        np.median(reference.novelty(features.embed(some).features))
        for some in (images, [255 - image for image in images])
    )
    assert ordinary < values["novelty"].max() < inverted


def test_people_see_what_it_promises_and_making_it_again_changes_nothing(plant):
    result = refer(plant)
    before = plant.candidate.commit
    shown = metadata(result, "drift_reference")
    assert "data:image/png;base64" in shown["levels"]
    assert len(shown["rows"].records) == plant.table("drift_reference").height
    assert shown["deliveries"] == 6
    assert shown["novelty level"] > 0
    assert b"plotly" in plant.candidate.read(shown["Evidently's page"])
    assert shown["beside Evidently"].startswith(
        "Golden frames beside training frames. Evidently compares 16 frames"
    )
    promise = checks(result)["is_calibrated"].description
    assert "No level of 6 deliveries can promise less than 14.3 %" in promise

    assert plant.run("drift_reference").success
    assert plant.candidate.commit == before


def test_a_reference_of_too_few_deliveries_is_published_and_says_so(plant):
    frames = measured_cells().with_columns(delivery=pl.lit("all in one"))
    result = refer(plant, frames)
    assert result.success
    answers = passed(result)
    assert not answers.pop("is_calibrated")
    assert all(answers.values())
    rows = plant.table("drift_reference")
    assert not rows["calibrated"].any()
    assert rows.filter(statistic="novelty")["counts"].to_list() == [[0]]
    assert "6 are needed" in checks(result)["is_calibrated"].description


def test_a_training_frame_without_statistics_keeps_the_reference_from_being_published(plant):
    result = refer(plant, cells())
    assert not result.success
    assert "every_training_frame_counts" in failure(result)
    assert not plant.candidate.partitions("drift_reference")


def test_without_golden_frames_there_is_no_page_and_it_says_so(plant):
    plant.publish(frames=measured_cells(), benchmark=False)
    assert plant.run(*TRAINED).success
    shown = metadata(plant.run("drift_reference"), "drift_reference")
    assert shown["Evidently's page"] == "none"
    assert (
        shown["beside Evidently"]
        == "The benchmark holds no golden frame to hold the training frames against."
    )
