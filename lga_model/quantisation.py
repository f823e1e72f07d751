"""Which layers int8 would hurt most: each is rounded to eight bits alone, and the outputs say how much that costs.

Shape suffixes: B = images, H W = pixels, C = RGB, O = kernels.
"""

from __future__ import annotations

from contextlib import contextmanager
from typing import TYPE_CHECKING

import torch
from torch import Tensor, nn

if TYPE_CHECKING:
    from collections.abc import Iterator

_LEVELS = 255
_LARGEST = 127


def sensitive_layers(graph: nn.Module, images_BHWC: Tensor) -> list[str]:
    """Rank the convolutions of a network, the most sensitive first.

    Args:
        graph: An ``InferenceGraph``; its layers are those below ``network``.
        images_BHWC: A few real photographs, uint8.

    Returns:
        The layers' names below ``network``, by falling error: the sum over the outputs of ||rounded - exact|| /
        ||exact||, when the layer's inputs (one range for all, as measured) and weights (one range for each kernel) are
        rounded.
    """
    network: nn.Module = graph.network  # type: ignore[assignment]
    with torch.no_grad():
        exact = graph(images_BHWC)
        errors = {}
        for name, layer in network.named_modules():
            if isinstance(layer, nn.Conv2d):
                with _rounded_to_int8(layer):
                    errors[name] = sum(map(_relative_error, graph(images_BHWC), exact))
    return sorted(errors, key=lambda name: -errors[name])


def _relative_error(rounded: Tensor, exact: Tensor) -> float:
    return float((rounded - exact).norm() / exact.norm().clamp(min=torch.finfo(torch.float32).tiny))


@contextmanager
def _rounded_to_int8(layer: nn.Conv2d) -> Iterator[None]:
    """Compute one layer as eight bits would, for the time of a ``with`` block."""
    exact_O = layer.weight.data
    step_O = exact_O.abs().amax(dim=(1, 2, 3), keepdim=True).clamp(min=torch.finfo(torch.float32).tiny) / _LARGEST
    hook = layer.register_forward_pre_hook(lambda _, inputs: (_rounded_activations(inputs[0]),))
    layer.weight.data = (exact_O / step_O).round() * step_O
    try:
        yield
    finally:
        layer.weight.data = exact_O
        hook.remove()


def _rounded_activations(values: Tensor) -> Tensor:
    lowest, highest = values.amin().clamp(max=0), values.amax().clamp(min=0)
    step = ((highest - lowest) / _LEVELS).clamp(min=torch.finfo(torch.float32).tiny)
    return (values / step).round() * step
