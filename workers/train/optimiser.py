"""Which weights learn how fast, and when: parameter groups and the schedule of the learning rate."""

from __future__ import annotations

import math
from collections.abc import Iterable
from typing import Any, NamedTuple

import torch
from torch import nn
from torch.optim import Optimizer

from lga_model.config import Recipe
from lga_model.network import LGANet

BETA1, BETA1_AT_PEAK = 0.95, 0.85
"""Momentum of one cycle: low while the learning rate is high (Smith 2018, arXiv:1803.09820)."""


class Pace(NamedTuple):
    """How fast to learn in one step."""

    learning_rate: float
    """Factor of each group's highest learning rate, in [0, 1]."""
    beta1: float | None
    """Momentum of Adam, or None to leave it as it is."""


def build_optimiser(network: LGANet, recipe: Recipe) -> Optimizer:
    """Adam or AdamW; norms and biases are never decayed.

    The backbone has its own learning rate, ``layer_decay`` times less in each layer on the way to the image. Each group
    carries ``peak_lr``: the learning rate that the schedule scales. The head's groups are the last.
    """
    layers = network.backbone.layers() if recipe.layer_decay < 1 else [list(network.backbone_parameters())]
    groups = [
        group
        for depth, parameters in enumerate(reversed(layers))
        for group in _groups(parameters, recipe.backbone_learning_rate * recipe.layer_decay**depth, recipe.weight_decay)
    ]
    groups += _groups(network.head_parameters(), recipe.head_learning_rate, recipe.weight_decay)
    kind = torch.optim.AdamW if recipe.optimiser == "adamw" else torch.optim.Adam
    return kind(groups, fused=True)


def _groups(parameters: Iterable[nn.Parameter], peak_lr: float, weight_decay: float) -> list[dict[str, Any]]:
    """Split parameters into those that are decayed (matrices and kernels) and those that are not (vectors)."""
    kernels: list[nn.Parameter] = []
    vectors: list[nn.Parameter] = []
    for parameter in parameters:
        (kernels if parameter.ndim > 1 else vectors).append(parameter)
    pairs = ((kernels, weight_decay), (vectors, 0.0))
    return [
        {"params": members, "lr": peak_lr, "peak_lr": peak_lr, "weight_decay": decay}
        for members, decay in pairs
        if members
    ]


def pace(step: int, total_steps: int, recipe: Recipe) -> Pace:
    """The pace of one step: a pure function, so that a run that continues needs no memory of its schedule.

    ``constant`` and ``cosine`` rise in a straight line for ``warmup_share`` of the steps; then the one stays and the
    other falls to 0 along half a cosine. ``one_cycle`` rises along half a cosine, falls along another, and moves the
    momentum the other way.

    Args:
        step: Number of the step, from 0 over all epochs.
        total_steps: Steps of the whole training.
        recipe: Gives schedule and warm-up.
    """
    warmup_steps = recipe.warmup_share * total_steps
    rising = step + 1 < warmup_steps
    # The first step must move something, and the last one too: hence the half steps.
    rise = (step + 0.5) / max(warmup_steps, 1e-9)
    fall = (step + 0.5 - warmup_steps) / max(total_steps - warmup_steps, 1e-9)
    if recipe.schedule == "one_cycle":
        height = 1 - _half_cosine(rise) if rising else _half_cosine(fall)
        return Pace(height, BETA1 + (BETA1_AT_PEAK - BETA1) * height)
    if rising:
        return Pace(rise, None)
    return Pace(1.0 if recipe.schedule == "constant" else _half_cosine(fall), None)


def set_pace(optimiser: Optimizer, now: Pace) -> None:
    """Give every group its learning rate and momentum for the next step."""
    for group in optimiser.param_groups:
        group["lr"] = group["peak_lr"] * now.learning_rate
        if now.beta1 is not None:
            group["betas"] = (now.beta1, group["betas"][1])


def _half_cosine(share: float) -> float:
    """Fall from 1 to 0 while ``share`` goes from 0 to 1."""
    return 0.5 * (1 + math.cos(math.pi * min(max(share, 0.0), 1.0)))
