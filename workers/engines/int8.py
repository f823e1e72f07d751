"""int8 by quantisation after training, written into the ONNX: pairs of QuantizeLinear and DequantizeLinear.

onnxruntime runs such a file on CPUs, TensorRT builds from it. OpenVINO has a quantiser of its own. Opening an engine
needs nothing of this, nor the seconds that it takes to load.
"""

from __future__ import annotations

import contextlib
import logging
import tempfile
from collections.abc import Iterable, Iterator
from pathlib import Path

import numpy as np
import onnx
from numpy.typing import NDArray
from onnxruntime.quantization import CalibrationDataReader, QuantType, quantize_static

from lga_model.export import INPUT, nodes_to_spare
from workers.engines.ingredients import Ingredients

_QUANTISED_OPERATORS = ["Conv", "Relu", "Clip", "Add", "Concat", "MaxPool", "AveragePool"]


def quantised(ingredients: Ingredients, *, symmetric: bool = False) -> bytes:
    """Quantise the exported graph after training: int8 weights for each kernel, 8-bit activations.

    Args:
        ingredients: The graph, photographs to calibrate on, and the layers to leave alone.
        symmetric: No zero points, as TensorRT wants it. Else unsigned activations, and weights of seven bits: without
            VNNI a CPU adds pairs of products in 16 bits, which eight bits can overflow.
    """
    model = onnx.load_from_string(ingredients.onnx)
    activations = QuantType.QInt8 if symmetric else QuantType.QUInt8
    with tempfile.TemporaryDirectory(prefix="lga-int8-") as folder, _quiet():
        path = Path(folder) / "int8.onnx"
        quantize_static(
            model,
            path,
            _Photographs(ingredients.calibration()),
            op_types_to_quantize=_QUANTISED_OPERATORS,
            nodes_to_exclude=nodes_to_spare(model, ingredients.spared),
            per_channel=True,
            reduce_range=not symmetric,
            activation_type=activations,
            weight_type=QuantType.QInt8,
            extra_options={"ActivationSymmetric": symmetric, "WeightSymmetric": True, "QuantizeBias": not symmetric},
        )
        return path.read_bytes()


class _Photographs(CalibrationDataReader):  # type: ignore[misc]  # the package is not typed
    """Photographs as the quantiser wants them.

    One at a time: it holds every activation of what it is given, 10 GB for eight of ResNet-50 at 448 pixels.
    """

    def __init__(self, batches: Iterable[NDArray[np.uint8]]) -> None:
        self._images = (image_HWC for batch_BHWC in batches for image_HWC in batch_BHWC)

    def get_next(self) -> dict[str, NDArray[np.uint8]] | None:
        """The next by the input's name, None at the end."""
        image_HWC = next(self._images, None)
        return None if image_HWC is None else {INPUT: image_HWC[None]}


@contextlib.contextmanager
def _quiet() -> Iterator[None]:
    """Keep the quantiser's advice to its own developers away from users."""
    logger = logging.getLogger()
    before = logger.level
    logger.setLevel(logging.ERROR)
    try:
        yield
    finally:
        logger.setLevel(before)
