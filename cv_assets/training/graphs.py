"""Graphs: a backbone with normalisation before it and pooling behind it, and its ONNX form, which scores frames.

The backbone sees frames at S x S. Shapes: N frames, D features, C channels. A *block* is counted from 0, as in timm:
block 2 of EfficientNet-Lite0 is the output of `model.blocks[2]`.
"""

from collections.abc import Sequence
from functools import partial
from pathlib import Path

import torch
from timm.data.config import resolve_model_data_config
from torch import nn

from cv_assets.spec.architectures import blocks_of
from cv_assets.training.backbones import Backbone
from cv_assets.training.features import Extractor, Pool


def extractor_of(
    backbone: Backbone,
    backbone_sha256: str,
    blocks: tuple[int, ...],
    pool: tuple[Pool, ...],
    cache_dir: Path,
) -> Extractor:
    """Features by a backbone in memory; `backbone_sha256` names its stored form."""
    graph = partial(export, backbone, blocks, pool)
    return Extractor(
        backbone.architecture, backbone.input_size, backbone_sha256, blocks, pool, cache_dir, graph
    )


def export(backbone: Backbone, blocks: Sequence[int], pool: Sequence[Pool]) -> bytes:
    """The ONNX graph from `frames`, uint8 (1, S, S, 3), to `features` (1, D). Raises RuntimeError."""
    net = FeatureNet(backbone.module, blocks, pool).eval()
    frame_1SS3 = torch.zeros((1, backbone.input_size, backbone.input_size, 3), dtype=torch.uint8)
    program = torch.onnx.export(
        net, (frame_1SS3,), input_names=["frames"], output_names=["features"], dynamo=True, verbose=False
    )
    if program is None:
        raise RuntimeError(f"PyTorch exported no graph of {backbone.architecture}")
    content: bytes = program.model_proto.SerializeToString()
    return content


class FeatureNet(nn.Module):
    """A backbone with its own normalisation before it and pooling behind it: (N, S, S, 3) of 0 to 255 -> (N, D).

    Each map is reduced by every pool in turn; for token maps the class token comes first and the pools see the patches.
    """

    _mean: torch.Tensor
    _std: torch.Tensor

    def __init__(
        self, backbone: nn.Module, blocks: Sequence[int] = (), pool: Sequence[Pool] = ("mean",)
    ) -> None:
        super().__init__()
        self.backbone = backbone
        self._blocks = tuple(blocks_of(backbone)[number] for number in _checked(blocks, backbone))
        self._pool = tuple(pool)
        config = resolve_model_data_config(backbone)  # type: ignore[no-untyped-call]
        for name in ("mean", "std"):
            levels = 255 * torch.tensor(config[name], dtype=torch.float32).reshape(1, 3, 1, 1)
            self.register_buffer(f"_{name}", levels, persistent=False)

    def forward(self, frames_NSSC: torch.Tensor) -> torch.Tensor:
        """The features of each frame, one row each."""
        images_NCSS = frames_NSSC.permute(0, 3, 1, 2).to(torch.float32)
        images_NCSS = (images_NCSS - self._mean) / self._std
        maps = self._block_outputs(images_NCSS) if self._blocks else [self._output(images_NCSS)]
        return torch.cat([part for one in maps for part in self._pooled(one)], dim=1)

    def _output(self, images_NCSS: torch.Tensor) -> torch.Tensor:
        output: torch.Tensor = self.backbone.forward_features(images_NCSS)  # type: ignore[operator]
        return output

    def _block_outputs(self, images_NCSS: torch.Tensor) -> list[torch.Tensor]:
        outputs: list[torch.Tensor] = []
        hooks = [
            block.register_forward_hook(lambda _module, _inputs, output: outputs.append(output))
            for block in self._blocks
        ]
        self._output(images_NCSS)
        for hook in hooks:
            hook.remove()
        return outputs

    def _pooled(self, one: torch.Tensor) -> list[torch.Tensor]:
        if one.ndim == 3:
            first_patch = getattr(self.backbone, "num_prefix_tokens", 0)
            has_class_token = getattr(self.backbone, "cls_token", None) is not None
            tokens = [one[:, 0]] if has_class_token else []
            positions = one[:, first_patch:].transpose(1, 2)
        else:
            # Some transformers keep their maps with the channels last.
            channels_last = str(getattr(self.backbone, "output_fmt", "")).endswith("NHWC")
            tokens, positions = [], (one.permute(0, 3, 1, 2) if channels_last else one).flatten(2)
        return [*tokens, *(_reduced(positions, pool) for pool in self._pool)]


def _reduced(positions: torch.Tensor, pool: Pool) -> torch.Tensor:
    match pool:
        case "mean":
            return positions.mean(-1)
        case "max":
            return positions.amax(-1)
        case "min":
            return positions.amin(-1)


def _checked(blocks: Sequence[int], backbone: nn.Module) -> list[int]:
    count = len(blocks_of(backbone))
    if beyond := [number for number in blocks if not 0 <= number < count]:
        raise ValueError(
            f"recipe.blocks must lie in 0 to {count - 1}, the blocks of {type(backbone).__name__}, got {beyond}"
        )
    # The forward pass meets them in this order, whatever the spec's.
    return sorted(set(blocks))
