"""Depthwise convolutions whose backward pass is fast on CPUs.

PyTorch computes the weight gradient of a 5x5 depthwise convolution on a CPU ten times slower than the forward pass,
and both gradients of a dilated one; in EfficientNet they take most of a training step. Both are convolutions
themselves: the gradient of the input is one with the mirrored kernel, that of the weight is one of each channel of
each image with its own gradient as the kernel, stride and dilation exchanged.

Shape suffixes: B = images, C = channels, H W = cells, U V = cells of the kernel.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import torch
from timm.layers.conv2d_same import Conv2dSame
from timm.layers.padding import pad_same
from torch import Tensor, nn
from torch.nn import functional
from torch.nn.grad import conv2d_input
from typing_extensions import override

Pair = tuple[int, ...]  # Down and across.

_LARGE = 5  # PyTorch's own gradient of an undilated 3x3 kernel is as fast.


def speed_up_depthwise(network: nn.Module) -> None:
    """Exchange, in place, the backward pass of the convolutions that gain by it; weights and names stay.

    Only training on a CPU in float32 is changed: there the gradients differ from PyTorch's by rounding.
    """
    for module in network.modules():
        if isinstance(module, nn.Conv2d) and (faster := _FASTER.get(type(module))) and _gains(module):
            module.__class__ = faster  # type: ignore[assignment]  # a subclass of the very same layout


class _Steps(NamedTuple):
    stride: Pair
    padding: Pair
    dilation: Pair


def _gains(conv: nn.Conv2d) -> bool:
    depthwise = 1 < conv.groups == conv.in_channels == conv.out_channels
    slow = conv.dilation > (1, 1) or min(conv.kernel_size) >= _LARGE
    return depthwise and slow and not isinstance(conv.padding, str) and conv.padding_mode == "zeros"


class _Depthwise(nn.Conv2d):
    """A depthwise convolution with symmetric padding."""

    @override
    def forward(self, input: Tensor) -> Tensor:  # the name is PyTorch's
        if not _is_our_case(self, input):
            return super().forward(input)
        assert not isinstance(self.padding, str)  # noqa: S101 - see _gains
        return _convolved(self, input, self.padding)


class _DepthwiseSame(Conv2dSame):
    """A depthwise convolution that pads as TensorFlow does, differently on both sides."""

    @override
    def forward(self, x: Tensor) -> Tensor:
        if not _is_our_case(self, x):
            return super().forward(x)  # type: ignore[no-untyped-call,no-any-return]
        padded = pad_same(x, list(self.kernel_size), list(self.stride), list(self.dilation))
        return _convolved(self, padded, (0, 0))


_FASTER: dict[type[nn.Module], type[nn.Module]] = {nn.Conv2d: _Depthwise, Conv2dSame: _DepthwiseSame}


def _is_our_case(conv: nn.Conv2d, x: Tensor) -> bool:
    on_cpu = x.device.type == "cpu" and x.dtype == torch.float32 and not torch.is_autocast_enabled("cpu")
    return conv.training and torch.is_grad_enabled() and on_cpu


def _convolved(conv: nn.Conv2d, x_BCHW: Tensor, padding: Pair) -> Tensor:
    steps = _Steps(conv.stride, padding, conv.dilation)
    out_BCHW: Tensor = _Convolution.apply(x_BCHW, conv.weight, steps)
    return out_BCHW if conv.bias is None else out_BCHW + conv.bias[:, None, None]


class _Convolution(torch.autograd.Function):
    @staticmethod
    @override
    def forward(ctx: Any, x_BCHW: Tensor, weight_C1UV: Tensor, steps: _Steps) -> Tensor:
        ctx.save_for_backward(x_BCHW, weight_C1UV)
        ctx.steps = steps
        return functional.conv2d(x_BCHW, weight_C1UV, None, *steps, groups=x_BCHW.shape[1])

    @staticmethod
    @override
    def backward(ctx: Any, grad_BCHW: Tensor) -> tuple[Tensor | None, Tensor | None, None]:
        x_BCHW, weight_C1UV = ctx.saved_tensors
        wants_x, wants_weight, _ = ctx.needs_input_grad
        return (
            _input_gradient(grad_BCHW, x_BCHW.shape, weight_C1UV, ctx.steps) if wants_x else None,
            _weight_gradient(grad_BCHW, x_BCHW, weight_C1UV.shape, ctx.steps) if wants_weight else None,
            None,
        )


def _input_gradient(grad_BCHW: Tensor, shape: torch.Size, weight_C1UV: Tensor, steps: _Steps) -> Tensor:
    stride, padding, dilation = steps
    kernel = weight_C1UV.shape[2:]
    rest = tuple(apart * (cells - 1) - pad for apart, cells, pad in zip(dilation, kernel, padding, strict=True))
    if tuple(stride) == (1, 1) and min(rest) >= 0:
        return functional.conv2d(grad_BCHW, weight_C1UV.flip(2, 3), None, stride, rest, dilation, groups=shape[1])
    found: Tensor = conv2d_input(shape, weight_C1UV, grad_BCHW, *steps, groups=shape[1])  # type: ignore[no-untyped-call]
    return found


def _weight_gradient(grad_BCHW: Tensor, x_BCHW: Tensor, shape: torch.Size, steps: _Steps) -> Tensor:
    (images, channels), (rows, columns) = x_BCHW.shape[:2], shape[2:]
    inputs = x_BCHW.reshape(1, images * channels, *x_BCHW.shape[2:])
    kernels = grad_BCHW.reshape(images * channels, 1, *grad_BCHW.shape[2:])
    found = functional.conv2d(
        inputs, kernels, None, steps.dilation, steps.padding, steps.stride, groups=images * channels
    )
    # A stride may leave rows and columns at the edge that no output saw; they give cells beyond the kernel.
    return found[0, :, :rows, :columns].reshape(images, channels, 1, rows, columns).sum(dim=0)
