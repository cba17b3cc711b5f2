"""The split table of a candidate, on a real embedded lake."""

import polars as pl
import pytest
from make_candidates import Plant, cells
from run_results import failure, passed

from resources.partitions import deliveries


@pytest.fixture
def plant(deployment, tables, instance) -> Plant:
    return Plant(deployment, tables, instance)


def test_all_deliveries_are_split_on_the_candidates_branch_and_nowhere_else(plant):
    plant.publish()
    result = plant.run("split_table")
    assert result.success
    assert all(passed(result).values()), passed(result)
    rows = plant.table("split_table")
    counted = rows.group_by("role").agg(pl.len(), pl.col("group").n_unique()).sort("role").rows()
    assert counted == [("golden", 16, 2), ("train", 48, 6)]
    assert not plant.tables.head().partitions("split_table")
    read = result.asset_materializations_for_node("split_table")[0].metadata["lake/reads"].value
    assert {f"tables/raw_frames/d{n}.parquet" for n in (0, 1)} <= set(read)


def test_deliveries_that_dagster_does_not_know_of_are_split_too(plant):
    plant.publish()
    plant.instance.delete_dynamic_partition(deliveries.name, "d0")
    assert plant.run("split_table").success
    assert plant.table("split_table").height == 64


def test_without_a_benchmark_every_labelled_group_may_train(plant):
    plant.publish(benchmark=False)
    assert plant.run("split_table").success
    assert set(plant.table("split_table")["role"]) == {"train"}


def test_the_same_picture_in_two_groups_makes_them_one(plant):
    frames = cells()
    twin = frames[0].with_columns(capture_id=pl.lit("again"), group=pl.lit("m1"))
    plant.publish(frames=pl.concat([frames, twin]))
    assert plant.run("split_table").success
    train = plant.table("split_table").filter(pl.col("role") == "train")
    assert set(train["group"]) == {"m0", "m2", "m3", "m4", "m5"}
    assert train.height == 48


def test_a_training_group_with_a_benchmark_picture_is_left_out_whole(plant):
    frames = cells()
    golden = frames.filter(pl.col("group") == "m6")[0]
    plant.publish(
        frames=pl.concat([frames, golden.with_columns(capture_id=pl.lit("again"), group=pl.lit("m1"))])
    )
    result = plant.run("split_table")
    assert result.success
    train = plant.table("split_table").filter(pl.col("role") == "train")
    assert set(train["group"]) == {"m0", "m2", "m3", "m4", "m5"}
    assert train.height == 40


def test_a_class_that_no_frame_trains_keeps_the_table_back(plant):
    plant.publish(labels=cells().filter(pl.col("label") == "sound", pl.col("group") < "m6"))
    result = plant.run("split_table")
    assert "it failed every_class_trains" in failure(result)
    assert not plant.candidate.partitions("split_table")


def test_fewer_groups_than_folds_keep_the_table_back(plant):
    plant.publish(labels=cells().filter(pl.col("group") < "m2"))
    assert "it failed enough_groups" in failure(plant.run("split_table"))


def test_a_class_in_one_group_only_is_a_warning(plant):
    labels = cells().filter(pl.col("group") < "m6", (pl.col("label") == "sound") | (pl.col("group") == "m0"))
    plant.publish(labels=labels)
    result = plant.run("split_table")
    assert result.success
    assert not passed(result)["classes_span_groups"]


def test_frames_of_an_older_preparation_stop_the_run_in_words(plant):
    plant.publish(digest="an-older-pass")
    assert "materialize prepared_frames again for d0, d1" in failure(plant.run("split_table"))
