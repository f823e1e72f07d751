"""Running statistics of batch norms that do not depend on how a batch is shared out."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm


class NormStatistics:
    """Makes the running statistics of one step the mean over its micro-batches, in whatever order they are seen.

    By itself a batch norm would take them one after the other, the last the heaviest, and each worker only its own.
    """

    def __init__(self, network: nn.Module) -> None:
        self._buffers: list[Tensor] = [
            buffer
            for module in network.modules()
            if isinstance(module, _BatchNorm) and module.track_running_stats
            for buffer in (module.running_mean, module.running_var)
            if buffer is not None
        ]
        self._start: list[Tensor] = []
        self._moved: list[Tensor] = []

    def begin_step(self) -> None:
        """Remember where the step starts from."""
        self._start = [buffer.clone() for buffer in self._buffers]
        self._moved = [torch.zeros_like(buffer) for buffer in self._buffers]

    def end_micro_batch(self) -> None:
        """Note what a micro-batch moved, and go back to the start for the next."""
        for buffer, start, moved in zip(self._buffers, self._start, self._moved, strict=True):
            moved.add_(buffer - start)
            buffer.copy_(start)

    def moved(self) -> Tensor:
        """What this worker's micro-batches moved, summed: one flat vector, to be added up over the workers."""
        return torch.cat([each.flatten() for each in self._moved]) if self._moved else torch.zeros(0)

    def end_step(self, moved: Tensor, micro_batches: int) -> None:
        """Apply the mean of what all micro-batches of all workers moved."""
        sizes = [buffer.numel() for buffer in self._buffers]
        for buffer, part in zip(self._buffers, torch.split(moved, sizes) if sizes else (), strict=True):
            buffer.add_(part.view_as(buffer) / micro_batches)
