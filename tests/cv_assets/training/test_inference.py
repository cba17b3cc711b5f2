"""A predictor made of stored bytes."""

import json
import subprocess
import sys
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from cv_assets.spec.training import Model, Training
from cv_assets.training.checkpoints import checkpoint_files, checkpoint_row
from cv_assets.training.inference import Predictor, latency_ms, load_predictor, timed_scores
from cv_assets.training.recipes import Trained, TrainingSet, train
from resources.deployments import ROOT

FINE_TUNE = {"kind": "fine_tune", "epochs": 2, "learning_rate": 3e-3, "sanity_frames": 0}


class Stored:
    """A checkpoint as a lake would hold it: a row, and files in a folder."""

    def __init__(self, row: Mapping[str, Any], files: Mapping[str, bytes], folder: Path) -> None:
        self.row, self._folder = row, folder
        for path, content in files.items():
            self.fetch(path).write_bytes(content)

    def fetch(self, path: str) -> Path:
        return self._folder / path.replace("/", "-")


@pytest.fixture
def store(
    make_settings: Callable[..., Training], frames: TrainingSet, cache_dir: Path, tmp_path: Path
) -> Callable[[Model], tuple[Trained, Stored]]:
    def make(model: Model) -> tuple[Trained, Stored]:
        settings = make_settings(model)
        trained = train(model, settings, frames, cache_dir=cache_dir, say=lambda _: None)
        row = checkpoint_row(model, settings, "first", frames, trained).row(0, named=True)
        return trained, Stored(row, checkpoint_files(model, "first", trained), tmp_path)

    return make


@pytest.mark.parametrize(
    "section",
    [
        {
            "architecture": "test_efficientnet",
            "recipe": {"kind": "frozen", "blocks": [1, 3], "pool": ["mean", "max"]},
        },
        {"architecture": "test_vit", "recipe": FINE_TUNE},
    ],
    ids=["frozen blocks of a cnn", "fine-tuned vit"],
)
def test_stored_bytes_alone_reproduce_the_scores_of_training(
    section: dict[str, Any],
    make_model: Callable[..., Model],
    store: Callable[[Model], tuple[Trained, Stored]],
    frames: TrainingSet,
    tmp_path: Path,
):
    from cv_assets.training.features import to_input
    from cv_assets.training.graphs import FeatureNet
    from cv_assets.training.inference import pooling

    model = make_model(**section)
    trained, stored = store(model)
    images = [frames.image(index) for index in range(10)]
    net = FeatureNet(trained.backbone.module, *pooling(model)).eval()
    with torch.inference_mode():
        features = net(torch.from_numpy(np.stack([to_input(image, 32) for image in images]))).numpy()
    predictor = load_predictor(stored.row, stored.fetch, tmp_path / "another cache")
    np.testing.assert_allclose(predictor.scores(images), trained.head.scores(features), atol=1e-5)
    np.testing.assert_array_equal(predictor.scores(images)[0], predictor.score(images[0]))


@pytest.fixture
def predictor(
    make_model: Callable[..., Model], store: Callable[[Model], tuple[Trained, Stored]], cache_dir: Path
) -> Predictor:
    _, stored = store(make_model())
    return load_predictor(stored.row, stored.fetch, cache_dir)


def test_scores_are_probabilities_in_the_order_of_the_classes(predictor: Predictor, frames: TrainingSet):
    scores = predictor.scores([frames.image(index) for index in range(48)])
    assert scores.shape == (48, 2)
    assert scores.dtype == np.float64
    np.testing.assert_allclose(scores.sum(axis=1), 1)
    assert predictor.classes == ("sound", "defective")
    assert (scores.argmax(axis=1) == frames.labels).mean() > 0.8


def test_no_image_gives_no_score(predictor: Predictor):
    assert predictor.scores([]).shape == (0, 2)


def test_a_colour_image_of_another_size_is_scored(predictor: Predictor):
    image = np.full((70, 90, 3), 128, dtype=np.uint8)
    assert predictor.scores([image]).shape == (1, 2)


def test_what_is_no_image_is_named_by_its_frame_id(predictor: Predictor):
    with pytest.raises(ValueError, match="frame f2 must be uint8"):
        predictor.scores([np.zeros((8, 8), np.uint8), np.zeros((8, 8), np.float64)], ["f1", "f2"])


def test_latency_is_measured_frame_by_frame(predictor: Predictor, frames: TrainingSet):
    times = latency_ms(predictor, [frames.image(index) for index in range(5)])
    assert times.shape == (5,)
    assert (times > 0).all()


def test_frames_timed_on_several_threads_have_the_scores_of_any_other_way(
    predictor: Predictor, frames: TrainingSet
):
    images = [frames.image(index) for index in range(10)]
    scores, times = timed_scores(predictor, images, threads=3)
    np.testing.assert_array_equal(scores, predictor.scores(images))
    assert times.shape == (10,)
    assert (times > 0).all()


def test_no_image_takes_no_time(predictor: Predictor):
    scores, times = timed_scores(predictor, [], threads=2)
    assert scores.shape == (0, 2)
    assert times.shape == (0,)


def test_scoring_with_a_graph_that_is_cached_imports_no_pytorch(
    make_model: Callable[..., Model],
    store: Callable[[Model], tuple[Trained, Stored]],
    frames: TrainingSet,
    cache_dir: Path,
    tmp_path: Path,
):
    """Importing PyTorch and timm takes seconds, in every run that scores a delivery."""
    _, stored = store(make_model())
    expected = load_predictor(stored.row, stored.fetch, cache_dir).score(frames.image(0))
    columns = ("weights", "weights_sha256", "backbone", "architecture", "recipe", "classes")
    given = {
        "row": {name: stored.row[name] for name in columns},
        "files": {stored.row[name]: str(stored.fetch(stored.row[name])) for name in ("weights", "backbone")},
        "cache": str(cache_dir),
        "frame": frames.paths[0],
    }
    code = """
import json, sys
from pathlib import Path
from cv_assets.training.features import read_image
from cv_assets.training.inference import load_predictor, timed_scores
given = json.load(sys.stdin)
predictor = load_predictor(given["row"], lambda path: Path(given["files"][path]), Path(given["cache"]))
scores, _ = timed_scores(predictor, [read_image(Path(given["frame"]))], threads=1)
heavy = sorted({"torch", "timm", "sklearn"} & set(sys.modules))
print(json.dumps({"scores": scores[0].tolist(), "heavy": heavy}))
"""
    ended = subprocess.run(
        [sys.executable, "-c", code],
        input=json.dumps(given),
        capture_output=True,
        text=True,
        check=False,
        cwd=ROOT,
    )
    assert not ended.returncode, ended.stderr
    assert json.loads(ended.stdout) == {"scores": expected.tolist(), "heavy": []}


@pytest.mark.parametrize("column", ["weights", "backbone"])
def test_a_pickle_in_the_lake_is_refused(
    column: str,
    make_model: Callable[..., Model],
    store: Callable[[Model], tuple[Trained, Stored]],
    cache_dir: Path,
):
    _, stored = store(make_model())
    torch.save({"weight": torch.ones(1)}, stored.fetch(stored.row[column]))
    with pytest.raises(ValueError, match=r"is not a safetensors file|should have the sha256"):
        load_predictor(stored.row, stored.fetch, cache_dir)


def test_other_bytes_than_the_row_names_are_refused(
    make_model: Callable[..., Model], store: Callable[[Model], tuple[Trained, Stored]], cache_dir: Path
):
    _, stored = store(make_model())
    swapped = stored.row | {"weights_sha256": "0" * 64}
    with pytest.raises(
        ValueError, match=f"sha256 {'0' * 64}, the stored bytes have {stored.row['weights_sha256']}"
    ):
        load_predictor(swapped, stored.fetch, cache_dir)
