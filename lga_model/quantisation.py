"""Which layers eight bits would hurt most: each is rounded alone, and the outputs say how much that costs.

Shape suffixes: B = images, H W = pixels, C = RGB, O = kernels.
"""

from __future__ import annotations

from collections.abc import Callable
from contextlib import contextmanager
from typing import TYPE_CHECKING, Literal

import torch
from torch import Tensor, nn

if TYPE_CHECKING:
    from collections.abc import Iterator

Rounding = Callable[[Tensor, Tensor, Tensor], Tensor]
"""Rounds values to a format that is scaled to their range: ``(values, lowest, highest)``."""

_INT8_STEPS = 255
_FP8_LARGEST = 448
_TINY = torch.finfo(torch.float32).tiny


def to_int8(values: Tensor, lowest: Tensor, highest: Tensor) -> Tensor:
    """255 steps from the lowest to the highest, 0 being one of them; 254 where both are as far from it."""
    lowest, highest = lowest.clamp(max=0), highest.clamp(min=0)
    steps = torch.where(lowest == -highest, _INT8_STEPS - 1, _INT8_STEPS)
    step = ((highest - lowest) / steps).clamp(min=_TINY)
    return (values / step).round().clamp((lowest / step).round(), (highest / step).round()) * step


def to_fp8(values: Tensor, lowest: Tensor, highest: Tensor) -> Tensor:
    """E4M3: four bits of exponent and three of mantissa, scaled so that the largest value just fits."""
    scale = (torch.maximum(-lowest, highest) / _FP8_LARGEST).clamp(min=_TINY)
    return (values / scale).clamp(-_FP8_LARGEST, _FP8_LARGEST).to(torch.float8_e4m3fn).float() * scale


ROUNDINGS: dict[Literal["int8", "fp8"], Rounding] = {"int8": to_int8, "fp8": to_fp8}


def sensitive_layers(graph: nn.Module, images_BHWC: Tensor, precision: Literal["int8", "fp8"] = "int8") -> list[str]:
    """Rank the convolutions of a network, the most sensitive first.

    Args:
        graph: An ``InferenceGraph``; its layers are those below ``network``.
        images_BHWC: A few real photographs, uint8.
        precision: What to round to.

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
                with _rounded(layer, ROUNDINGS[precision]):
                    errors[name] = sum(map(_relative_error, graph(images_BHWC), exact))
    return sorted(errors, key=lambda name: -errors[name])


def rounded_weights(layer: nn.Conv2d, rounding: Rounding) -> Tensor:
    """The weights of a layer, each kernel rounded in a range of its own."""
    exact_O = layer.weight.data
    largest_O = exact_O.abs().amax(dim=(1, 2, 3), keepdim=True)
    return rounding(exact_O, -largest_O, largest_O)


def _relative_error(rounded: Tensor, exact: Tensor) -> float:
    return float((rounded - exact).norm() / exact.norm().clamp(min=_TINY))


@contextmanager
def _rounded(layer: nn.Conv2d, rounding: Rounding) -> Iterator[None]:
    """Compute one layer as eight bits would, for the time of a ``with`` block."""
    exact_O = layer.weight.data
    hook = layer.register_forward_pre_hook(lambda _, inputs: rounding(inputs[0], inputs[0].amin(), inputs[0].amax()))
    layer.weight.data = rounded_weights(layer, rounding)
    try:
        yield
    finally:
        layer.weight.data = exact_O
        hook.remove()
