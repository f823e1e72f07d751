"""OpenVINO: the fast engine of CPUs. fp32 everywhere, bf16 where the CPU computes in it.

``engine.bin`` is the ONNX file itself. The precision is always pinned: left alone, OpenVINO takes bf16 wherever the CPU
has it, and the same engine would say something else on another machine.
"""

from __future__ import annotations

from typing import Any, Literal

import numpy as np
import openvino as ov
from numpy.typing import NDArray
from openvino import properties
from openvino.properties import device, hint
from typing_extensions import override

from workers.engines import Engine, EngineError, EngineOutput, EngineRecord, TensorSpec
from workers.engines.signature import as_output, check_images, check_signature, poisoned_outputs
from workers.settings.shared import EnginePrecision

_DEVICE = "CPU"
_CAPABILITIES: dict[str, EnginePrecision] = {"FP32": "fp32", "BF16": "bf16"}
_TYPES = {"fp32": ov.Type.f32, "bf16": ov.Type.bf16}
_DTYPES: dict[str, Literal["uint8", "float32"]] = {"u8": "uint8", "f32": "float32"}


def version() -> str:
    """Version of the runtime on this machine."""
    return str(ov.__version__).partition("-")[0]


def precisions() -> tuple[EnginePrecision, ...]:
    """What this CPU computes in, as the runtime found out."""
    found = ov.Core().get_property(_DEVICE, device.capabilities)
    return tuple(_CAPABILITIES[name] for name in found if name in _CAPABILITIES)


def open(record: EngineRecord, data: bytes, threads: int | None) -> OpenVinoEngine:  # noqa: A001 - engines.open
    """Open an engine whose digest was checked; see ``workers.engines.open_engine``."""
    return OpenVinoEngine(record, data, threads)


class OpenVinoEngine(Engine):
    """One compiled model with one request."""

    device: Literal["cpu", "cuda"] = "cpu"

    def __init__(self, record: EngineRecord, data: bytes, threads: int | None) -> None:
        self.record = record
        model = _compiled(record, data, threads)
        check_signature(record, _specs(model.inputs), _specs(model.outputs))
        self._request: ov.InferRequest | None = model.create_infer_request()

    @override
    def infer(self, images_BHWC: NDArray[np.uint8]) -> EngineOutput:
        check_images(self.record, images_BHWC)
        if self._request is None:
            raise EngineError(f"engine {self.record.folder} is closed")
        found = poisoned_outputs(self.record, len(images_BHWC))
        try:
            for name, array in found.items():
                self._request.set_tensor(name, ov.Tensor(array, shared_memory=True))
            self._request.infer({self.record.inputs[0].name: images_BHWC}, share_inputs=True, share_outputs=True)
        except RuntimeError as error:
            raise EngineError(f"engine {self.record.folder} failed on {len(images_BHWC)} images: {error}") from error
        return as_output(found)

    @override
    def close(self) -> None:
        self._request = None


def _compiled(record: EngineRecord, data: bytes, threads: int | None) -> ov.CompiledModel:
    options: dict[str, Any] = {
        hint.inference_precision: _TYPES[record.precision],
        properties.num_streams: 1,
        # A pinned thread stays on its core however busy the decoders are there.
        hint.enable_cpu_pinning: False,
    }
    if threads is not None:
        options[properties.inference_num_threads] = threads
    try:
        core = ov.Core()
        model = core.compile_model(core.read_model(data), _DEVICE, options)
    except RuntimeError as error:
        raise EngineError(
            f"OpenVINO cannot load engine {record.folder}: {' '.join(str(error).split())}; "
            f"rebuild with: {record.rebuild}"
        ) from error
    pinned = model.get_property(hint.inference_precision)
    if pinned != _TYPES[record.precision]:
        raise EngineError(f"OpenVINO would run engine {record.folder} in {pinned} and not in {record.precision}")
    return model


def _specs(ports: list[Any]) -> list[TensorSpec]:
    return [
        TensorSpec.model_construct(
            name=port.any_name,
            dtype=_DTYPES.get(port.element_type.get_type_name(), port.element_type.get_type_name()),
            shape=tuple(None if axis.is_dynamic else axis.get_length() for axis in port.partial_shape),
        )
        for port in ports
    ]
