"""Depthwise convolutions with a faster backward pass compute what PyTorch's compute."""

from __future__ import annotations

import copy

import pytest
import torch
from timm.layers import Conv2dSame
from torch import nn

from lga_model.config import ImageConfig, ModelConfig
from lga_model.depthwise import speed_up_depthwise
from lga_model.network import build_network


def gradients(network: nn.Module, x: torch.Tensor) -> list[torch.Tensor]:
    network.zero_grad()
    x = x.clone().requires_grad_()
    out = network(x)
    out.backward(torch.linspace(-1, 1, out.numel()).reshape(out.shape))
    return [out.detach(), x.grad, *(parameter.grad for parameter in network.parameters())]


@pytest.mark.parametrize("kind", [nn.Conv2d, Conv2dSame])
@pytest.mark.parametrize(
    ("kernel", "stride", "dilation", "size"),
    [(5, 1, 1, (9, 12)), (5, 2, 1, (9, 12)), (5, 2, 1, (10, 7)), (3, 1, 2, (9, 7)), (5, 1, 2, (12, 12)),
     (7, 3, 1, (14, 16)), ((3, 5), 1, (2, 1), (9, 9))],
)  # fmt: skip
def test_gradients_are_those_of_pytorch(kind, kernel, stride, dilation, size):
    """
    Output, gradient of the input, of the weight and of the bias, for every way of stepping and padding.
    """
    torch.manual_seed(0)
    padding = 0 if kind is Conv2dSame else 2
    before = nn.Sequential(kind(6, 6, kernel, stride, padding, dilation, groups=6))
    after = copy.deepcopy(before)
    speed_up_depthwise(after)
    x = torch.randn(3, 6, *size)

    assert type(after[0]) is not type(before[0])
    for ours, theirs in zip(gradients(after, x), gradients(before, x), strict=True):
        torch.testing.assert_close(ours, theirs, rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize(
    "conv",
    [nn.Conv2d(6, 6, 3, groups=6), nn.Conv2d(6, 6, 5), nn.Conv2d(6, 12, 5, groups=6), nn.Conv2d(6, 6, 1),
     nn.Conv2d(6, 6, 5, groups=6, padding="same"), nn.Conv2d(6, 6, 5, groups=6, padding=2, padding_mode="reflect")],
)  # fmt: skip
def test_others_are_left_alone(conv):
    """
    What PyTorch computes fast, and what pads in another way.
    """
    speed_up_depthwise(nn.Sequential(conv))

    assert type(conv) is nn.Conv2d


def test_a_network_keeps_its_weights_and_what_it_says():
    """
    The names of the weights are timm's; a copy is a network of its own; in evaluation nothing is changed.
    """
    config = ModelConfig(backbone="tf_efficientnet_lite0", classes=("a", "b"), image=ImageConfig(size_px=64))
    torch.manual_seed(0)
    network = build_network(config)
    names = {name for name, module in network.named_modules() if type(module).__name__ == "_DepthwiseSame"}
    twin = copy.deepcopy(network)
    with torch.no_grad():
        next(twin.parameters()).zero_()

    assert names
    assert not {name for name in network.state_dict() if "Depthwise" in name}
    assert next(network.parameters()).any()
