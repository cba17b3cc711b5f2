"""A checkpoint through Dagster, on a real embedded lake."""

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import dagster as dg
import polars as pl
import pytest
from by_hand import publish_by_hand
from ruamel.yaml import YAML
from run_results import failure, metadata, passed

from cv_assets.spec.assets import project_spec
from cv_assets.spec.load import load_spec
from cv_assets.training.assets import checkpoint_asset, checkpoints
from cv_assets.training.inference import load_predictor
from cv_assets.training.recipes import training_set
from resources.deployments import ROOT, Deployment
from resources.partitions import candidates
from resources.tables import Tables, candidate_branch, parquet, table_path

TINY = {
    "name": "tiny",
    "architecture": "test_efficientnet",
    "weights": {"source": "random"},
    "input_size": 32,
    "recipe": {"kind": "frozen", "C": 0.1},
}


class Plant:
    """One lake in which a candidate was requested and its split published by hand."""

    def __init__(
        self, deployment: Deployment, tables: Tables, instance: dg.DagsterInstance, cache_dir: Path
    ) -> None:
        self.tables, self.instance = tables, instance
        self.deployment = replace(deployment, data_dir=cache_dir.parent)
        self.asset = checkpoint_asset(load_spec(deployment.spec_file).training.models[0])

    def publish(self, split_table: pl.DataFrame) -> None:
        """Put the request and the split on main, pictures under lake paths."""
        pictures = {
            f"prepared_frames/d1/{Path(path).name}": Path(path) for path in split_table["path"].unique()
        }
        in_lake = split_table.with_columns(
            path="prepared_frames/d1/" + pl.col("path").str.split("/").list.last()
        )
        files: dict[str, Any] = {
            table_path("training_request", "first"): b"requested",
            table_path("split_table", "first"): parquet(in_lake),
            **pictures,
        }
        publish_by_hand(self.tables.lake, files)
        self.instance.add_dynamic_partitions(candidates.name, ["first"])

    def train(self) -> dg.ExecuteInProcessResult:
        upstream = dg.AssetSpec("split_table", partitions_def=candidates)
        return dg.materialize(
            [project_spec, upstream, self.asset],
            selection=[self.asset.key.path[-1]],
            partition_key="first",
            resources={"io_manager": self.tables, "tables": self.tables, "deployment": self.deployment},
            instance=self.instance,
            raise_on_error=False,
        )

    def trained(self) -> tuple[str, dict[str, Any]]:
        """The head of the candidate's branch, and the checkpoint's row there."""
        commit = self.tables.lake.resolve(candidate_branch("main", "first"))
        file = self.tables.lake.fetch(commit, table_path("tiny_checkpoint", "first"))
        return commit, pl.read_parquet(file).row(0, named=True)


@pytest.fixture
def plant(deployment: Deployment, tables: Tables, instance: dg.DagsterInstance, cache_dir: Path) -> Plant:
    sections = YAML(typ="safe").load(deployment.spec_file)
    sections["training"] = {"folds": 3, "models": [TINY]}
    sections["drift"] = {}
    deployment.spec_file.write_text(json.dumps(sections))
    plant = Plant(deployment, tables, instance, cache_dir)
    resources = {"io_manager": tables, "tables": tables, "deployment": deployment}
    assert dg.materialize([project_spec], resources=resources, instance=instance).success
    return plant


def test_a_checkpoint_is_published_on_its_candidate_with_all_that_inference_needs(
    plant: Plant, split_table: pl.DataFrame, cache_dir: Path
):
    plant.publish(split_table)
    result = plant.train()
    assert result.success
    assert len(passed(result)) == 5
    assert all(passed(result).values())
    shown = metadata(result, "tiny_checkpoint")
    assert shown["out_of_fold_roc_auc"] > 0.9
    assert "data:image/png;base64" in shown["figure"]

    commit, row = plant.trained()
    lake = plant.tables.lake
    predictor = load_predictor(row, lambda path: lake.fetch(commit, path), cache_dir)
    frames = training_set(split_table, ("sound", "defective"), Path)
    said = predictor.scores([frames.image(index) for index in range(48)]).argmax(axis=1)
    assert (said == frames.labels).mean() > 0.9
    assert not plant.tables.head().partitions("tiny_checkpoint")


def test_training_again_changes_nothing(plant: Plant, split_table: pl.DataFrame):
    plant.publish(split_table)
    assert plant.train().success
    first, row = plant.trained()
    assert plant.train().success
    again, same = plant.trained()
    assert first == again
    assert row["weights"] == same["weights"]


def test_a_golden_picture_that_trains_keeps_the_checkpoint_from_being_published(
    plant: Plant, split_table: pl.DataFrame
):
    leak = pl.col("frame_id") == f"{50:064x}"
    plant.publish(
        split_table.with_columns(path=pl.when(leak).then(pl.lit(split_table["path"][0])).otherwise("path"))
    )
    result = plant.train()
    assert not result.success
    assert "no_judging_frame_trained" in failure(result)
    with pytest.raises(FileNotFoundError):
        plant.trained()


def test_a_class_without_frames_stops_the_run_in_words(plant: Plant, split_table: pl.DataFrame):
    plant.publish(split_table.filter(pl.col("label") == "sound"))
    result = plant.train()
    assert not result.success
    assert "none of the 32 training frames has the label ['defective']" in failure(result)


def test_every_model_of_the_spec_is_an_asset_of_its_own():
    spec = load_spec(ROOT / "specs" / "solar_cells.yaml")
    assert [asset.key.path[-1] for asset in checkpoints(spec)] == ["cnn_checkpoint", "vit_checkpoint"]
    description = checkpoints(spec)[0].descriptions_by_key[dg.AssetKey("cnn_checkpoint")]
    assert "timm `tf_efficientnet_lite0` at 160 px" in description


def test_the_description_promises_a_loss_by_epoch_only_where_there_are_epochs():
    shipped, template = (load_spec(ROOT / "specs" / f"{name}.yaml") for name in ("solar_cells", "template"))
    frozen, fine_tuned = checkpoints(shipped)[0], checkpoints(template)[1]
    assert "the loss it ended with" in frozen.descriptions_by_key[dg.AssetKey("cnn_checkpoint")]
    assert "its loss by epoch" in fine_tuned.descriptions_by_key[dg.AssetKey("vit_checkpoint")]
