from __future__ import annotations

import json
import logging
import warnings

import numpy as np
import onnx
import onnxruntime
import pytest
import torch
from onnx.reference import ReferenceEvaluator

from lga_model.calibration import Calibration
from lga_model.config import ImageConfig, ModelConfig
from lga_model.export import InferenceGraph, export_onnx
from lga_model.network import build_network

CLASSES = ("running", "jumping", "走る")


def graph(temperature=1.0, **fields):
    """A small network with batch-norm statistics as after some training."""
    torch.manual_seed(0)
    config = ModelConfig(
        **{
            "backbone": "test_resnet",
            "classes": CLASSES,
            "image": ImageConfig(size_px=64),
            "output_stride": 16,
            "action_channels": 16,
            "localisation_channels": (8, 1),
            **fields,
        },
    )
    network = build_network(config)
    for module in network.modules():
        if isinstance(module, torch.nn.BatchNorm2d):
            module.running_mean.normal_(std=0.1)
            module.running_var.uniform_(0.5, 1.5)
    calibration = Calibration(**{**vars(Calibration.none()), "temperature": temperature})
    return InferenceGraph(network, calibration)


def photographs(count):
    return torch.randint(0, 256, (count, 64, 64, 3), dtype=torch.uint8, generator=torch.Generator().manual_seed(count))


@pytest.fixture(scope="module")
def exported(tmp_path_factory):
    """One graph, and the file it was exported to."""
    inference, path = graph(temperature=1.7), tmp_path_factory.mktemp("onnx") / "new" / "model.onnx"
    export_onnx(inference, path)
    return inference, path


def assert_equal_to_torch(inference, path, count):
    session = onnxruntime.InferenceSession(path)
    images = photographs(count)
    with torch.no_grad():
        expected = inference(images)
    actual = session.run(list(inference.output_names), {"images": images.numpy()})
    for ours, theirs in zip(expected, actual, strict=True):
        assert np.float32 == theirs.dtype
        assert ours.shape == theirs.shape
        assert np.abs(ours.numpy() - theirs).max() < 1e-5 * ours.abs().max()


def test_the_graph_gives_what_the_tags_hold():
    """
    Softmax of logits / T, the heatmap cut to [0, 1], the class activation map of the likeliest action.
    """
    inference, images = graph(temperature=2.0), photographs(3)
    torch.nn.init.constant_(inference.network.localisation.last.bias, 1.0)
    with torch.no_grad():
        said = inference.network(images)
        probabilities, heatmap, pam = inference(images)
    likeliest = said.logits_BA.argmax(dim=1).tolist()

    torch.testing.assert_close(probabilities, torch.softmax(said.logits_BA / 2, dim=1))
    assert said.heatmap_BHW.clip(0, 1).equal(heatmap)
    assert said.heatmap_BHW.min() < 1 < said.heatmap_BHW.max()
    assert all(said.cam_BAHW[image, action].equal(pam[image]) for image, action in enumerate(likeliest))


@pytest.mark.parametrize("count", [1, 3])
def test_onnxruntime_equals_torch_for_any_batch(exported, count):
    """
    To a relative error of 1e-5, with one file for every batch size.
    """
    assert_equal_to_torch(*exported, count)


def test_the_file_keeps_the_contract_of_names_types_and_shapes(exported):
    """
    uint8 images in, three float32 outputs, the batch free, ONNX's own checker content.
    """
    model = onnx.load(exported[1])
    onnx.checker.check_model(model, full_check=True)
    shapes = {
        value.name: [axis.dim_param or axis.dim_value for axis in value.type.tensor_type.shape.dim]
        for value in (*model.graph.input, *model.graph.output)
    }

    assert onnx.TensorProto.UINT8 == model.graph.input[0].type.tensor_type.elem_type
    assert {
        "images": ["batch", 64, 64, 3],
        "probabilities": ["batch", 3],
        "heatmap": ["batch", 4, 4],
        "pam": ["batch", 4, 4],
    } == shapes


def test_the_metadata_say_what_the_numbers_mean(exported):
    """
    Class names in their own script, and the sizes.
    """
    facts = {fact.key: fact.value for fact in onnx.load(exported[1]).metadata_props}

    assert CLASSES == tuple(json.loads(facts.pop("classes")))
    assert {"size_px": "64", "feature_h": "4", "feature_w": "4"} == facts


def test_the_same_network_gives_the_same_bytes(exported, tmp_path):
    """
    So that a digest of the file names the model; nothing of the exporting machine is inside.
    """
    inference, path = exported
    export_onnx(inference, tmp_path / "again.onnx")

    assert path.read_bytes() == (tmp_path / "again.onnx").read_bytes()
    assert b"site-packages" not in path.read_bytes()
    assert b"network.py" not in path.read_bytes()


def test_bfloat16_is_the_same_network_with_shorter_numbers(tmp_path):
    """
    Every convolution's weights are bfloat16; computed by the reference of the ONNX standard it says what PyTorch says.
    """
    inference, path, images = graph(temperature=1.7), tmp_path / "model.onnx", photographs(2)
    export_onnx(inference, path, "bf16")
    model = onnx.load(path)
    weights = {node.input[1] for node in model.graph.node if node.op_type == "Conv"}
    found = ReferenceEvaluator(model).run(None, {"images": images.numpy()})
    with torch.no_grad():
        expected = inference(images)

    assert {onnx.TensorProto.BFLOAT16} == {each.data_type for each in model.graph.initializer if each.name in weights}
    for ours, theirs in zip(found, expected, strict=True):
        np.testing.assert_allclose(ours, theirs, atol=0.02)


def test_a_model_without_localisation_has_no_heatmap_output(tmp_path, capfd):
    """
    Not one of zeros, which would say that nobody is there. And the exporter keeps its remarks to itself.
    """
    inference = graph(variant="plain")
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        export_onnx(inference, tmp_path / "plain.onnx")

    assert ("probabilities", "pam") == inference.output_names
    assert ("", "") == tuple(capfd.readouterr())
    assert_equal_to_torch(inference, tmp_path / "plain.onnx", 2)


def test_the_exporters_loggers_are_left_as_they_were(exported):
    """
    Quiet for the export only.
    """
    assert exported[1].exists()
    assert logging.NOTSET == logging.getLogger("onnxscript").level
