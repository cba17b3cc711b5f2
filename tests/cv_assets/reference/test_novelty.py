"""Novelty in features that a stored backbone gives."""

import hashlib
import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import safetensors.numpy
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays
from sklearn.decomposition import PCA
from sklearn.neighbors import NearestNeighbors

from cv_assets.reference.novelty import FeatureSettings, NoveltyReference, cross_fitted, drawn, extractor
from cv_assets.spec.drift import Novelty

FEATURES = FeatureSettings(
    model="cnn",
    architecture="test_efficientnet",
    input_size=32,
    backbone="cnn_checkpoint/backbones/abc.safetensors",
    backbone_sha256="abc",
    blocks=(1, 2),
    pool=("mean", "max"),
)
SETTINGS = Novelty(dimensions=4, neighbours=3)

anything = arrays.arrays(
    np.float32,
    st.tuples(st.integers(0, 12), st.integers(1, 4)),
    elements=st.floats(width=32) | st.sampled_from([0.0, 1.0]),
)


def _drawn(frames: int, width: int, seed: int = 0) -> np.ndarray:
    spread = 2.0 ** -np.arange(width)
    return (np.random.default_rng(seed).normal(size=(frames, width)) * spread).astype(np.float32)


@pytest.mark.parametrize("width", [6, 300], ids=["fewer features than frames", "more features than frames"])
def test_novelty_is_the_mean_distance_to_the_nearest_frames_in_whitened_components(width):
    train_ND, others_MD = _drawn(80, width), _drawn(9, width, seed=1)
    found = NoveltyReference.fit(train_ND, SETTINGS, FEATURES).novelty(others_MD)
    pca = PCA(n_components=4, whiten=True, svd_solver="full").fit(train_ND.astype(np.float64))
    nearest = NearestNeighbors(n_neighbors=3).fit(pca.transform(train_ND.astype(np.float64)))
    expected = nearest.kneighbors(pca.transform(others_MD.astype(np.float64)))[0].mean(axis=1)
    assert found == pytest.approx(expected, rel=1e-4)


def test_a_frame_is_as_novel_alone_as_among_others():
    reference, others_MD = NoveltyReference.fit(_drawn(50, 8), SETTINGS, FEATURES), _drawn(7, 8, seed=1)
    alone = np.concatenate([reference.novelty(one[None]) for one in others_MD])
    assert reference.novelty(others_MD).tolist() == alone.tolist()


def test_frames_farther_away_are_more_novel():
    reference = NoveltyReference.fit(_drawn(50, 3), SETTINGS, FEATURES)
    near, far = reference.novelty(np.array([[0, 0, 0], [9, 0, 0]], dtype=np.float32))
    assert near < 1 < far


def test_a_training_frame_is_as_novel_as_if_its_delivery_had_not_been_there():
    features_ND, deliveries = _drawn(30, 5), ["a"] * 10 + ["b"] * 12 + ["c"] * 8
    found = cross_fitted(features_ND, deliveries, SETTINGS)
    without_b = NoveltyReference.fit(np.delete(features_ND, range(10, 22), axis=0), SETTINGS, FEATURES)
    assert found[10:22].tolist() == without_b.novelty(features_ND[10:22]).tolist()


def test_an_ordinary_delivery_is_about_as_novel_as_the_training_frames_are():
    features_ND, deliveries = _drawn(400, 6), np.repeat(list("abcdefghij"), 40)
    own = cross_fitted(features_ND, deliveries, SETTINGS)
    new = NoveltyReference.fit(features_ND, SETTINGS, FEATURES).novelty(_drawn(400, 6, seed=1))
    assert np.median(new) == pytest.approx(np.median(own), rel=0.1)


def test_frames_of_the_only_delivery_have_no_novelty():
    assert np.isnan(cross_fitted(_drawn(5, 3), ["a"] * 5, SETTINGS)).all()


@settings(max_examples=60)
@given(anything, st.data())
def test_whatever_the_features_a_novelty_is_a_distance_or_nothing(features_ND, data):
    names = data.draw(st.lists(st.sampled_from("ab"), min_size=len(features_ND), max_size=len(features_ND)))
    reference = NoveltyReference.fit(features_ND, SETTINGS, FEATURES)
    for novelty in (reference.novelty(features_ND), cross_fitted(features_ND, names, SETTINGS)):
        assert novelty.shape == (len(features_ND),)
        assert (novelty[~np.isnan(novelty)] >= 0).all()
    whole = np.isfinite(features_ND).all(axis=1)
    assert np.isfinite(reference.novelty(features_ND)).tolist() == whole.tolist()


@pytest.mark.parametrize("level", [0.0, 0.1, 1e30])
def test_features_that_never_change_give_no_component_and_no_novelty(level):
    reference = NoveltyReference.fit(np.full((9, 3), level, dtype=np.float32), SETTINGS, FEATURES)
    assert reference.projection.shape == (0, 3)
    assert reference.novelty(_drawn(2, 3)).tolist() == [0, 0]


def test_there_are_no_more_components_and_neighbours_than_the_frames_allow():
    reference = NoveltyReference.fit(_drawn(2, 50), SETTINGS, FEATURES)
    assert reference.frames.shape == (2, 1)
    assert np.isfinite(reference.novelty(_drawn(4, 50, seed=1))).all()


def test_without_training_frames_there_is_no_novelty():
    reference = NoveltyReference.fit(np.zeros((0, 3), dtype=np.float32), SETTINGS, FEATURES)
    assert np.isnan(reference.novelty(_drawn(2, 3))).all()


def test_other_features_than_those_of_the_reference_are_refused():
    with pytest.raises(ValueError, match=r"knows 3 features per frame, got \(2, 4\)"):
        NoveltyReference.fit(_drawn(9, 3), SETTINGS, FEATURES).novelty(_drawn(2, 4))


def test_what_is_stored_is_the_reference_to_the_last_bit(tmp_path):
    reference = NoveltyReference.fit(_drawn(40, 6), SETTINGS, FEATURES)
    file = tmp_path / "novelty.safetensors"
    file.write_bytes(reference.to_bytes())
    stored = NoveltyReference.read(file)
    assert (stored.features, stored.neighbours) == (FEATURES, 3)
    assert stored.novelty(_drawn(9, 6, seed=1)).tolist() == reference.novelty(_drawn(9, 6, seed=1)).tolist()
    assert stored.to_bytes() == reference.to_bytes()


@settings(max_examples=20)
@given(anything)
def test_a_reference_of_any_features_can_be_stored(tmp_path_factory, features_ND):
    reference = NoveltyReference.fit(features_ND, SETTINGS, FEATURES)
    file = tmp_path_factory.mktemp("stored") / "novelty.safetensors"
    file.write_bytes(reference.to_bytes())
    assert NoveltyReference.read(file).frames.tolist() == reference.frames.tolist()


def test_another_file_is_no_reference(tmp_path):
    file = tmp_path / "head.safetensors"
    file.write_bytes(safetensors.numpy.save({"mean": np.zeros(3)}))
    with pytest.raises(ValueError, match=r"head\.safetensors is no novelty reference"):
        NoveltyReference.read(file)
    file.write_bytes(b"\x80\x04 a pickle")
    with pytest.raises(ValueError, match="not a safetensors file"):
        NoveltyReference.read(file)


def test_the_features_are_those_of_the_stored_backbone_and_of_the_spec_at_its_time():
    checkpoint = {
        "model": "cnn",
        "architecture": "test_efficientnet",
        "recipe": json.dumps({"input_size": 32}),
        "backbone": "cnn_checkpoint/backbones/abc.safetensors",
    }
    assert FeatureSettings.of(checkpoint, Novelty(blocks=(1, 2), pool=("mean", "max"))) == FEATURES


def test_a_backbone_is_fetched_only_when_a_graph_must_be_made(tmp_path):
    asked: list[str] = []

    def fetch(path: str) -> Path:
        asked.append(path)
        file = tmp_path / Path(path).name
        file.write_bytes(b"other bytes")
        return file

    lazy = extractor(FEATURES, fetch, tmp_path)
    assert not asked
    with pytest.raises(ValueError, match=hashlib.sha256(b"other bytes").hexdigest()):
        lazy.graph()
    assert asked == [FEATURES.backbone]


def test_blocks_that_the_backbone_lacks_are_refused_in_the_words_of_the_spec(tmp_path):
    from cv_assets.spec.training import Model
    from cv_assets.training.backbones import load_backbone

    tiny = {
        "name": "cnn",
        "architecture": "test_efficientnet",
        "weights": {"source": "random"},
        "input_size": 32,
    }
    model = Model.model_validate({**tiny, "recipe": {"kind": "frozen"}})
    file = tmp_path / "backbone.safetensors"
    file.write_bytes(load_backbone(model, seed=0, cache_dir=tmp_path).to_bytes())
    stored = hashlib.sha256(file.read_bytes()).hexdigest()
    lacking = replace(FEATURES, blocks=(99,), backbone_sha256=stored)
    with pytest.raises(
        ValueError, match=r"drift\.novelty\.blocks: got \[99\], which test_efficientnet does not have"
    ):
        extractor(lacking, lambda _: file, tmp_path).graph()


def test_frames_are_drawn_by_content_whatever_their_order():
    names = [f"frame {number}" for number in range(50)]
    some = drawn(names, 20)
    assert drawn(names[::-1], 20) == some
    assert drawn(some, 10) == some[:10]
    assert sorted(drawn(names, 100)) == sorted(names)
