"""The ranking of layers agrees with what rounding does to their weights."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from lga_model.quantisation import sensitive_layers, to_fp8, to_int8


class Graph(nn.Module):
    """Two 1x1 convolutions: the first is exact in eight bits, the second has a weight that eight bits lose."""

    def __init__(self):
        super().__init__()
        exact, lossy = nn.Conv2d(3, 2, 1, bias=False), nn.Conv2d(2, 1, 1, bias=False)
        exact.weight.data = torch.tensor([[127.0, 0, 0], [0, 127.0, 0]])[..., None, None]
        lossy.weight.data = torch.tensor([[127.0, 0.45]])[..., None, None]
        self.network = nn.Sequential(exact, lossy)

    def forward(self, images_BHWC):
        return (self.network(images_BHWC.float().permute(0, 3, 1, 2)),)


@pytest.mark.parametrize(
    ("rounding", "rounded"),
    [
        (to_int8, [-128.0, 0.0, 1.0, 17.0, 127.0]),
        (to_fp8, [value * 128 / 448 for value in (-448, 0.9375, 2.25, 60, 448)]),
    ],
    ids=["int8", "fp8"],
)
def test_values_go_to_the_nearest_that_the_format_has(rounding, rounded):
    """
    A range of 255 has whole steps in int8. In fp8 it is scaled by 128 / 448; three bits of mantissa are coarse for
    large values and fine for small ones.
    """
    values = torch.tensor([-128.0, 0.26, 0.62, 17.0, 127.0])
    found = rounding(values, values.min(), values.max())

    assert rounded == pytest.approx(found.tolist())
    assert torch.equal(found, rounding(found, values.min(), values.max()))


def test_the_layer_that_loses_a_weight_comes_first():
    """
    0.45 beside 127 is rounded to nothing; a layer of whole steps loses nothing. The weights are as before afterwards.
    """
    graph = Graph()
    images = torch.randint(0, 256, (2, 4, 4, 3), dtype=torch.uint8, generator=torch.Generator().manual_seed(0))
    images[0, 0, 0] = 255
    before = graph.network[1].weight.clone()

    assert ["1", "0"] == sensitive_layers(graph, images)
    assert torch.equal(before, graph.network[1].weight)
    assert not graph.network[0]._forward_pre_hooks
