"""LGANet -> ONNX: photographs in, what the tags need out.

The graph is the contract of every engine. Input ``images``: RGB uint8 ``[B, size, size, 3]``, B free. Outputs, all
float32: ``probabilities [B, A]``, ``heatmap [B, h, w]`` (absent without a localisation branch), ``pam [B, h, w]``.

Shape suffixes: B = images, A = action classes, H W = pixels or cells, C = RGB.
"""

from __future__ import annotations

import contextlib
import copy
import io
import json
import logging
import warnings
from typing import TYPE_CHECKING, Literal

import onnx
import torch
from torch import Tensor, nn

from lga_model.activations import predicting_activation_map

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator
    from pathlib import Path

    from lga_model.calibration import Calibration
    from lga_model.network import LGANet, Prediction

INPUT = "images"
OPSET = 18
"""Read by TensorRT 10 and 11, OpenVINO and onnxruntime alike."""
_OPSET_BFLOAT16 = 22
"""The first in which a convolution may be bfloat16. TensorRT reads it."""


class InferenceGraph(nn.Module):
    """A network as it is used: calibrated probabilities, a heatmap in [0, 1], and the PAM of the likeliest action."""

    def __init__(self, network: LGANet, calibration: Calibration) -> None:
        """Take over ``network``, in evaluation mode."""
        super().__init__()
        self.network = network.eval()
        self.temperature = calibration.temperature

    @property
    def output_names(self) -> tuple[str, ...]:
        """Names of the outputs, in the order in which ``forward`` gives them."""
        return ("probabilities", "heatmap", "pam") if self.network.config.has_heatmap else ("probabilities", "pam")

    def forward(self, images: Tensor) -> tuple[Tensor, ...]:
        """Score images, uint8 RGB ``[B, H, W, 3]``; see ``output_names`` for what comes out."""
        prediction: Prediction = self.network(images)
        probabilities_BA = torch.softmax(prediction.logits_BA / self.temperature, dim=1)
        pam_BHW = predicting_activation_map(prediction.cam_BAHW, prediction.logits_BA.argmax(dim=1))
        if prediction.heatmap_BHW is None:
            return probabilities_BA, pam_BHW
        return probabilities_BA, prediction.heatmap_BHW.clamp(0, 1), pam_BHW


def export_onnx(graph: InferenceGraph, path: Path, precision: Literal["fp32", "fp16", "bf16"] = "fp32") -> None:
    """Write ``graph`` as one self-contained ONNX file.

    In ``fp16`` and ``bf16`` the weights and all layers up to the logits and the heatmap are of that type, for runtimes
    that take the precision from the graph; inputs and outputs stay what they are. The same network gives the same
    bytes. The file's metadata hold ``classes`` (a JSON list), ``size_px``, ``feature_h`` and ``feature_w``.
    """
    config = graph.network.config
    if precision != "fp32":
        graph = copy.deepcopy(graph).to(torch.float16 if precision == "fp16" else torch.bfloat16)
    # Two images: of one, the exporter would conclude that there is always one.
    example = torch.zeros(
        2, config.image.size_px, config.image.size_px, 3, dtype=torch.uint8, device=graph.network.scale_C.device
    )
    with _quiet():
        program = torch.onnx.export(
            graph.eval(),
            (example,),
            dynamo=True,
            opset_version=_OPSET_BFLOAT16 if precision == "bf16" else OPSET,
            input_names=[INPUT],
            output_names=list(graph.output_names),
            dynamic_shapes=({0: torch.export.Dim("batch", min=1)},),
            verbose=False,
        )
    model: onnx.ModelProto = program.model_proto  # type: ignore[union-attr]  # given whenever dynamo is on
    if precision == "bf16":
        _round_weights(model.graph)
    _forget_origin(model.graph)
    del model.metadata_props[:]
    height, width = graph.network.feature_size
    facts = {
        "classes": json.dumps(config.classes, ensure_ascii=False),
        "size_px": str(config.image.size_px),
        "feature_h": str(height),
        "feature_w": str(width),
    }
    onnx.helper.set_model_props(model, facts)
    onnx.checker.check_model(model, full_check=True)
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(model.SerializeToString(deterministic=True))


def layer_nodes(model: onnx.ModelProto) -> dict[str, str]:
    """The convolutions of an exported graph: the layer's name in the network, and the name of its node.

    A layer whose weights were computed on the way (the linear classifier as a 1x1 convolution) goes by its node's name.
    """
    weights = {node.name: node.input[1] for node in model.graph.node if node.op_type == "Conv"}
    return {weight.removeprefix("network.").removesuffix(".weight") if "." in weight else node: node
            for node, weight in weights.items()}  # fmt: skip


def unquantised_layers(layers: Iterable[str]) -> tuple[str, ...]:
    """The layers, of those of ``layer_nodes``, that give class activation maps and heatmap: never quantised."""
    return tuple(layer for layer in layers if "." not in layer or layer == "localisation.last")


def nodes_to_spare(model: onnx.ModelProto, spared: Iterable[str]) -> list[str]:
    """Names of the nodes of an exported graph that stay in fp32 when it is quantised.

    Those of the layers ``spared`` and ``unquantised_layers``, and the normalisation of the photographs.
    """
    layers = layer_nodes(model)
    kept = {*spared, *unquantised_layers(layers)}
    nodes = [node for layer, node in layers.items() if layer in kept]
    return nodes + [node.name for node in model.graph.node if set(node.input) & {"network.scale_C", "network.shift_C"}]


def _round_weights(graph: onnx.GraphProto) -> None:
    """Make bfloat16 of the convolutions' weights that the exporter left in fp32 when it folded normalisation in."""
    weights = {name for node in graph.node if node.op_type == "Conv" for name in node.input[1:]}
    for tensor in graph.initializer:
        if tensor.name in weights and tensor.data_type == onnx.TensorProto.FLOAT:
            rounded = torch.tensor(onnx.numpy_helper.to_array(tensor)).bfloat16()
            data = rounded.view(torch.int16).numpy().tobytes()
            tensor.CopyFrom(
                onnx.helper.make_tensor(tensor.name, onnx.TensorProto.BFLOAT16, rounded.shape, data, raw=True)
            )
    del graph.value_info[:]  # It says that what these convolutions give is fp32.


def _forget_origin(graph: onnx.GraphProto) -> None:
    """Drop the exporter's notes: source lines and paths of the exporting machine."""
    for item in (graph, *graph.node, *graph.input, *graph.output, *graph.value_info, *graph.initializer):
        item.doc_string = ""
        del item.metadata_props[:]


@contextlib.contextmanager
def _quiet() -> Iterator[None]:
    """Keep the exporter's remarks about its own insides away from users; its errors still come out."""
    names = ("torch.onnx", "torch.export", "onnxscript", "onnx_ir")
    before = {name: logging.getLogger(name).level for name in names}
    try:
        for name in names:
            logging.getLogger(name).setLevel(logging.ERROR)
        with warnings.catch_warnings(), contextlib.redirect_stdout(io.StringIO()):
            warnings.simplefilter("ignore")
            yield
    finally:
        for name, level in before.items():
            logging.getLogger(name).setLevel(level)
