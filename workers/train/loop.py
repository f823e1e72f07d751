"""One training in progress: the weights, their moving average, the optimiser, and how a step changes them.

A step learns from one global batch. It is cut into micro-batches: each is one forward and backward pass, has its own
statistics in every batch norm, and its own random draws. They are shared out over the workers, and their gradients are
averaged: so the outcome depends on the size of a micro-batch, and not on how many workers there are.

Knows no Ray: the worker hands in a network that may be wrapped for distributed training.
"""

from __future__ import annotations

import contextlib
import itertools
import math
from collections.abc import Callable, Sequence
from typing import Literal, NamedTuple, cast

import numpy as np
import torch
from torch import Tensor, distributed, nn
from torch.nn.parallel import DistributedDataParallel
from torch.optim.swa_utils import AveragedModel, get_ema_multi_avg_fn

from lga_model.config import Precision, Recipe
from lga_model.losses import lga_loss
from lga_model.network import LGANet, Prediction
from workers.errors import SettingsError
from workers.train.data import Batch
from workers.train.norms import NormStatistics
from workers.train.optimiser import build_optimiser, pace, set_pace

_SHOWN_IMAGES = 8

_Tensors = tuple[Tensor, ...] | list[Tensor]

Arithmetic = Literal["fp32", "bf16", "fp16"]


class StepLosses(NamedTuple):
    """The loss of one step, the mean over all of its micro-batches."""

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
        position: Finished steps of the epoch after them.
    """

    def __init__(
        self,
        network: LGANet,
        recipe: Recipe,
        steps_per_epoch: int,
        device: torch.device,
        *,
        micro_batch: int | None = None,
        seed: int = 0,
    ) -> None:
        """Take over ``network``, which is moved to ``device``.

        Args:
            network: To be trained.
            recipe: How.
            steps_per_epoch: Whole batches in the training split.
            device: To compute on.
            micro_batch: Images of one forward pass, a divisor of the batch; None is the whole batch.
            seed: Decides what the network draws at random, where it does.
        """
        self.micro_batch, self.seed = micro_batch or recipe.batch_size, seed
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
        self.epoch = self.position = 0
        self.steps_per_epoch = steps_per_epoch
        self._norms = NormStatistics(self.network)

    @property
    def published(self) -> LGANet:
        """The network that is validated and published."""
        return self.network if self.average is None else cast("LGANet", self.average.module)

    @property
    def step_number(self) -> int:
        """Finished steps since the beginning."""
        return self.epoch * self.steps_per_epoch + self.position

    def step(self, batch: Batch, *, rank: int = 0, workers: int = 1) -> StepLosses:
        """Learn from one global batch, of which this is one worker's share.

        Args:
            batch: Whole micro-batches; the first worker's come first.
            rank: Of this worker.
            workers: That share the global batch, all of them inside this call.

        Raises:
            SettingsError: If loss or gradient are not finite; the weights are still those of the step before.
        """
        self.forward.train()
        total_steps = self.recipe.epochs * self.steps_per_epoch
        set_pace(self.optimiser, pace(self.step_number, total_steps, self.recipe))
        micro_batches = self.recipe.batch_size // self.micro_batch
        first = shares(micro_batches, workers)[rank].start
        self.optimiser.zero_grad()
        self._norms.begin_step()
        summed = torch.zeros(3, device=self.device)
        parts = batch.split(self.micro_batch)
        for number, part in enumerate(parts):
            self._draw_anew(first + number)
            # The wrapper averages over the workers, each of which has its own number of micro-batches.
            with self._together(last=number == len(parts) - 1):
                summed += self._learn(part.to(self.device), workers / micro_batches)
            self._norms.end_micro_batch()
        self._check_gradient(batch, workers)
        everywhere = _summed(torch.cat([summed, self._norms.moved().to(self.device)]), workers)
        self._norms.end_step(everywhere[3:], micro_batches)
        self.scaler.step(self.optimiser)
        self.scaler.update()
        if self.average is not None:
            self.average.update_parameters(self.network)
        self.position += 1
        return StepLosses(*(everywhere[:3] / micro_batches).tolist())

    def _learn(self, batch: Batch, weight: float) -> torch.Tensor:
        """Forward and backward over one micro-batch; its three losses."""
        with autocast(self.device, self.precision):
            prediction: Prediction = self.forward(batch.image_BHWC)
        terms = lga_loss(prediction, batch.action_B, batch.mask_BHW, batch.has_boxes_B, self.recipe)
        losses = torch.stack([term.detach().float() for term in terms])
        if not losses.isfinite().all():
            _, classification, mask = losses.tolist()
            raise SettingsError(self._diverged(f"the loss (classification {classification}, mask {mask})", batch.uris))
        self.scaler.scale(terms.total * weight).backward()  # type: ignore[no-untyped-call]
        return losses

    def _check_gradient(self, batch: Batch, workers: int) -> None:
        """Limit the gradient's norm where the recipe says so. It is the same on every worker."""
        self.scaler.unscale_(self.optimiser)
        largest = math.inf if self.recipe.clip_norm is None else self.recipe.clip_norm
        norm = nn.utils.clip_grad_norm_(self.network.parameters(), largest)
        # The scaler of fp16 expects such steps: it leaves them out, and lowers its scale.
        if not self.scaler.is_enabled() and not norm.isfinite():
            raise SettingsError(self._diverged("the gradient", _gathered(batch.uris, workers)))

    def _together(self, *, last: bool) -> contextlib.AbstractContextManager[None]:
        """Gradients go to the other workers once, with the last micro-batch."""
        if last or not isinstance(self.forward, DistributedDataParallel):
            return contextlib.nullcontext()
        together: contextlib.AbstractContextManager[None] = self.forward.no_sync()
        return together

    def _draw_anew(self, micro_batch: int) -> None:
        """What is drawn at random follows from the micro-batch's number: whoever computes it draws the same."""
        sequence = np.random.SeedSequence((self.seed, self.step_number, micro_batch))
        torch.manual_seed(int(sequence.generate_state(1)[0]))

    def _diverged(self, what: str, uris: Sequence[str]) -> str:
        images = ", ".join(uris[:_SHOWN_IMAGES]) + (" ..." if len(uris) > _SHOWN_IMAGES else "")
        return (
            f"{what} is not finite in epoch {self.epoch + 1}, step {self.position + 1}. The weights were not changed "
            f"by it. Its images: {images}. Lower the learning rates, or choose --precision fp32"
        )

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


def shares(micro_batches: int, workers: int) -> list[range]:
    """The micro-batches of each worker: as equal as can be, in their order."""
    ends = [micro_batches * rank // workers for rank in range(workers + 1)]
    return [range(start, end) for start, end in itertools.pairwise(ends)]


def _gathered(uris: tuple[str, ...], workers: int) -> list[str]:
    """The images of all workers' shares."""
    parts: list[tuple[str, ...]] = [uris] * workers
    if workers > 1:
        distributed.all_gather_object(parts, uris)
    return [uri for part in parts for uri in part]


def _summed(values: torch.Tensor, workers: int) -> torch.Tensor:
    if workers > 1:
        distributed.all_reduce(values)
    return values
