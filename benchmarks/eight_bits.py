"""What eight bits cost in accuracy: whole numbers (int8) beside floating point (fp8, E4M3), without any GPU.

    python benchmarks/eight_bits.py --model BUNDLE --manifest MANIFEST [--images 400] [--output FILE]

A copy of a trained model computes with inputs and weights of its layers rounded to the format: one range for all inputs
of a layer, as calibration photographs have them, and one for each kernel's weights. The layers that give the maps stay
exact, as in every engine. Each copy is then put to the proof that an int8 engine has to pass. It tells which format is
worth an engine before there is a GPU to build one; fp8 engines themselves take one range for all kernels and do worse.
"""

from __future__ import annotations

import argparse
import copy
import json
from collections.abc import Callable, Collection, Iterable
from pathlib import Path
from types import SimpleNamespace
from typing import Any, Literal

import numpy as np
import torch
from numpy.typing import NDArray
from rich.console import Console
from rich.table import Table
from torch import Tensor, nn

from lga_model.export import InferenceGraph, unquantised_layers
from workers.compile.build import load_source
from workers.compile.parity import Limits, measure_parity, violations
from workers.compile.photographs import spread
from workers.engines import EngineOutput
from workers.engines.torch import run_graph
from workers.manifest import load_manifest, read_batches
from workers.registry import Version
from workers.settings import CompileSettings

CALIBRATION_IMAGES, BATCH = 128, 16
FP8_LARGEST, INT8_STEPS = 448, 255
COLUMNS = "rounded", "layers", "top-1 agreement", "probability", "heatmap", "mAP", "against int8's limits"

Round = Callable[[Tensor, Tensor, Tensor], Tensor]
"""Rounds values of a range that is given by its lowest and its highest."""


def to_int8(values: Tensor, lowest: Tensor, highest: Tensor) -> Tensor:
    """255 steps from the lowest to the highest, 0 being one of them."""
    lowest, highest = lowest.clamp(max=0), highest.clamp(min=0)
    step = ((highest - lowest) / INT8_STEPS).clamp(min=torch.finfo(torch.float32).tiny)
    return ((values / step).round().clamp((lowest / step).round(), (highest / step).round())) * step


def to_fp8(values: Tensor, lowest: Tensor, highest: Tensor) -> Tensor:
    """Three bits of mantissa and four of exponent, scaled so that the largest value just fits."""
    scale = (torch.maximum(-lowest, highest) / FP8_LARGEST).clamp(min=torch.finfo(torch.float32).tiny)
    return (values / scale).clamp(-FP8_LARGEST, FP8_LARGEST).to(torch.float8_e4m3fn).float() * scale


def convolutions(graph: InferenceGraph) -> dict[str, nn.Conv2d]:
    """Those that an engine quantises, by name."""
    found = {name: layer for name, layer in graph.network.named_modules() if isinstance(layer, nn.Conv2d)}
    return {name: layer for name, layer in found.items() if name not in unquantised_layers(found)}


def input_ranges(graph: InferenceGraph, batches: Iterable[NDArray[np.uint8]]) -> dict[str, tuple[Tensor, Tensor]]:
    """Lowest and highest input of each layer."""
    found: dict[str, tuple[Tensor, Tensor]] = {}

    def watch(name: str) -> Callable[[nn.Module, tuple[Tensor, ...]], None]:
        def see(_: nn.Module, inputs: tuple[Tensor, ...]) -> None:
            lowest, highest = inputs[0].amin(), inputs[0].amax()
            before = found.get(name, (lowest, highest))
            found[name] = torch.minimum(before[0], lowest), torch.maximum(before[1], highest)

        return see

    hooks = [layer.register_forward_pre_hook(watch(name)) for name, layer in convolutions(graph).items()]
    for images_BHWC in batches:
        run_graph(graph, images_BHWC)
    for hook in hooks:
        hook.remove()
    return found


class Rounded:
    """A copy of a model in which some layers compute with rounded numbers; to the proof it looks like an engine."""

    device: Literal["cpu", "cuda"] = "cpu"

    def __init__(
        self,
        graph: InferenceGraph,
        layers: Collection[str],
        ranges: dict[str, tuple[Tensor, Tensor]],
        rounded: Round,
    ) -> None:
        self.record: Any = SimpleNamespace(folder="a rounded copy", has_heatmap=graph.network.config.has_heatmap)
        self._graph = copy.deepcopy(graph)
        for name, layer in convolutions(self._graph).items():
            if name in layers:
                weight = layer.weight.data
                largest = weight.abs().amax(dim=(1, 2, 3), keepdim=True)
                layer.weight.data = rounded(weight, -largest, largest)
                layer.register_forward_pre_hook(_rounding(rounded, ranges[name]))

    def infer(self, images_BHWC: NDArray[np.uint8]) -> EngineOutput:
        """Score a batch."""
        return run_graph(self._graph, images_BHWC)

    def close(self) -> None:
        """Nothing is held."""


def _rounding(rounded: Round, limits: tuple[Tensor, Tensor]) -> Callable[[nn.Module, tuple[Tensor, ...]], Tensor]:
    return lambda _, inputs: rounded(inputs[0], *limits)


def by_cost(
    graph: InferenceGraph, ranges: dict[str, tuple[Tensor, Tensor]], rounded: Round, images_BHWC: NDArray[np.uint8]
) -> list[str]:
    """The layers, those first whose rounding alone moves the probabilities furthest."""
    exact = run_graph(graph, images_BHWC).probabilities_BA
    cost = {}
    for name in convolutions(graph):
        said = Rounded(graph, [name], ranges, rounded).infer(images_BHWC).probabilities_BA
        cost[name] = float(np.linalg.norm(said - exact))
    return sorted(cost, key=lambda name: -cost[name])


def main() -> None:
    """Measure, print a table, write the figures."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", type=Path, required=True, help="bundle of a trained model")
    parser.add_argument("--manifest", required=True)
    parser.add_argument("--images", type=int, default=400)
    parser.add_argument("--output", type=Path, help="JSON file for the figures")
    arguments = parser.parse_args()

    figures = measure(arguments.model, arguments.manifest, arguments.images)
    Console(width=150).print(shown(figures, f"{arguments.model}, {arguments.images} validation photographs"))
    if arguments.output is not None:
        arguments.output.write_text(json.dumps(figures, indent=2) + "\n")


def measure(bundle: Path, manifest_uri: str, images: int) -> dict[str, Any]:
    """The proof of each rounded copy, by name."""
    source = load_source(Version(name="benchmark", number=0, uri=str(bundle)), bundle)
    graph, size_px = source.graph, source.record.config.image.size_px
    manifest = load_manifest(manifest_uri)
    calibration = [
        pixels for _, pixels in read_batches(spread(manifest.split("train"), CALIBRATION_IMAGES), size_px, BATCH)
    ]
    ranges = input_ranges(graph, calibration)
    layers = convolutions(graph)
    whole = [name for name, layer in layers.items() if layer.groups == 1]
    cheapest = by_cost(graph, ranges, to_fp8, calibration[0])[len(layers) // 2 :]
    variants: dict[str, tuple[Collection[str], Round]] = {
        "int8": (layers, to_int8),
        "fp8": (layers, to_fp8),
        "fp8, depthwise exact": (whole, to_fp8),
        "fp8, the worse half exact": (cheapest, to_fp8),
    }
    limits = Limits.of(CompileSettings(model="benchmark", registry="."), "int8")
    figures = {}
    for name, (chosen, rounded) in variants.items():
        batches = read_batches(spread(manifest.split("val"), images), size_px, BATCH)
        parity = measure_parity(Rounded(graph, chosen, ranges, rounded), graph, batches)
        figures[name] = {
            "layers": f"{len(chosen)} of {len(layers)}",
            "parity": parity.model_dump(),
            "map_difference": parity.map_difference,
            "violations": violations(parity, limits),
        }
    return figures


def shown(figures: dict[str, Any], title: str) -> Table:
    """The figures as a table."""
    table = Table(*COLUMNS, title=title)
    for name, found in figures.items():
        parity = found["parity"]
        numbers = (
            parity["top1_agreement"],
            parity["max_probability_difference"],
            parity["max_heatmap_difference"],
            found["map_difference"],
        )
        told = ("-" if number is None else f"{number:.4f}" for number in numbers)
        table.add_row(name, found["layers"], *told, "; ".join(found["violations"]) or "holds")
    return table


if __name__ == "__main__":
    main()
