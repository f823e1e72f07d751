"""What a backend builds an engine from."""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field, replace
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, NamedTuple, Protocol

import numpy as np
from numpy.typing import NDArray

from workers.engines.record import Gpu
from workers.settings.shared import EnginePrecision, HardwareCompatibility

if TYPE_CHECKING:
    from lga_model.export import InferenceGraph  # Engines are opened without the seconds that torch takes to load.

_EXPORTED = ("onnx", "onnx_half", "onnx_bfloat16")
CalibrationImages = Callable[[], Iterable[NDArray[np.uint8]]]
"""Reads real photographs, uint8 ``[B, size_px, size_px, 3]``, as often as it is called."""


class Timings(Protocol):
    """Keeps what builders measured, for each kind of GPU and release of the builder."""

    def read(self, kind: str) -> bytes:
        """What was kept; empty when there is nothing."""

    def keep(self, kind: str, data: bytes) -> None:
        """Keep it. What cannot be kept is measured again next time, and no error."""


@dataclass(frozen=True, kw_only=True)
class GpuBuild:
    """How an engine for GPUs is built."""

    capabilities: tuple[str, ...] = ()
    """Compute capabilities, for example ``8.6``; none means the GPU of this machine."""
    batch: int = 32
    """Images in the batch that it is tuned for; a second profile serves smaller ones."""
    workspace_mib: int = 4096
    """Most memory that a layer may use for its scratch."""
    compatibility: HardwareCompatibility = "none"
    timings: Timings | None = None
    """Where the timings of earlier builds are kept; without it every build measures anew."""
    modelopt: str | None = None
    """Python interpreter whose environment has NVIDIA's modelopt, to quantise with it; fp8 needs it."""
    contexts: int = 1
    """Production batches on their way at once, each with its own memory."""
    cuda_graphs: bool = False
    """Whether to launch a production batch as one recorded graph."""


@dataclass(frozen=True, kw_only=True)
class Ingredients:
    """A model, a precision, and what the way there needs."""

    graph: InferenceGraph
    """What the engine has to compute."""
    weights: bytes
    """The ``model.safetensors`` that the graph was loaded from."""
    precision: EnginePrecision
    calibration: CalibrationImages
    """Photographs that show int8 which range the activations have."""
    spared: tuple[str, ...] = ()
    """Layers that stay in fp32 where the others are int8, by their names in the network."""
    gpu: GpuBuild = field(default_factory=GpuBuild)

    def varied(self, **changes: Any) -> Ingredients:  # noqa: ANN401 - any field
        """The same model with other wishes; what was exported already is not exported again."""
        other = replace(self, **changes)
        other.__dict__.update({name: self.__dict__[name] for name in _EXPORTED if name in self.__dict__})
        return other

    @cached_property
    def onnx(self) -> bytes:
        """The graph as an ONNX file in fp32, exported when first asked for."""
        return self._export("fp32")

    @cached_property
    def onnx_half(self) -> bytes:
        """The graph as an ONNX file whose weights and layers are fp16."""
        return self._export("fp16")

    @cached_property
    def onnx_bfloat16(self) -> bytes:
        """The graph as an ONNX file whose weights and layers are bf16."""
        return self._export("bf16")

    def _export(self, precision: Literal["fp32", "fp16", "bf16"]) -> bytes:
        from lga_model.export import export_onnx  # noqa: PLC0415 - likewise

        with tempfile.TemporaryDirectory(prefix="lga-onnx-") as folder:
            path = Path(folder) / "model.onnx"
            export_onnx(self.graph, path, precision)
            return path.read_bytes()


class Built(NamedTuple):
    """What a backend made."""

    data: bytes
    """``engine.bin``."""
    onnx: bytes | None = None
    """The ONNX file that it came from."""
    gpu: Gpu | None = None
    """What it is bound to."""
