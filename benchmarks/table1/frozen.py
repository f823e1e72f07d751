"""Trials on frozen features: seconds instead of hours, so that a hypothesis can have several seeds.

The first stages of an ImageNet backbone see every photograph once, as it is and moved once; what they say is kept in
half precision. A trial then trains what comes after: a last stage of the backbone if one is asked for, and LGANet's
own branches, with the project's own losses, schedule and metrics. What a frozen stage cannot show is said in
benchmarks/RESEARCH.md.

Shape suffixes: N = images of a split, B = images of a batch, K = channels, H W = cells, C = RGB.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
import openvino as ov
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from lga_model.activations import predicting_activation_map
from lga_model.augment import Matrix, random_matrix, warp_image
from lga_model.backbones import Backbone, build_backbone, load_pretrained, recommended_normalisation
from lga_model.config import Augmentation, ModelConfig, Recipe
from lga_model.losses import lga_loss
from lga_model.network import ActionBranch, LGANet, LocalisationBranch
from lga_model.targets import human_mask
from table1.data import Data
from workers.train.dataset import Sample
from workers.train.optimiser import build_optimiser, pace, set_pace
from workers.train.validation import Outputs

_AT_ONCE = 16
_MIRROR = np.array([[-1.0, 0.0, 1.0], [0.0, 1.0, 0.0], [0.0, 0.0, 1.0]])
_VIEWS = 2

Second = Literal["mirrored", "augmented"]
"""How the second view of a training image differs from the first."""

Schedule = Literal["constant", "falling", "rising"]
"""How the weight of the mask loss goes through a training: evenly from all of it to none, or from none to all of it."""


class _Stages(nn.Module):
    """uint8 photographs -> the features of the first stages."""

    mean_C: Tensor
    std_C: Tensor

    def __init__(self, backbone: Backbone) -> None:
        super().__init__()
        mean_RGB, std_RGB = recommended_normalisation(backbone.name)
        self.backbone = backbone
        self.register_buffer("mean_C", 255 * torch.tensor(mean_RGB))
        self.register_buffer("std_C", 255 * torch.tensor(std_RGB))

    def forward(self, image_BHWC: Tensor) -> Tensor:
        features: Tensor = self.backbone(((image_BHWC.float() - self.mean_C) / self.std_C).permute(0, 3, 1, 2))
        return features.permute(0, 2, 3, 1)


@dataclass(frozen=True, kw_only=True)
class Features:
    """What the frozen stages say about one split, and its targets; the first axis of each is the view."""

    features_VNHWK: NDArray[np.float16]
    mask_VNHW: NDArray[np.float32]
    action_N: NDArray[np.int64]


@dataclass(frozen=True, kw_only=True)
class Cut:
    """Where a backbone is cut: what is frozen and what is trained."""

    backbone: str
    stage: int
    """Last frozen stage, in timm's count."""
    last_channels: int | None = None
    """Channels of the trained last stage that follows, None for no such stage: then only the branches are trained."""
    last_stride: int = 1
    second: Second = "mirrored"


def extract(data: Data, cut: Cut, weights: Mapping[str, Tensor]) -> dict[str, Features]:
    """Run the frozen stages over every split; only the training split has a second view."""
    whole = build_backbone(cut.backbone, size_px=data.source.size_px)
    load_pretrained(whole, weights)
    front = Backbone(cut.backbone, whole.body, cut.stage, data.source.size_px).eval()
    run = _compiled(front, data.source.size_px)
    return {
        "train": _views(data, data.train, front, run, cut, views=_VIEWS),
        "val": _views(data, data.val, front, run, cut, views=1),
        "test": _views(data, data.test, front, run, cut, views=1),
    }


def _compiled(front: Backbone, size_px: int) -> ov.CompiledModel:
    """OpenVINO, in fp32: several times faster than the network it was made from."""
    shape = (_AT_ONCE, size_px, size_px, 3)
    example = torch.zeros(shape, dtype=torch.uint8)
    model = ov.convert_model(_Stages(front).eval(), example_input=example, input=[shape])
    options = {"INFERENCE_NUM_THREADS": torch.get_num_threads(), "INFERENCE_PRECISION_HINT": "f32"}
    return ov.Core().compile_model(model, "CPU", options)


def _views(
    data: Data, samples: Sequence[Sample], front: Backbone, run: ov.CompiledModel, cut: Cut, *, views: int
) -> Features:
    cells = front.feature_size
    grid_hw = (cells[0] // cut.last_stride, cells[1] // cut.last_stride)
    features = np.zeros((views, len(samples), *cells, front.channels), np.float16)
    masks = np.zeros((views, len(samples), *grid_hw), np.float32)
    for view in range(views):
        for start in range(0, len(samples), _AT_ONCE):
            part = samples[start : start + _AT_ONCE]
            image_BHWC = np.zeros((_AT_ONCE, data.source.size_px, data.source.size_px, 3), np.uint8)
            for place, sample in enumerate(part):
                matrix_33 = _matrix(view, start + place, cut.second)
                pixels_HWC = data.source.pixels(sample)
                image_BHWC[place] = pixels_HWC if matrix_33 is None else warp_image(pixels_HWC, matrix_33)
                masks[view, start + place] = human_mask(
                    sample.boxes_N4, sample.width, sample.height, grid_hw, matrix_33
                )
            features[view, start : start + len(part)] = run(image_BHWC)[0][: len(part)]
    return Features(features_VNHWK=features, mask_VNHW=masks, action_N=np.array([sample.action for sample in samples]))


def _matrix(view: int, index: int, second: Second) -> Matrix | None:
    if view == 0:
        return None
    return _MIRROR if second == "mirrored" else random_matrix(np.random.default_rng((view, index)), Augmentation())


class LastStage(nn.Module):
    """A last stage of the backbone that is trained: two 3x3 convolutions with norms; the first may halve the map."""

    def __init__(self, in_channels: int, channels: int, stride: int) -> None:
        super().__init__()
        self.channels = channels
        self.body = nn.Sequential(
            nn.Conv2d(in_channels, channels, 3, padding=1, stride=stride, bias=False),
            nn.BatchNorm2d(channels),
            nn.ReLU(),
            nn.Conv2d(channels, channels, 3, padding=1, bias=False),
            nn.BatchNorm2d(channels),
            nn.ReLU(),
        )

    def forward(self, features_BKHW: Tensor) -> Tensor:
        """Give the map that both branches see."""
        out_BKHW: Tensor = self.body(features_BKHW)
        return out_BKHW


@dataclass(frozen=True, kw_only=True)
class FrozenTrial:
    """One training on frozen features."""

    config: ModelConfig
    recipe: Recipe
    seed: int
    cut: Cut
    mask_schedule: Schedule = "constant"


def train_frozen(trial: FrozenTrial, features: Mapping[str, Features]) -> tuple[Outputs, Outputs]:
    """Train, and give what the network then says about the validation and the test split."""
    network = _network(trial, features["train"].features_VNHWK.shape[4])
    recipe, train = trial.recipe, features["train"]
    optimiser = build_optimiser(network, recipe)
    steps = len(train.action_N) // recipe.batch_size
    network.train()
    rng = np.random.default_rng(trial.seed)
    for epoch in range(recipe.epochs):
        order = rng.permutation(len(train.action_N))[: steps * recipe.batch_size].reshape(steps, -1)
        for step, index_B in enumerate(order):
            number, total = epoch * steps + step, recipe.epochs * steps
            set_pace(optimiser, pace(number, total, recipe))
            weight = recipe.mask_weight * _share(trial.mask_schedule, number / total)
            now = dataclasses.replace(recipe, mask_weight=weight)
            _step(network, optimiser, train, np.sort(index_B), int(rng.integers(_VIEWS)), now)
    return _measure(network, features["val"]), _measure(network, features["test"])


def _share(schedule: Schedule, done: float) -> float:
    """The share of the mask loss's weight that counts when so much of the training is done."""
    return {"constant": 1.0, "falling": 1 - done, "rising": done}[schedule]


def _network(trial: FrozenTrial, channels: int) -> LGANet:
    """LGANet over what was kept: its backbone is the trained last stage, or nothing."""
    torch.manual_seed(trial.seed)
    config = trial.config
    cut = trial.cut
    last = LastStage(channels, cut.last_channels, cut.last_stride) if cut.last_channels else nn.Identity()
    seen = cut.last_channels or channels
    kernels = config.action_channels if config.variant == "lga" else None
    action = ActionBranch(seen, kernels, len(config.classes))
    localisation = None
    if config.has_heatmap:
        source = config.action_channels if config.localisation_source == "action" else seen
        localisation = LocalisationBranch(source, config.localisation_channels, config.localisation_activation)
    network = LGANet(config, last, action, localisation)  # type: ignore[arg-type]
    return network.to(memory_format=torch.channels_last)


def _step(
    network: LGANet,
    optimiser: torch.optim.Optimizer,
    train: Features,
    index_B: NDArray[np.int64],
    view: int,
    recipe: Recipe,
) -> None:
    said = network.recognise(network.backbone(_batch(train, index_B, view)))
    mask_BHW = torch.from_numpy(train.mask_VNHW[view, index_B])
    has_boxes_B = torch.ones(len(index_B), dtype=torch.bool)
    terms = lga_loss(said, torch.from_numpy(train.action_N[index_B]), mask_BHW, has_boxes_B, recipe)
    optimiser.zero_grad()
    terms.total.backward()  # type: ignore[no-untyped-call]
    if recipe.clip_norm is not None:
        nn.utils.clip_grad_norm_(network.parameters(), recipe.clip_norm)
    optimiser.step()


def _batch(features: Features, index_B: NDArray[np.int64], view: int) -> Tensor:
    return torch.from_numpy(features.features_VNHWK[view, index_B].astype(np.float32)).permute(0, 3, 1, 2)


@torch.inference_mode()
def _measure(network: LGANet, split: Features) -> Outputs:
    network.eval()
    parts = []
    for index_B in np.array_split(np.arange(len(split.action_N)), max(1, len(split.action_N) // 64)):
        said = network.recognise(network.backbone(_batch(split, index_B, 0)))
        pam_BHW = predicting_activation_map(said.cam_BAHW, said.logits_BA.argmax(dim=1))
        heatmap_BHW = torch.zeros(len(index_B), 0, 0) if said.heatmap_BHW is None else said.heatmap_BHW
        parts.append([each.numpy() for each in (said.logits_BA, pam_BHW, heatmap_BHW)])
    logits_NA, pam_NHW, heatmap_NHW = (np.concatenate(each) for each in zip(*parts, strict=True))
    return Outputs(
        logits_NA=logits_NA, action_N=split.action_N, pam_NHW=pam_NHW, heatmap_NHW=heatmap_NHW,
        mask_NHW=split.mask_VNHW[0], has_boxes_N=np.ones(len(split.action_N), np.bool_),
        index_N=np.arange(len(split.action_N)),
    )  # fmt: skip
