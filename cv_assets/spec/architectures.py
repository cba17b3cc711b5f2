"""Model architectures: whether timm has them, with the size and the blocks that a model asks for.

Heavy to import; nothing that loads definitions does.
"""

from functools import lru_cache
from typing import Final

import timm
import torch
from torch import nn

from cv_assets.spec.mistakes import did_you_mean
from cv_assets.spec.schema import Spec
from cv_assets.spec.training import FrozenRecipe, Model

_STAGES: Final = ("blocks", "stages", "layers")
"""Where timm's models keep their stages; ResNets have `layer1` to `layer4` instead."""


def check_architectures(spec: Spec) -> list[str]:
    """One sentence for every model of `spec` that timm cannot build as asked; empty when all are known."""
    novelty = spec.drift.novelty
    watched = novelty.model or spec.training.models[0].name
    return [
        answer
        for number, model in enumerate(spec.training.models)
        for answer in _why_not(
            f"training.models[{number}]", model, novelty.blocks if model.name == watched else ()
        )
    ]


def blocks_of(backbone: nn.Module) -> list[nn.Module]:
    """The feature stages that a recipe's `blocks` count from 0; empty when the architecture names none."""
    for name in _STAGES:
        if hasattr(backbone, name):
            return list(getattr(backbone, name))
    layers = [getattr(backbone, f"layer{number}", None) for number in (1, 2, 3, 4)]
    return [layer for layer in layers if layer is not None]


def patch_of(backbone: nn.Module) -> int:
    """The side of the patches that a backbone with position embeddings cuts a frame into; 1 for any other backbone."""
    if not hasattr(backbone, "set_input_size"):
        return 1
    return int(max(getattr(getattr(backbone, "patch_embed", None), "patch_size", (1,))))


def _why_not(place: str, model: Model, novelty_blocks: tuple[int, ...]) -> list[str]:
    name, key = model.architecture, f"{place}.architecture"
    if not timm.is_model(name):
        architecture = name.split(".")[0]
        suggestion = did_you_mean(architecture, timm.list_models()) or "timm.list_models() names them all"
        return [f"{key}: got {name!r}, expected a model that timm {timm.__version__} knows; {suggestion}"]
    if model.weights.source == "hub" and not _is_on_the_hub(name):
        known = [one for one in timm.list_pretrained() if _is_variant(one, name) and _is_on_the_hub(one)]
        expected = ", ".join(known) or "another `weights.source`, for it has none"
        return [f"{key}: timm's hub has no pretrained weights {name!r} as safetensors, expected {expected}"]
    try:
        backbone = _sketch(name)
    except RuntimeError as error:
        return [f"{key}: got {name!r}, timm cannot build it: {error}"]
    blocks = model.recipe.blocks if isinstance(model.recipe, FrozenRecipe) else ()
    answers = (
        _wrong_size(place, model, backbone),
        _wrong_blocks(f"{place}.recipe.blocks", blocks, name, backbone),
        _wrong_blocks("drift.novelty.blocks", novelty_blocks, name, backbone),
    )
    return [answer for answer in answers if answer]


def _is_on_the_hub(name: str) -> bool:
    """Whether its weights may be there as safetensors: those of other addresses are pickles."""
    found = timm.get_pretrained_cfg(name) if timm.is_model_pretrained(name) else None
    return found is not None and bool(found.hf_hub_id)


def _is_variant(one: str, name: str) -> bool:
    return one.split(".")[0] == name.split(".")[0]


@lru_cache(maxsize=8)
def _sketch(architecture: str) -> nn.Module:
    """To look at: without weights where it can be had so, which makes a large model cost neither memory nor time."""
    try:
        with torch.device("meta"):
            return timm.create_model(architecture, pretrained=False, num_classes=0)
    except RuntimeError:
        # Some models compute with their weights while they are built.
        return timm.create_model(architecture, pretrained=False, num_classes=0)


def _wrong_size(place: str, model: Model, backbone: nn.Module) -> str:
    patch, size = patch_of(backbone), model.input_size
    if size % patch == 0:
        return ""
    near = " or ".join(str(one) for one in (size // patch * patch, (size // patch + 1) * patch) if one)
    expected = f"a multiple of {patch}, the patch size of {model.architecture}: {near}"
    return f"{place}.input_size: got {size}, expected {expected}"


def _wrong_blocks(key: str, asked: tuple[int, ...], architecture: str, backbone: nn.Module) -> str:
    count = len(blocks_of(backbone))
    if all(block < count for block in asked):
        return ""
    expected = f"blocks from 0 to {count - 1}" if count else "none: its stages cannot be told apart"
    return f"{key}: got {list(asked)}, {architecture} has {expected}"
