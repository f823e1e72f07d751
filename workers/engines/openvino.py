"""OpenVINO: the fast engine of CPUs. fp32 and int8 everywhere, bf16 where the CPU computes in it.

``engine.bin`` is the ONNX file itself; in int8 it is a zip archive of the quantised model in OpenVINO's own form. The
precision is always pinned: left alone, OpenVINO takes bf16 wherever the CPU has it, and the same engine would say
something else on another machine.
"""

from __future__ import annotations

import io
import logging
import re
import tempfile
import zipfile
import zlib
from pathlib import Path
from typing import Any, Literal

import numpy as np
import openvino as ov
from numpy.typing import NDArray
from openvino import properties
from openvino.properties import device, hint
from typing_extensions import override

from workers.engines import Engine, EngineError, EngineOutput, EngineRecord, TensorSpec
from workers.engines.ingredients import Built, Ingredients
from workers.engines.signature import as_output, check_images, check_signature, poisoned_outputs
from workers.settings.shared import EnginePrecision

_DEVICE = "CPU"
_CAPABILITIES: dict[str, EnginePrecision] = {"FP32": "fp32", "FP16": "fp16", "BF16": "bf16", "INT8": "int8"}
_TYPES = {"fp32": ov.Type.f32, "fp16": ov.Type.f16, "bf16": ov.Type.bf16, "int8": ov.Type.f32}
"""Arithmetic of the layers that are not quantised."""
_GRAPH_FILE, _WEIGHTS_FILE = "model.xml", "model.bin"
_DTYPES: dict[str, Literal["uint8", "float32"]] = {"u8": "uint8", "f32": "float32"}


def version() -> str:
    """Version of the runtime on this machine."""
    return str(ov.__version__).partition("-")[0]


def precisions() -> tuple[EnginePrecision, ...]:
    """What this CPU computes in, as the runtime found out."""
    found = ov.Core().get_property(_DEVICE, device.capabilities)
    return tuple(_CAPABILITIES[name] for name in found if name in _CAPABILITIES)


def build(ingredients: Ingredients) -> Built:
    """The exported file as it is, or quantised."""
    onnx = ingredients.onnx
    return Built(onnx if ingredients.precision != "int8" else _quantised(ingredients), onnx)


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
        parts = _unpacked(data) if record.precision == "int8" else (data,)
        model = core.compile_model(core.read_model(*parts), _DEVICE, options)
    except (RuntimeError, ValueError) as error:
        raise EngineError(
            f"OpenVINO cannot load engine {record.folder}: {' '.join(str(error).split())}; "
            f"rebuild with: {record.rebuild}"
        ) from error
    pinned = model.get_property(hint.inference_precision)
    if pinned != _TYPES[record.precision]:
        raise EngineError(f"OpenVINO would run engine {record.folder} in {pinned} and not in {record.precision}")
    return model


def _quantised(ingredients: Ingredients) -> bytes:
    """Quantise after training, with the ranges that the activations have on the calibration photographs."""
    # Seconds that opening an engine need not wait for.
    import onnx  # noqa: PLC0415

    from lga_model.export import layer_nodes, unquantised_layers  # noqa: PLC0415

    nncf = _nncf()
    layers = layer_nodes(onnx.load_from_string(ingredients.onnx))
    spared = (*ingredients.spared, *unquantised_layers(layers))
    images = [image_HWC[None] for batch_BHWC in ingredients.calibration() for image_HWC in batch_BHWC]
    model = nncf.quantize(
        ov.Core().read_model(ingredients.onnx),
        nncf.Dataset(images),
        preset=nncf.QuantizationPreset.MIXED,
        subset_size=len(images),
        # A convolution with a bias is two nodes here, the first with a suffix.
        ignored_scope=nncf.IgnoredScope(
            patterns=[rf"{re.escape(layers[layer])}(/.*)?" for layer in spared], validate=False
        ),
        advanced_parameters=nncf.AdvancedQuantizationParameters(
            # Without VNNI a CPU adds pairs of products in 16 bits, which eight bits can overflow.
            overflow_fix=nncf.OverflowFix.ENABLE
        ),
    )
    with tempfile.TemporaryDirectory(prefix="lga-int8-") as folder:
        graph, weights = Path(folder) / _GRAPH_FILE, Path(folder) / _WEIGHTS_FILE
        ov.serialize(model, graph, weights)
        sink = io.BytesIO()
        with zipfile.ZipFile(sink, "w") as archive:
            for path in (graph, weights):
                archive.writestr(zipfile.ZipInfo(path.name), path.read_bytes())  # ZipInfo: no time of day
    return sink.getvalue()


def _unpacked(data: bytes) -> tuple[bytes, bytes]:
    """The two files of a quantised model.

    Raises:
        ValueError: If it is not an archive of those.
    """
    try:
        with zipfile.ZipFile(io.BytesIO(data)) as archive:
            # We store without compressing: what would unpack to more than there is comes from somebody else.
            if sum(entry.file_size for entry in archive.infolist()) > len(data):
                raise ValueError("it unpacks to more than there is")
            return archive.read(_GRAPH_FILE), archive.read(_WEIGHTS_FILE)
    except (zipfile.BadZipFile, KeyError, EOFError, NotImplementedError, RuntimeError, zlib.error) as error:
        raise ValueError(f"it is no archive of {_GRAPH_FILE} and {_WEIGHTS_FILE}: {error}") from error


def _nncf() -> Any:  # noqa: ANN401 - a module without types
    try:
        import nncf  # noqa: PLC0415 - seconds, and only quantising needs it
    except ImportError as error:
        raise EngineError(f"int8 needs nncf, which is not installed ({error}): install the extra [openvino]") from error
    logging.getLogger("nncf").setLevel(logging.ERROR)
    return nncf


def _specs(ports: list[Any]) -> list[TensorSpec]:
    return [
        TensorSpec.model_construct(
            name=port.any_name,
            dtype=_DTYPES.get(port.element_type.get_type_name(), port.element_type.get_type_name()),
            shape=tuple(None if axis.is_dynamic else axis.get_length() for axis in port.partial_shape),
        )
        for port in ports
    ]
