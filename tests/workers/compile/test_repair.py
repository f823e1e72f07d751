"""What is tried when int8 fails."""

from __future__ import annotations

from itertools import pairwise

import numpy as np
import pytest
from torch import nn

from workers.compile.repair import attempts


@pytest.mark.parametrize("precision", ["int8", "fp8"])
def test_ever_more_layers_are_spared_up_to_half(tiny_ingredients, precision):
    """
    First none, then 1, 2, 4 ... and half of one ranking; never those that are not quantised anyway.
    """
    images = np.random.default_rng(0).integers(0, 256, (2, 64, 64, 3), dtype=np.uint8)
    tried = list(attempts(tiny_ingredients.varied(precision=precision, calibration=lambda: [images])))
    spared = [each.spared for each in tried]

    assert [0, 1, 2, 4] == [len(layers) for layers in spared][:4]
    assert all(shorter == longer[: len(shorter)] for shorter, longer in pairwise(spared))
    assert "localisation.last" not in spared[-1]
    convolutions = [layer for layer in tiny_ingredients.graph.network.modules() if isinstance(layer, nn.Conv2d)]
    assert (len(convolutions) - 1) // 2 == len(spared[-1])


def test_other_precisions_have_one_try(tiny_ingredients):
    """
    There is nothing to spare in fp32.
    """
    assert [()] == [each.spared for each in attempts(tiny_ingredients)]
