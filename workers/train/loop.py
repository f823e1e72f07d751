"""One training in progress: the weights, their moving average, the optimiser, and how a step changes them.

Knows no Ray: the worker hands in a network that may be wrapped for distributed training.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Literal, NamedTuple, cast

import torch
from torch import Tensor, nn
from torch.optim.swa_utils import AveragedModel, get_ema_multi_avg_fn

from lga_model.config import Precision, Recipe
from lga_model.losses import lga_loss
from lga_model.network import LGANet, Prediction
from workers.errors import SettingsError
from workers.train.data import Batch
from workers.train.optimiser import build_optimiser, pace, set_pace

_SHOWN_IMAGES = 8

_Tensors = tuple[Tensor, ...] | list[Tensor]

Arithmetic = Literal["fp32", "bf16", "fp16"]


class StepLosses(NamedTuple):
    """The loss of one step on one worker."""

    total: float
    classification: float
    mask: float


class Training:
    """Everything that changes while a model learns.

    Attributes:
        network: The weights that are learned.
        precision: The arithmetic, after ``auto`` was decided for the device.
        average: Their moving average, or None when the recipe has none.
        optimiser: Adam's memory.
        scaler: Loss scale of fp16; does nothing for other precisions.
        epoch: Finished epochs.
    """

    def __init__(self, network: LGANet, recipe: Recipe, steps_per_epoch: int, device: torch.device) -> None:
        """Take over ``network``, which is moved to ``device``."""
        self.recipe, self.device = recipe, device
        self.precision = arithmetic(recipe.precision, device)
        memory = torch.channels_last if recipe.channels_last else torch.contiguous_format
        self.network = network.to(device, memory_format=memory)  # type: ignore[call-overload]
        self.forward: nn.Module = self.network
        """What computes a prediction: the network, or its distributed wrapper."""
        self.optimiser = build_optimiser(self.network, recipe)
        self.scaler = torch.amp.GradScaler(device.type, enabled=self.precision == "fp16")
        self.average: AveragedModel | None = None
        if recipe.ema_decay is not None:
            self.average = AveragedModel(self.network, multi_avg_fn=_moving_average(recipe.ema_decay), use_buffers=True)
        self.epoch = 0
        self.steps_per_epoch = steps_per_epoch

    @property
    def published(self) -> LGANet:
        """The network that is validated and published."""
        return self.network if self.average is None else cast("LGANet", self.average.module)

    def begin_epoch(self, seed: int, rank: int) -> None:
        """Make ready for the next epoch. Its randomness follows from its number, so a resumed run draws the same."""
        torch.manual_seed(hash((seed, self.epoch, rank)) & 0x7FFF_FFFF)
        self.forward.train()

    def step(self, batch: Batch, step: int) -> StepLosses:
        """Learn from one batch.

        Args:
            batch: On the training's device.
            step: Number of the step in this epoch.

        Raises:
            SettingsError: If the loss is not finite; the weights are still those of the step before.
        """
        now = pace(self.epoch * self.steps_per_epoch + step, self.recipe.epochs * self.steps_per_epoch, self.recipe)
        set_pace(self.optimiser, now)
        with autocast(self.device, self.precision):
            prediction: Prediction = self.forward(batch.image_BHWC)
        terms = lga_loss(prediction, batch.action_B, batch.mask_BHW, batch.has_boxes_B, self.recipe)
        losses = StepLosses(*(term.item() for term in terms))
        if not math.isfinite(losses.total):
            raise SettingsError(_diverged(losses, batch, self.epoch, step))
        self.optimiser.zero_grad()
        self.scaler.scale(terms.total).backward()  # type: ignore[no-untyped-call]
        if self.recipe.clip_norm is not None:
            self.scaler.unscale_(self.optimiser)
            nn.utils.clip_grad_norm_(self.network.parameters(), self.recipe.clip_norm)
        self.scaler.step(self.optimiser)
        self.scaler.update()
        if self.average is not None:
            self.average.update_parameters(self.network)
        return losses

    def learning_rate(self) -> float:
        """The head's learning rate of the last step."""
        return float(self.optimiser.param_groups[-1]["lr"])


def _moving_average(decay: float) -> Callable[[_Tensors, _Tensors, Tensor | int], None]:
    """An exponential average whose memory grows with the training: after n steps min(decay, (1 + n) / (10 + n))."""

    def update(averages: _Tensors, weights: _Tensors, steps: Tensor | int) -> None:
        done = int(steps)
        get_ema_multi_avg_fn(min(decay, (1 + done) / (10 + done)))(averages, weights, steps)  # type: ignore[no-untyped-call]

    return update


def arithmetic(precision: Precision, device: torch.device) -> Arithmetic:
    """Decide ``auto``: bf16 on a device that computes in it. One that emulates it is several times slower than fp32."""
    if precision != "auto":
        return precision
    if device.type == "cuda":
        return "bf16" if torch.cuda.is_bf16_supported(including_emulation=False) else "fp32"
    has_bf16 = bool(torch.cpu.get_capabilities().get("avx512_bf16", False))
    return "bf16" if has_bf16 else "fp32"


def autocast(device: torch.device, precision: Arithmetic) -> torch.autocast:
    """Arithmetic of a forward pass; the weights stay fp32."""
    dtype = {"fp32": torch.float32, "bf16": torch.bfloat16, "fp16": torch.float16}[precision]
    return torch.autocast(device.type, dtype=dtype, enabled=precision != "fp32")


def _diverged(losses: StepLosses, batch: Batch, epoch: int, step: int) -> str:
    images = ", ".join(batch.uris[:_SHOWN_IMAGES]) + (" ..." if len(batch.uris) > _SHOWN_IMAGES else "")
    return (
        f"the loss is not finite (classification {losses.classification}, mask {losses.mask}) in epoch {epoch + 1}, "
        f"step {step + 1}. The weights were not changed by it. Its images: {images}. "
        "Lower the learning rates, or choose --precision fp32"
    )
