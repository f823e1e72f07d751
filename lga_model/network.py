"""LGANet: one backbone, an action branch and a human-localisation branch.

Shape suffixes: B = images, K = feature channels, A = action classes, H W = pixels of an image or cells of a map,
C = RGB.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

import torch
from torch import Tensor, nn
from torch.nn import functional

from lga_model.backbones import Backbone, build_backbone
from lga_model.depthwise import speed_up_depthwise

if TYPE_CHECKING:
    from collections.abc import Iterator

    from lga_model.config import LocalisationActivation, ModelConfig

_SMALL_STD = 0.01
_UNDECIDED = 0.5
_ELSEWHERE = 0.1
"""Weight of a cell without a person against one with a person, when the pool follows the heatmap."""


class Prediction(NamedTuple):
    """What the network says about a batch. All maps share the cells of the feature map."""

    logits_BA: Tensor
    """Score of every action before softmax, float32."""
    cam_BAHW: Tensor
    """Class activation map of every action, without the bias, float32: its mean over the cells, plus the bias, is
    the logit."""
    heatmap_BHW: Tensor | None
    """Where the person is (M*), float32, about 0 outside and 1 on a person but not limited to 1; None without a
    localisation branch."""
    features_BKHW: Tensor
    """The map that the classifier pools (F_cls, weighted when the pool follows the person), in the arithmetic of the
    forward pass."""


class ActionBranch(nn.Module):
    """Convolution 3x3 with ReLU, global average pool, one linear layer.

    Pool and layer are both linear, so they are applied in the other order: the layer at every cell gives the CAM of
    every class, the pool of that gives the logits.
    """

    def __init__(self, in_channels: int, channels: int | None, num_classes: int) -> None:
        """Make a branch of ``channels`` kernels; None leaves the convolution out (the ``plain`` variant)."""
        super().__init__()
        self.conv = _conv_relu(in_channels, channels) if channels else nn.Identity()
        self.classifier = nn.Linear(channels or in_channels, num_classes)
        nn.init.normal_(self.classifier.weight, std=_SMALL_STD)
        nn.init.zeros_(self.classifier.bias)

    def forward(self, features_BKHW: Tensor) -> tuple[Tensor, Tensor]:
        """Give (logits_BA, cam_BAHW) for F_cls, the output of ``conv``."""
        cam_BAHW = functional.conv2d(features_BKHW, self.classifier.weight[:, :, None, None]).float()
        logits_BA = cam_BAHW.mean(dim=(2, 3)) + self.classifier.bias
        return logits_BA, cam_BAHW


class LocalisationBranch(nn.Module):
    """Convolutions 3x3 down to one channel: the human location heatmap M*.

    It starts near 0.5 in every cell. A relu whose first outputs are negative gets no gradient and stays at zero for
    ever; from 0.5 the branch can go both ways, and the summed squared error starts at a quarter per cell.

    Later a step that is too large can still kill it. ``straight_through`` revives it: the same heatmap, but where the
    relu cuts, the gradient passes as if it had not. The squared error then pulls a dead cell up exactly where a
    person is (its gradient is -2), and leaves it alone where nobody is (its gradient is 0).
    """

    def __init__(self, in_channels: int, channels: tuple[int, ...], activation: LocalisationActivation) -> None:
        """Make one convolution for each of ``channels``; the last has one kernel and ``activation``."""
        super().__init__()
        pairs = zip((in_channels, *channels), channels[:-1], strict=False)
        self.hidden = nn.Sequential(*(_conv_relu(before, after) for before, after in pairs))
        self.last = nn.Conv2d((in_channels, *channels)[-2], 1, 3, padding=1)
        self.activation = nn.Sigmoid() if activation == "sigmoid" else nn.ReLU()
        self.straight_through = activation == "straight_through"
        nn.init.normal_(self.last.weight, std=_SMALL_STD)
        nn.init.constant_(self.last.bias, 0.0 if activation == "sigmoid" else _UNDECIDED)  # type: ignore[arg-type]

    def forward(self, features_BKHW: Tensor) -> Tensor:
        """Give the heatmap ``[B, H, W]``, float32, at least 0."""
        raw_B1HW = self.last(self.hidden(features_BKHW)).float()
        heatmap_B1HW: Tensor = self.activation(raw_B1HW)
        if self.training and self.straight_through:
            heatmap_B1HW = raw_B1HW + (heatmap_B1HW - raw_B1HW).detach()
        return heatmap_B1HW.squeeze(1)


class LGANet(nn.Module):
    """Photographs to actions, class activation maps and a human heatmap."""

    def __init__(
        self, config: ModelConfig, backbone: Backbone, action: ActionBranch, localisation: LocalisationBranch | None
    ) -> None:
        """Join the parts. ``config`` gives the normalisation and travels with the network."""
        super().__init__()
        self.config = config
        self.backbone, self.action, self.localisation = backbone, action, localisation
        # In the config already: a second copy in the weights could contradict it.
        self.register_buffer("scale_C", 1 / (255 * torch.tensor(config.image.std_RGB)), persistent=False)
        shift_C = -torch.tensor(config.image.mean_RGB) / torch.tensor(config.image.std_RGB)
        self.register_buffer("shift_C", shift_C, persistent=False)
        self.scale_C: Tensor
        self.shift_C: Tensor

    def forward(self, image_BHWC: Tensor) -> Prediction:
        """Recognise the action in every image.

        Args:
            image_BHWC: RGB, uint8 in [0, 255], ``[B, size_px, size_px, 3]``.

        Raises:
            ValueError: If the images are not uint8 RGB with the channels last.
        """
        if image_BHWC.dtype != torch.uint8 or image_BHWC.ndim != 4 or image_BHWC.shape[3] != 3:  # noqa: PLR2004 -- BHWC
            raise ValueError(f"images must be uint8 [B, H, W, 3]; got {image_BHWC.dtype} {list(image_BHWC.shape)}")
        image_BHWC = image_BHWC.to(self.scale_C.dtype) * self.scale_C + self.shift_C
        # As a view of NHWC memory this already is PyTorch's channels_last format, the faster one.
        return self.recognise(self.backbone(image_BHWC.permute(0, 3, 1, 2)))

    def recognise(self, features_BKHW: Tensor) -> Prediction:
        """Recognise the action from the backbone's features."""
        action_features_BKHW = self.action.conv(features_BKHW)
        heatmap_BHW: Tensor | None = None
        if self.localisation is not None:
            at_action = self.config.localisation_source == "action"
            heatmap_BHW = self.localisation(action_features_BKHW if at_action else features_BKHW)
            if self.config.pooling == "person":
                action_features_BKHW = _weigh_by_person(action_features_BKHW, heatmap_BHW)
        logits_BA, cam_BAHW = self.action(action_features_BKHW)
        return Prediction(logits_BA, cam_BAHW, heatmap_BHW, action_features_BKHW)

    @property
    def feature_size(self) -> tuple[int, int]:
        """Cells (h, w) of every map for an image of ``config.image.size_px``."""
        return self.backbone.feature_size

    def backbone_parameters(self) -> Iterator[nn.Parameter]:
        """Give the trainable parameters that come from ImageNet."""
        return (parameter for parameter in self.backbone.parameters() if parameter.requires_grad)

    def head_parameters(self) -> Iterator[nn.Parameter]:
        """Give the trainable parameters of both branches, which start from nothing."""
        branches = (self.action, self.localisation)
        return (parameter for branch in branches if branch is not None for parameter in branch.parameters())


def build_network(config: ModelConfig) -> LGANet:
    """Build the network of ``config``, randomly initialised; nothing is downloaded.

    Raises:
        BackboneError: If the backbone is unknown or has no map of ``config.output_stride``.
    """
    backbone = build_backbone(config.backbone, config.output_stride, config.image.size_px)
    channels = config.action_channels if config.variant == "lga" else None
    action = ActionBranch(backbone.channels, channels, len(config.classes))
    localisation = None
    if config.has_heatmap:
        seen = config.action_channels if config.localisation_source == "action" else backbone.channels
        localisation = LocalisationBranch(seen, config.localisation_channels, config.localisation_activation)
    network = LGANet(config, backbone, action, localisation)
    speed_up_depthwise(network)
    return network


def _weigh_by_person(features_BKHW: Tensor, heatmap_BHW: Tensor) -> Tensor:
    """Multiply every cell by its share of the person, on average 1: the mean over the cells becomes a weighted one.

    A heatmap that is the same everywhere, a dead one too, changes nothing: then nobody knows better than the mean.
    """
    weight_BHW = heatmap_BHW.clamp(max=1) + _ELSEWHERE
    weight_BHW = weight_BHW / weight_BHW.mean(dim=(1, 2), keepdim=True)
    return features_BKHW * weight_BHW[:, None].to(features_BKHW.dtype)


def _conv_relu(in_channels: int, out_channels: int) -> nn.Sequential:
    """Make a 3x3 convolution that keeps the size, with ReLU; Kaiming keeps the scale of the signal through it."""
    conv = nn.Conv2d(in_channels, out_channels, 3, padding=1)
    nn.init.kaiming_normal_(conv.weight, nonlinearity="relu")
    nn.init.zeros_(conv.bias)  # type: ignore[arg-type]  # typed as optional, made by default
    return nn.Sequential(conv, nn.ReLU(inplace=True))
