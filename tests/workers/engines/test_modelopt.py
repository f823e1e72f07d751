"""Quantising with NVIDIA's modelopt, which runs as a program of its own environment."""

from __future__ import annotations

import os
import re
from dataclasses import replace

import numpy as np
import onnx
import pytest

from lga_model.export import layer_nodes, unquantised_layers
from workers.engines import EngineError, modelopt
from workers.engines.ingredients import GpuBuild, Ingredients

SPARED = "backbone.body.layer1.0.conv1"
MODELOPT = os.environ.get("MODELOPT_PYTHON")


@pytest.fixture
def eight_bits(tiny_ingredients):
    """Ingredients for a precision and an interpreter, with photographs to calibrate on."""
    images = np.random.default_rng(1).integers(0, 256, (4, 64, 64, 3), dtype=np.uint8)

    def make(precision: str, python: str | None, spared: tuple[str, ...] = ()) -> Ingredients:
        gpu = GpuBuild(capabilities=("8.9",), batch=4, modelopt=python)
        return tiny_ingredients.varied(
            precision=precision, calibration=lambda: [images, images], gpu=gpu, spared=spared
        )

    return make


@pytest.fixture
def stand_in(tmp_path):
    """A program in the place of that interpreter: it keeps its arguments, and does what the shell is told."""

    def make(script: str) -> str:
        program = tmp_path / "python"
        program.write_text(f'#!/bin/sh\nprintf "%s\\n" "$@" > {tmp_path}/arguments\n{script}\n')
        program.chmod(0o755)
        return str(program)

    return make


def test_the_program_gets_the_model_and_what_to_leave_alone(eight_bits, stand_in, tmp_path):
    """
    Graph, photographs and precision; the layers that give the maps and those that the proof spared stay as they are.
    """
    ingredients = eight_bits("fp8", stand_in(f"cp photographs.npy {tmp_path}; cp model.onnx quantised.onnx"), (SPARED,))
    layers = layer_nodes(onnx.load_from_string(ingredients.onnx))
    result = modelopt.quantised(ingredients)
    arguments = (tmp_path / "arguments").read_text().splitlines()
    patterns = arguments[arguments.index("--nodes_to_exclude") + 1 :]

    assert ingredients.onnx == result
    assert (8, 64, 64, 3) == np.load(tmp_path / "photographs.npy").shape
    assert "fp8" == arguments[arguments.index("--quantize_mode") + 1]
    assert {SPARED, *unquantised_layers(layers)} == {
        layer for layer, node in layers.items() if any(re.match(pattern, node) for pattern in patterns)
    }


@pytest.mark.parametrize(
    ("script", "told"),
    [
        ("echo 'it has no opset 18' >&2; exit 3", "it has no opset 18"),
        ("printf 'wrong \\377 byte' >&2; exit 3", "wrong . byte"),
        ("true", "made nothing of this model in int8"),
    ],
    ids=["fails", "fails with strange words", "writes nothing"],
)
def test_its_last_words_are_told(eight_bits, stand_in, script, told):
    """
    What modelopt said before it gave up is in the message, and that it made nothing where it says nothing.
    """
    with pytest.raises(EngineError, match=told):
        modelopt.quantised(eight_bits("int8", stand_in(script)))


@pytest.mark.parametrize(
    ("python", "told"),
    [(None, "then --modelopt modelopt/bin/python"), ("/no/such/python", "check --modelopt")],
    ids=["not given", "not there"],
)
def test_fp8_says_what_it_needs(eight_bits, python, told):
    """
    Without an environment for it fp8 is refused, with the commands that make one.
    """
    rtx = pytest.importorskip("workers.engines.tensorrt_rtx")
    pytest.importorskip("tensorrt_rtx_bindings", reason="needs the extra [tensorrt-rtx]")
    with pytest.raises(EngineError, match=told):
        rtx.build(eight_bits("fp8", python))


def test_fp8_is_for_gpus_that_have_it(eight_bits, stand_in):
    """
    Others are told before the minutes of quantising.
    """
    rtx = pytest.importorskip("workers.engines.tensorrt_rtx")
    pytest.importorskip("tensorrt_rtx_bindings", reason="needs the extra [tensorrt-rtx]")
    ingredients = eight_bits("fp8", stand_in("exit 1"))
    old = replace(ingredients.gpu, capabilities=("12.0", "8.6"))
    with pytest.raises(EngineError, match=r"fp8 needs GPUs of compute capability 8.9 or newer, not 8.6; take int8"):
        rtx.build(ingredients.varied(gpu=old))


@pytest.mark.skipif(MODELOPT is None, reason="MODELOPT_PYTHON names no interpreter with nvidia-modelopt")
@pytest.mark.parametrize("precision", ["int8", "fp8"])
def test_a_plan_is_built_of_what_modelopt_writes(eight_bits, precision):
    """
    The real program: TensorRT takes its pairs, and the spared layers have none.
    """
    rtx = pytest.importorskip("workers.engines.tensorrt_rtx")
    everything, less = (rtx.build(eight_bits(precision, MODELOPT, each)) for each in ((), (SPARED,)))

    assert len(everything.data) > 100_000
    assert SPARED in quantised_inputs(everything.onnx)
    assert SPARED not in quantised_inputs(less.onnx)
    assert "localisation.last" not in quantised_inputs(everything.onnx)


def quantised_inputs(data: bytes) -> set[str]:
    """The layers that read what a DequantizeLinear writes."""
    model = onnx.load_from_string(data)
    origin = {output: node for node in model.graph.node for output in node.output}
    readers = [node for node in model.graph.node if node.op_type == "Conv" and node.input[0] in origin]
    return {
        weight_of(node, origin).removeprefix("network.").removesuffix(".weight")
        for node in readers
        if origin[node.input[0]].op_type == "DequantizeLinear"
    }


def weight_of(convolution: onnx.NodeProto, origin: dict[str, onnx.NodeProto]) -> str:
    """The name of its weight, through the pair that may stand before it."""
    name = convolution.input[1]
    while name in origin:
        name = origin[name].input[0]
    return name
