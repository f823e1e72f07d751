"""Quantised engines: smaller, close to the model, and in fp32 where that was asked for."""

from __future__ import annotations

import contextlib
import io
import zipfile
from contextlib import closing

import numpy as np
import onnx
import pytest

from lga_model.export import layer_nodes
from workers.compile.build import assemble_engine
from workers.engines import open_engine
from workers.engines.int8 import quantised
from workers.engines.torch import run_graph


@pytest.fixture
def photographs():
    """Sixteen noisy squares with some structure, uint8 [16, 64, 64, 3]."""
    coarse = np.random.default_rng(1).integers(0, 256, (16, 8, 8, 3), dtype=np.uint8)
    return coarse.repeat(8, axis=1).repeat(8, axis=2)


@pytest.mark.parametrize("target", ["onnxruntime", "openvino"])
def test_int8_says_nearly_what_the_model_says(tiny_source, tiny_ingredients, photographs, tmp_path, target):
    """
    Calibrated on such photographs, the labels stay and no probability moves by more than a tenth.
    """
    pytest.importorskip("nncf", reason="needs the extra [openvino]")
    ingredients = tiny_ingredients.varied(precision="int8", calibration=lambda: [photographs])
    record = assemble_engine(tiny_source, target, ingredients, tmp_path)
    expected = run_graph(tiny_source.graph, photographs)
    with closing(open_engine(tmp_path, threads=1)) as engine:
        output = engine.infer(photographs)

    assert "int8" == record.precision
    assert record.engine_sha256 != record.onnx_sha256
    difference_BA = np.abs(output.probabilities_BA - expected.probabilities_BA)
    assert 0 < difference_BA.max() < 0.1


def test_spared_layers_stay_in_fp32(tiny_ingredients, photographs):
    """
    The layers that give the maps are never quantised, nor are those that were named; all others are.
    """
    ingredients = tiny_ingredients.varied(precision="int8", calibration=lambda: [photographs])
    layers = layer_nodes(onnx.load_from_string(ingredients.onnx))
    spared = next(layer for layer in layers if layer.startswith("backbone"))
    everything, less = (
        onnx.load_from_string(quantised(each)) for each in (ingredients, ingredients.varied(spared=(spared,)))
    )

    assert layers.keys() - quantised_layers(everything) == {"localisation.last"} | {
        layer for layer in layers if "." not in layer
    }
    assert {spared} == quantised_layers(everything) - quantised_layers(less)


def quantised_layers(model: onnx.ModelProto) -> set[str]:
    """Layers whose weights are read through a DequantizeLinear."""
    origin = {output: node for node in model.graph.node for output in node.output}
    weights = (origin[node.input[1]] for node in model.graph.node if node.op_type == "Conv" and node.input[1] in origin)
    return {
        node.input[0].removeprefix("network.").removesuffix(".weight_quantized")
        for node in weights
        if node.op_type == "DequantizeLinear"
    }


def archive(compression: int, content: bytes) -> bytes:
    """Both files of a quantised model in one archive."""
    sink = io.BytesIO()
    with zipfile.ZipFile(sink, "w", compression) as both:
        both.writestr("model.xml", content)
        both.writestr("model.bin", content)
    return sink.getvalue()


def test_an_archive_is_unpacked_to_no_more_than_there_is():
    """
    Ours are stored as they are. One that grows is refused before it is unpacked, and so is every damaged byte of one.
    """
    backend = pytest.importorskip("workers.engines.openvino", reason="needs the extra [openvino]")
    noise = np.random.default_rng(0).bytes(300)

    assert (noise, noise) == backend._unpacked(archive(zipfile.ZIP_STORED, noise))
    with pytest.raises(ValueError, match="unpacks to more than there is"):
        backend._unpacked(archive(zipfile.ZIP_DEFLATED, bytes(1_000_000)))
    whole = archive(zipfile.ZIP_DEFLATED, noise)
    for position in range(0, len(whole), 3):
        damaged = bytearray(whole)
        damaged[position] ^= 255
        with contextlib.suppress(ValueError):
            backend._unpacked(bytes(damaged))
