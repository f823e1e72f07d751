"""What eight bits cost in accuracy: whole numbers (int8) beside floating point (fp8, E4M3), without any GPU.

    python benchmarks/eight_bits.py --model BUNDLE --manifest MANIFEST [--modelopt PYTHON]

A copy of a trained model computes with inputs and weights of its layers rounded to the format: one range for all inputs
of a layer, as calibration photographs have them, and one for each kernel's weights. The layers that give the maps stay
exact, as in every engine. Each copy is then put to the proof that an int8 engine has to pass. It tells which format is
worth an engine before there is a GPU to build one.

Then onnxruntime computes the graphs that TensorRT would build from, as they stand: its own quantiser's, and those
of NVIDIA's modelopt (``--modelopt`` names an interpreter that has it).
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
import onnxruntime
import torch
from numpy.typing import NDArray
from rich.console import Console
from rich.table import Table
from torch import Tensor, nn

from lga_model.export import INPUT, InferenceGraph, unquantised_layers
from lga_model.quantisation import Rounding, rounded_weights, sensitive_layers, to_fp8, to_int8
from workers.compile.build import load_source
from workers.compile.parity import Limits, measure_parity, violations
from workers.compile.photographs import spread
from workers.engines import Engine, EngineOutput, int8, modelopt
from workers.engines.ingredients import GpuBuild
from workers.engines.signature import as_output
from workers.engines.torch import run_graph
from workers.manifest import load_manifest, read_batches
from workers.registry import Version
from workers.settings import CompileSettings

CALIBRATION_IMAGES, BATCH = 128, 16
COLUMNS = "rounded", "layers", "top-1 agreement", "probability", "heatmap", "mAP", "against int8's limits"


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


class QuantisedGraph:
    """An ONNX file with quantised layers, computed pair by pair on the CPU; to the proof it looks like an engine."""

    device: Literal["cpu", "cuda"] = "cpu"

    def __init__(self, graph: InferenceGraph, onnx: bytes) -> None:
        self.record: Any = SimpleNamespace(folder="a quantised graph", has_heatmap=graph.network.config.has_heatmap)
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = torch.get_num_threads()
        # Its optimiser knows no fp8, and would make whole numbers of int8.
        options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_DISABLE_ALL
        self._session = onnxruntime.InferenceSession(onnx, options, providers=["CPUExecutionProvider"])
        self._names = [output.name for output in self._session.get_outputs()]

    def infer(self, images_BHWC: NDArray[np.uint8]) -> EngineOutput:
        """Score a batch."""
        return as_output(dict(zip(self._names, self._session.run(None, {INPUT: images_BHWC}), strict=True)))

    def close(self) -> None:
        """The session goes with the object."""


class Rounded:
    """A copy of a model in which some layers compute with rounded numbers; to the proof it looks like an engine."""

    device: Literal["cpu", "cuda"] = "cpu"

    def __init__(
        self,
        graph: InferenceGraph,
        layers: Collection[str],
        ranges: dict[str, tuple[Tensor, Tensor]],
        rounded: Rounding,
    ) -> None:
        self.record: Any = SimpleNamespace(folder="a rounded copy", has_heatmap=graph.network.config.has_heatmap)
        self._graph = copy.deepcopy(graph)
        for name, layer in convolutions(self._graph).items():
            if name in layers:
                layer.weight.data = rounded_weights(layer, rounded)
                layer.register_forward_pre_hook(_rounding(rounded, ranges[name]))

    def infer(self, images_BHWC: NDArray[np.uint8]) -> EngineOutput:
        """Score a batch."""
        return run_graph(self._graph, images_BHWC)

    def close(self) -> None:
        """Nothing is held."""


def _rounding(rounded: Rounding, limits: tuple[Tensor, Tensor]) -> Callable[[nn.Module, tuple[Tensor, ...]], Tensor]:
    return lambda _, inputs: rounded(inputs[0], *limits)


def main() -> None:
    """Measure, print a table, write the figures."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", type=Path, required=True, help="bundle of a trained model")
    parser.add_argument("--manifest", required=True)
    parser.add_argument("--images", type=int, default=400)
    parser.add_argument("--output", type=Path, help="JSON file for the figures")
    parser.add_argument("--modelopt", help="Python interpreter of an environment with nvidia-modelopt[onnx]")
    arguments = parser.parse_args()

    figures = measure(arguments.model, arguments.manifest, arguments.images, arguments.modelopt)
    Console(width=150).print(shown(figures, f"{arguments.model}, {arguments.images} validation photographs"))
    if arguments.output is not None:
        arguments.output.write_text(json.dumps(figures, indent=2) + "\n")


def measure(bundle: Path, manifest_uri: str, images: int, python: str | None) -> dict[str, Any]:
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
    ranked = [name for name in sensitive_layers(graph, torch.tensor(calibration[0]), "fp8") if name in layers]
    variants: dict[str, tuple[Collection[str], Rounding]] = {
        "int8": (layers, to_int8),
        "fp8": (layers, to_fp8),
        "fp8, depthwise exact": (whole, to_fp8),
        "fp8, the worse half exact": (ranked[len(ranked) // 2 :], to_fp8),
    }
    limits = Limits.of(CompileSettings(model="benchmark", registry="."), "int8")

    def proof(engine: Engine) -> dict[str, Any]:
        parity = measure_parity(engine, graph, read_batches(spread(manifest.split("val"), images), size_px, BATCH))
        return {
            "parity": parity.model_dump(),
            "map_difference": parity.map_difference,
            "violations": violations(parity, limits),
        }

    figures = {
        name: {"layers": f"{len(chosen)} of {len(layers)}", **proof(Rounded(graph, chosen, ranges, rounded))}
        for name, (chosen, rounded) in variants.items()
    }
    ingredients = source.ingredients("int8", lambda: calibration, GpuBuild(modelopt=python))
    graphs = {"int8, the graph for TensorRT": int8.quantised(ingredients, symmetric=True)}
    if python is not None:
        graphs["int8, modelopt's graph"] = modelopt.quantised(ingredients)
        graphs["fp8, modelopt's graph"] = modelopt.quantised(ingredients.varied(precision="fp8"))
    for name, onnx in graphs.items():
        figures[name] = {"layers": f"{len(layers)} of {len(layers)}", **proof(QuantisedGraph(graph, onnx))}
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
