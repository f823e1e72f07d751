"""onnxruntime: fp32 on any CPU, or on CUDA where its provider is there. The default, and the oracle of the others.

``engine.bin`` is the ONNX file itself; in int8, with the quantisation written into it (pairs of QuantizeLinear and
DequantizeLinear). The layers that give the numbers which people read, class activation maps and heatmap, stay in fp32:
they are less than a hundredth of the work.
"""

from __future__ import annotations

from typing import Any, Literal

import numpy as np
import onnxruntime as ort
from numpy.typing import NDArray
from typing_extensions import override

from workers.engines import Engine, EngineError, EngineOutput, EngineRecord, TensorSpec
from workers.engines.ingredients import Built, Ingredients
from workers.engines.signature import as_output, check_images, check_signature, poisoned_outputs
from workers.settings.shared import EnginePrecision

_DTYPES: dict[str, Literal["uint8", "float32"]] = {"tensor(uint8)": "uint8", "tensor(float)": "float32"}
_SILENT = 4


def version() -> str:
    """Version of the runtime on this machine."""
    return str(ort.__version__)


def precisions() -> tuple[EnginePrecision, ...]:
    """What it computes in; int8 on the CPU alone."""
    return ("fp32",) if "CUDAExecutionProvider" in ort.get_available_providers() else ("fp32", "int8")


def build(ingredients: Ingredients) -> Built:
    """The exported file as it is, or quantised."""
    onnx = ingredients.onnx
    if ingredients.precision == "fp32":
        return Built(onnx, onnx)
    from workers.engines.int8 import quantised  # noqa: PLC0415 - seconds, and only quantising needs it

    return Built(quantised(ingredients), onnx)


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
