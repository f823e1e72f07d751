"""Eight bits that fail their proof are repaired: the layers that suffer most go back to fp32, ever twice as many."""

from __future__ import annotations

from collections.abc import Iterator

import torch

from lga_model.export import unquantised_layers
from lga_model.quantisation import sensitive_layers
from workers.engines.ingredients import Ingredients
from workers.logs import get_log


def attempts(ingredients: Ingredients) -> Iterator[Ingredients]:
    """What to build, one after the other until a proof holds: first as asked, then with ever more layers in fp32.

    The layers are ranked when the first attempt has failed, on the first batch of calibration photographs. It ends at
    half of the layers: an engine that is mostly fp32 is better made in fp32.
    """
    yield ingredients
    if ingredients.precision not in ("int8", "fp8"):
        return
    images_BHWC = next(iter(ingredients.calibration()))
    ranked = sensitive_layers(ingredients.graph, torch.tensor(images_BHWC), ingredients.precision)
    layers = [layer for layer in ranked if layer not in unquantised_layers(ranked)]
    half = len(layers) // 2
    counts = [2**power for power in range(half.bit_length()) if 2**power < half]
    for count in [*counts, half] if half else []:
        get_log().info("compile.layers_spared", layers=count, first=layers[:count][-1])
        yield ingredients.varied(spared=tuple(layers[:count]))
