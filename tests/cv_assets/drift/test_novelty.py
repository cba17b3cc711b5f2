"""The novelty of a delivery, by what is stored with the release that judged it."""

import hashlib
from pathlib import Path

import cv2
import numpy as np
import polars as pl
import pytest

from cv_assets.drift import novelty
from cv_assets.drift.novelty import novelty_of
from cv_assets.reference.novelty import FeatureSettings, NoveltyReference
from cv_assets.spec.drift import Novelty
from cv_assets.training.features import Embedded

FEATURES = FeatureSettings("cnn", "test_efficientnet", 32, "backbones/abc.safetensors", "abc", (), ("mean",))
TRAINED = np.random.default_rng(3).normal(size=(60, 2)).astype(np.float32)


@pytest.fixture
def stored(tmp_path, monkeypatch):
    """A novelty reference and three grey frames, c0 darker than c1 than c2; a frame's features are its brightness."""
    content = NoveltyReference.fit(TRAINED, Novelty(dimensions=2), FEATURES).to_bytes()
    name = f"novelty-{hashlib.sha256(content).hexdigest()}.safetensors"
    (tmp_path / name).write_bytes(content)
    for number in range(3):
        cv2.imwrite(str(tmp_path / f"c{number}.png"), np.full((8, 8), 10 * number, np.uint8))

    class Brightness:
        def embed(self, images, _names):
            features = np.array([[image.mean(), image.mean()] for image in images], np.float32)
            return Embedded(features, len(features), 0.0)

    monkeypatch.setattr(novelty, "extractor", lambda *_: Brightness())
    return name


def _inspections(*reasons: str) -> pl.DataFrame:
    names = [f"c{number}" for number in range(len(reasons))]
    columns = {"capture_id": names, "frame_id": names, "prepared_path": [f"{name}.png" for name in names]}
    return pl.DataFrame({**columns, "reason": reasons}, schema=dict.fromkeys([*columns, "reason"], pl.String))


def _values(*names: str) -> pl.DataFrame:
    return pl.DataFrame({"capture_id": names}, schema={"capture_id": pl.String})


def test_each_frame_has_its_own_novelty_in_the_order_of_the_values(stored, tmp_path):
    inspections = _inspections("below_lower", "below_lower", "low_confidence")
    found = novelty_of(_values("c2", "c0", "c1"), inspections, stored, tmp_path.joinpath, tmp_path)
    assert found["capture_id"].to_list() == ["c2", "c0", "c1"]
    far, near, middle = found["novelty"].to_list()
    assert near < middle < far


def test_a_frame_of_another_pass_has_no_novelty(stored, tmp_path):
    inspections = _inspections("below_lower", "preparation_changed")
    found = novelty_of(_values("c0", "c1"), inspections, stored, tmp_path.joinpath, tmp_path)
    assert found["novelty"].is_null().to_list() == [False, True]


def test_a_delivery_without_a_frame_to_measure_reads_nothing():
    def fetch(path: str) -> Path:
        raise FileNotFoundError(path)

    found = novelty_of(_values(), _inspections(), "novelty-abc.safetensors", fetch, Path())
    assert found.schema["novelty"] == pl.Float64
    assert found.is_empty()


def test_a_reference_whose_bytes_are_others_than_were_stored_is_refused(stored, tmp_path):
    (tmp_path / stored).write_bytes(b"something else")
    with pytest.raises(ValueError, match=f"{stored} should have the sha256 .* the stored bytes have "):
        novelty_of(_values("c0"), _inspections("below_lower"), stored, tmp_path.joinpath, tmp_path)
