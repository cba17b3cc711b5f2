"""Frozen features."""

from collections.abc import Callable
from pathlib import Path

import cv2
import numpy as np
import pytest
import timm
import torch

from cv_assets.spec.training import Model
from cv_assets.training.backbones import load_backbone
from cv_assets.training.features import Extractor, Image, read_image, read_images, to_input
from cv_assets.training.graphs import FeatureNet, extractor_of

MakeModel = Callable[..., Model]
MakeExtractor = Callable[..., Extractor]


@pytest.fixture
def make_extractor(make_model: MakeModel, cache_dir: Path) -> MakeExtractor:
    def make(architecture: str = "test_efficientnet", *, cache: Path = cache_dir, blocks=(), pool=("mean",)):
        backbone = load_backbone(make_model(architecture), seed=0, cache_dir=cache)
        return extractor_of(backbone, "sha-of-" + architecture, tuple(blocks), tuple(pool), cache)

    return make


@pytest.fixture
def own_cache(make_extractor: MakeExtractor, without_features: Callable[[], Path]) -> Path:
    """Knows the default extractor's graph and no feature."""
    make_extractor().compute(np.zeros((32, 32), dtype=np.uint8))
    return without_features()


def noise(count: int, *shape: int) -> list[Image]:
    return list(np.random.default_rng(0).integers(0, 256, (count, *shape), dtype=np.uint8))


def test_resizing_averages_areas_and_repeats_grey():
    image = np.array([[0, 100], [100, 200]], dtype=np.uint8).repeat(8, 0).repeat(8, 1)
    small = to_input(image, 2)
    assert small.shape == (2, 2, 3)
    assert small[:, :, 0].tolist() == small[:, :, 2].tolist() == [[0, 100], [100, 200]]


@pytest.mark.parametrize("wrong", [np.zeros((4, 4), np.float32), np.zeros((4, 4, 4), np.uint8)])
def test_what_is_no_image_is_refused_with_its_name(wrong: Image):
    with pytest.raises(ValueError, match=r"frame f7 must be uint8 \(H, W\) or \(H, W, 3\), got"):
        to_input(wrong, 2, "f7")


def test_a_file_that_is_no_picture_is_named(tmp_path: Path):
    (tmp_path / "broken.png").write_bytes(b"not a picture")
    with pytest.raises(ValueError, match=r"broken.png is not a readable image"):
        read_image(tmp_path / "broken.png")


def test_pictures_decoded_together_keep_the_order_of_their_files(tmp_path: Path):
    pictures = [np.full((4, 5), level, dtype=np.uint8) for level in range(40)]
    files = [tmp_path / f"{level}.png" for level in range(40)]
    for file, image in zip(files, pictures, strict=True):
        cv2.imwrite(str(file), image)
    assert [image.tolist() for image in read_images(files)] == [image.tolist() for image in pictures]


def test_a_cnn_without_blocks_gives_its_own_pooled_output():
    module = timm.create_model("test_efficientnet", num_classes=0).eval()
    frames_2SS3 = torch.randint(0, 256, (2, 32, 32, 3), dtype=torch.uint8)
    mean, std = (
        255 * torch.tensor(module.pretrained_cfg[key]).reshape(1, 3, 1, 1) for key in ("mean", "std")
    )
    with torch.inference_mode():
        expected = module((frames_2SS3.permute(0, 3, 1, 2) - mean) / std)
        torch.testing.assert_close(FeatureNet(module)(frames_2SS3), expected)


def test_blocks_are_counted_from_zero_and_pooled_in_order():
    module = timm.create_model("test_efficientnet", num_classes=0).eval()
    frames_1SS3 = torch.randint(0, 256, (1, 32, 32, 3), dtype=torch.uint8)
    outputs = []
    module.blocks[1].register_forward_hook(lambda _module, _inputs, output: outputs.append(output))
    with torch.inference_mode():
        features = FeatureNet(module, (1,), ("mean", "max", "min"))(frames_1SS3)
    (map_,) = outputs
    expected = torch.cat([map_.mean((2, 3)), map_.amax((2, 3)), map_.amin((2, 3))], dim=1)
    torch.testing.assert_close(features, expected)


def test_a_vit_gives_its_class_token_and_the_pooled_patches():
    module = timm.create_model("test_vit", num_classes=0, img_size=32).eval()
    frames_1SS3 = torch.full((1, 32, 32, 3), 90, dtype=torch.uint8)
    with torch.inference_mode():
        tokens = module.forward_features((frames_1SS3.permute(0, 3, 1, 2) / 255 - 0.5) / 0.5)
        expected = torch.cat([tokens[:, 0], tokens[:, 1:].mean(1)], dim=1)
        torch.testing.assert_close(FeatureNet(module)(frames_1SS3), expected)


def test_a_block_that_is_not_there_is_refused():
    module = timm.create_model("test_efficientnet", num_classes=0)
    with pytest.raises(ValueError, match=r"must lie in 0 to 4, .* got \[5\]"):
        FeatureNet(module, (2, 5))


@pytest.mark.parametrize(
    ("architecture", "recipe"),
    [("test_efficientnet", {"blocks": (1, 3), "pool": ("mean", "max", "min")}), ("test_vit", {})],
)
def test_the_runtime_gives_what_pytorch_gives(
    architecture: str,
    recipe: dict[str, tuple[int, ...]],
    make_extractor: MakeExtractor,
    make_model: MakeModel,
    cache_dir: Path,
):
    extractor = make_extractor(architecture, **recipe)
    backbone = load_backbone(make_model(architecture), seed=0, cache_dir=cache_dir)
    images = noise(3, 40, 40)
    net = FeatureNet(backbone.module, extractor.blocks, extractor.pool).eval()
    with torch.inference_mode():
        expected = net(torch.from_numpy(np.stack([to_input(image, 32) for image in images]))).numpy()
    np.testing.assert_allclose(extractor.embed(images).features, expected, atol=1e-5)


def test_features_of_a_frame_depend_on_nothing_but_the_frame(make_extractor: MakeExtractor):
    images = noise(5, 40, 40)
    extractor = make_extractor()
    together = extractor.embed(images).features
    alone = np.stack([extractor.compute(image) for image in reversed(images)])[::-1]
    assert np.array_equal(together, alone)


def test_known_frames_are_not_computed_again_and_new_ones_are_added(
    make_extractor: MakeExtractor, own_cache: Path
):
    images = noise(4, 40, 40)
    first = make_extractor(cache=own_cache).embed(images[:3])
    second = make_extractor(cache=own_cache).embed(images)
    assert (first.computed, second.computed) == (3, 1)
    assert np.array_equal(first.features, second.features[:3])


def test_a_frame_met_twice_is_computed_once(make_extractor: MakeExtractor, own_cache: Path):
    (image,) = noise(1, 40, 40)
    embedded = make_extractor(cache=own_cache).embed([image, image.copy()])
    assert embedded.computed == 1
    assert np.array_equal(embedded.features[0], embedded.features[1])


def test_a_damaged_cache_is_computed_again(make_extractor: MakeExtractor, own_cache: Path):
    images = noise(2, 40, 40)
    before = make_extractor(cache=own_cache).embed(images).features
    for kept in (own_cache / "features").rglob("*.safetensors"):
        kept.write_bytes(kept.read_bytes()[:-1] + b"?")
    again = make_extractor(cache=own_cache).embed(images)
    assert again.computed == 2
    assert np.array_equal(again.features, before)


def test_images_of_other_shapes_with_equal_bytes_have_their_own_features(make_extractor: MakeExtractor):
    (image,) = noise(1, 32, 48)
    embedded = make_extractor().embed([image, image.reshape(48, 32)])
    assert not np.array_equal(embedded.features[0], embedded.features[1])


def test_every_ingredient_of_the_features_changes_their_digest(make_extractor: MakeExtractor):
    variants = [
        make_extractor(),
        make_extractor(blocks=(1,)),
        make_extractor(pool=("max",)),
        make_extractor("test_vit"),
    ]
    assert len({extractor.digest for extractor in variants}) == len(variants)
