"""onnxruntime: fp32 on any CPU, or on CUDA where its provider is there. The default, and the oracle of the others.

``engine.bin`` is the ONNX file itself; in int8, with the quantisation written into it (pairs of QuantizeLinear and
DequantizeLinear). The layers that give the numbers which people read, class activation maps and heatmap, stay in fp32:
they are less than a hundredth of the work.
"""

from __future__ import annotations

import contextlib
import logging
import tempfile
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any, Literal

import numpy as np
import onnx
import onnxruntime as ort
from numpy.typing import NDArray
from onnxruntime.quantization import CalibrationDataReader, QuantType, quantize_static
from typing_extensions import override

from lga_model.export import INPUT, layer_nodes, unquantised_layers
from workers.engines import Engine, EngineError, EngineOutput, EngineRecord, TensorSpec
from workers.engines.ingredients import Built, Ingredients
from workers.engines.signature import as_output, check_images, check_signature, poisoned_outputs
from workers.settings.shared import EnginePrecision

_DTYPES: dict[str, Literal["uint8", "float32"]] = {"tensor(uint8)": "uint8", "tensor(float)": "float32"}
_SILENT = 4
_QUANTISED_OPERATORS = ["Conv", "Relu", "Clip", "Add", "Concat", "MaxPool", "AveragePool"]


def version() -> str:
    """Version of the runtime on this machine."""
    return str(ort.__version__)


def precisions() -> tuple[EnginePrecision, ...]:
    """What it computes in; int8 on the CPU alone."""
    return ("fp32",) if "CUDAExecutionProvider" in ort.get_available_providers() else ("fp32", "int8")


def build(ingredients: Ingredients) -> Built:
    """The exported file as it is, or quantised."""
    onnx = ingredients.onnx
    return Built(onnx if ingredients.precision == "fp32" else quantised(ingredients), onnx)


def open(record: EngineRecord, data: bytes, threads: int | None) -> OnnxRuntimeEngine:  # noqa: A001 - engines.open
    """Open an engine whose digest was checked; see ``workers.engines.open_engine``."""
    return OnnxRuntimeEngine(record, data, threads)


class OnnxRuntimeEngine(Engine):
    """One onnxruntime session."""

    def __init__(self, record: EngineRecord, data: bytes, threads: int | None) -> None:
        self.record = record
        self._session: Any = _session(record, data, threads)
        check_signature(record, _specs(self._session.get_inputs()), _specs(self._session.get_outputs()))

    @property
    @override
    def device(self) -> Literal["cpu", "cuda"]:
        return "cuda" if "CUDAExecutionProvider" in self._session.get_providers() else "cpu"

    @override
    def infer(self, images_BHWC: NDArray[np.uint8]) -> EngineOutput:
        check_images(self.record, images_BHWC)
        if self._session is None:
            raise EngineError(f"engine {self.record.folder} is closed")
        found = poisoned_outputs(self.record, len(images_BHWC))
        binding = self._session.io_binding()
        binding.bind_cpu_input(self.record.inputs[0].name, np.ascontiguousarray(images_BHWC))
        for name, array in found.items():
            binding.bind_output(name, "cpu", 0, np.float32, array.shape, array.ctypes.data)
        try:
            self._session.run_with_iobinding(binding)
        except Exception as error:  # The runtime's errors have no base of their own.
            raise EngineError(f"engine {self.record.folder} failed on {len(images_BHWC)} images: {error}") from error
        return as_output(found)

    @override
    def close(self) -> None:
        self._session = None


def quantised(ingredients: Ingredients, *, symmetric: bool = False) -> bytes:
    """Quantise the exported graph after training: int8 weights for each kernel, 8-bit activations.

    Args:
        ingredients: The graph, photographs to calibrate on, and the layers to leave alone.
        symmetric: No zero points, as TensorRT wants it. Else unsigned activations, and weights of seven bits: without
            VNNI a CPU adds pairs of products in 16 bits, which eight bits can overflow.
    """
    model = onnx.load_from_string(ingredients.onnx)
    layers = layer_nodes(model)
    left_alone = [node for layer, node in layers.items() if layer in (*ingredients.spared, *unquantised_layers(layers))]
    left_alone += [node.name for node in model.graph.node if set(node.input) & {"network.scale_C", "network.shift_C"}]
    activations = QuantType.QInt8 if symmetric else QuantType.QUInt8
    with tempfile.TemporaryDirectory(prefix="lga-int8-") as folder, _quiet():
        path = Path(folder) / "int8.onnx"
        quantize_static(
            model,
            path,
            _Photographs(ingredients.calibration()),
            op_types_to_quantize=_QUANTISED_OPERATORS,
            nodes_to_exclude=left_alone,
            per_channel=True,
            reduce_range=not symmetric,
            activation_type=activations,
            weight_type=QuantType.QInt8,
            extra_options={"ActivationSymmetric": symmetric, "WeightSymmetric": True, "QuantizeBias": not symmetric},
        )
        return path.read_bytes()


class _Photographs(CalibrationDataReader):  # type: ignore[misc]  # the package is not typed
    """Batches of photographs as the quantiser wants them."""

    def __init__(self, batches: Iterable[NDArray[np.uint8]]) -> None:
        self._batches = iter(batches)

    def get_next(self) -> dict[str, NDArray[np.uint8]] | None:
        """The next batch by the input's name, None at the end."""
        batch = next(self._batches, None)
        return None if batch is None else {INPUT: batch}


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


def _session(record: EngineRecord, data: bytes, threads: int | None) -> ort.InferenceSession:
    ort.disable_telemetry_events()
    options = ort.SessionOptions()
    options.intra_op_num_threads = threads or 0
    options.inter_op_num_threads = 1
    options.graph_optimization_level = ort.GraphOptimizationLevel.ORT_ENABLE_ALL
    options.enable_mem_pattern = False  # It keeps a plan, and memory, for every batch size that ever came.
    options.log_severity_level = _SILENT  # Failures come as exceptions; on stderr they would only come twice.
    # Threads that wait for the next batch must not spin: the cores decode its photographs meanwhile.
    options.add_session_config_entry("session.intra_op.allow_spinning", "0")
    try:
        return ort.InferenceSession(data, options, providers=_providers())
    except Exception as error:  # The runtime's errors have no base of their own.
        raise EngineError(
            f"onnxruntime cannot load engine {record.folder}: {error}; rebuild with: {record.rebuild}"
        ) from error


def _providers() -> list[tuple[str, dict[str, str]]]:
    # TF32 would cost three digits of the fp32 that the record promises.
    wanted = [("CUDAExecutionProvider", {"use_tf32": "0"}), ("CPUExecutionProvider", dict[str, str]())]
    available = ort.get_available_providers()
    return [provider for provider in wanted if provider[0] in available]


def _specs(nodes: list[ort.NodeArg]) -> list[TensorSpec]:
    return [TensorSpec.model_construct(name=n.name, dtype=_DTYPES.get(n.type, n.type), shape=_shape(n)) for n in nodes]


def _shape(node: ort.NodeArg) -> tuple[int | None, ...]:
    return tuple(axis if isinstance(axis, int) else None for axis in node.shape)
