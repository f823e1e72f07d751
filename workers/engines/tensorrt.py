"""TensorRT, and TensorRT for RTX: one source for both products, which share their Python interface.

``engine.bin`` is a plan: machine code for the GPUs that its record names, as trustworthy as a program. Its digest is
checked before this module sees it, and host code inside of it is not allowed. Networks are strongly typed: the
precision is that of the exported graph. The full product builds on the GPU that will run the plan; the one for RTX
builds for any capability that it knows, without a GPU.
"""

from __future__ import annotations

import contextlib
import importlib
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property
from typing import Any, Literal

import numpy as np
import torch
from numpy.typing import NDArray
from typing_extensions import override

from lga_model.export import INPUT
from workers.engines import Engine, EngineError, EngineOutput, EngineRecord, Gpu, TensorSpec
from workers.engines.gpu import numbers, present_gpu
from workers.engines.ingredients import Built, GpuBuild, Ingredients, Timings
from workers.engines.lane import Lane
from workers.engines.signature import as_output, check_images, check_signature
from workers.settings.shared import EnginePrecision

_MIB = 2**20
_TAIL = 4
"""The tail profile is tuned for this part of the production batch."""
_AMPERE = "8.0"
_ADA = "8.9"
_RTX_MODULE = "tensorrt_rtx_bindings"


@dataclass(frozen=True)
class Product:
    """One of the two products: the functions that every backend has."""

    name: str
    module: str

    @cached_property
    def trt(self) -> Any:  # noqa: ANN401 - a module without types
        """The product's module.

        Raises:
            ImportError: If it is not installed, or its libraries cannot be loaded.
        """
        try:
            return importlib.import_module(self.module)
        except (OSError, RuntimeError) as error:
            raise ImportError(f"its libraries cannot be loaded: {error}") from error

    @property
    def is_rtx(self) -> bool:
        """Whether it is TensorRT for RTX."""
        return self.module == _RTX_MODULE

    def version(self) -> str:
        """Version of the runtime on this machine."""
        return str(self.trt.__version__)

    def precisions(self) -> tuple[EnginePrecision, ...]:
        """What it builds; whether the GPU fits is the business of the record's ``gpu``."""
        self.version()
        return ("fp32", "fp16", "bf16", "int8", "fp8")

    def build(self, ingredients: Ingredients) -> Built:
        """Build a plan with two profiles: the production batch, and every smaller one.

        Raises:
            EngineError: If the graph cannot be parsed (all errors are named) or no plan comes out of it.
        """
        gpu = self._bound_to(ingredients.gpu).model_copy(update=_way(ingredients))
        if ingredients.precision == "fp8":
            _refuse_without_fp8(gpu)
        onnx = self._graph(ingredients)
        log = _log(self.trt)
        builder = self.trt.Builder(log)
        if builder is None:
            raise EngineError(f"{self.name} cannot make a builder: {log.last}")
        # Strongly typed: the only kind from release 11 on, asked for before.
        network = builder.create_network(1 << int(self.trt.NetworkDefinitionCreationFlag.STRONGLY_TYPED))
        self._parse(network, onnx, log)
        config = builder.create_builder_config()
        config.clear_flag(self.trt.BuilderFlag.TF32)  # It would cost three digits of the fp32 that the record promises.
        config.set_memory_pool_limit(self.trt.MemoryPoolType.WORKSPACE, ingredients.gpu.workspace_mib * _MIB)
        size_px = ingredients.graph.network.config.image.size_px
        for smallest, best, largest in profiles(ingredients.gpu.batch):
            profile = builder.create_optimization_profile()
            profile.set_shape(INPUT, *((images, size_px, size_px, 3) for images in (smallest, best, largest)))
            if config.add_optimization_profile(profile) < 0:
                raise EngineError(f"{self.name} takes no profile for {smallest} to {largest} images: {log.last}")
        self._choose_gpus(config, ingredients.gpu)
        with self._timed(config, ingredients.gpu.timings):
            plan = builder.build_serialized_network(network, config)
        if plan is None:
            raise EngineError(f"{self.name} made no plan of this model in {ingredients.precision}: {log.last}")
        return Built(bytes(plan), onnx, gpu)

    def open(self, record: EngineRecord, data: bytes, threads: int | None) -> TensorRtEngine:  # noqa: ARG002
        """Open an engine whose digest was checked; see ``workers.engines.open_engine``."""
        return TensorRtEngine(self, record, data)

    def context(self, engine: Any, bound: Gpu) -> Any:  # noqa: ANN401 - a runtime's own objects
        """What runs production batches."""
        if not (bound.cuda_graphs and self.is_rtx):
            return engine.create_execution_context()
        config = engine.create_runtime_config()
        config.cuda_graph_strategy = self.trt.CudaGraphStrategy.WHOLE_GRAPH_CAPTURE
        return engine.create_execution_context(runtime_config=config)

    def deserialised(self, record: EngineRecord, data: bytes) -> Any:  # noqa: ANN401 - a runtime's own object
        """The engine of a plan.

        Raises:
            EngineError: If the runtime does not take it.
        """
        log = _log(self.trt)
        runtime = self.trt.Runtime(log)
        if runtime is not None:
            runtime.engine_host_code_allowed = False
            if (engine := runtime.deserialize_cuda_engine(data)) is not None:
                return engine
        raise EngineError(f"{self.name} cannot load engine {record.folder}: {log.last}; rebuild with: {record.rebuild}")

    def _graph(self, ingredients: Ingredients) -> bytes:
        if _by_modelopt(ingredients):
            from workers.engines import modelopt  # noqa: PLC0415 - likewise

            return modelopt.quantised(ingredients)
        if ingredients.precision == "int8":
            from workers.engines.int8 import quantised  # noqa: PLC0415 - only int8 needs it

            return quantised(ingredients, symmetric=True)
        if ingredients.precision == "bf16":
            return ingredients.onnx_bfloat16
        return ingredients.onnx if ingredients.precision == "fp32" else ingredients.onnx_half

    def _parse(self, network: Any, onnx: bytes, log: Any) -> None:  # noqa: ANN401 - a runtime's own objects
        parser = self.trt.OnnxParser(network, log)
        if not parser.parse(onnx):
            errors = "; ".join(str(parser.get_error(index)).strip() for index in range(parser.num_errors))
            raise EngineError(f"{self.name} cannot parse the model: {errors or log.last}")

    def _bound_to(self, wanted: GpuBuild) -> Gpu:
        """What a plan will be bound to."""
        if wanted.capabilities and not self.is_rtx:
            raise EngineError(f"{self.name} builds for the GPU of this machine alone, not for {wanted.capabilities}")
        if wanted.capabilities:
            return Gpu(name=None, compute_capabilities=wanted.capabilities)
        present = present_gpu()
        if present is None:
            way_out = "; name the compute capabilities to build for" if self.is_rtx else ""
            raise EngineError(f"{self.name} builds for the GPU of this machine, and there is none{way_out}")
        name, capability = present
        if self.is_rtx or wanted.compatibility == "same_compute_capability":
            return Gpu(name=None, compute_capabilities=(capability,))
        if wanted.compatibility == "ampere_plus":
            return Gpu(name=None, compute_capabilities=(_AMPERE,), and_newer=True)
        return Gpu(name=name, compute_capabilities=(capability,))

    def _choose_gpus(self, config: Any, wanted: GpuBuild) -> None:  # noqa: ANN401 - a runtime's own object
        if not self.is_rtx:
            level = getattr(self.trt.HardwareCompatibilityLevel, wanted.compatibility.upper())
            config.hardware_compatibility_level = level
            return
        names = [f"SM{capability.replace('.', '')}" for capability in wanted.capabilities] or ["CURRENT"]
        known = [name for name in self.trt.ComputeCapability.__members__ if name.startswith("SM")]
        if unknown := [name for name in names if name not in (*known, "CURRENT")]:
            raise EngineError(f"{self.name} {self.version()} builds for {', '.join(known)}, not {', '.join(unknown)}")
        config.num_compute_capabilities = len(names)
        for index, name in enumerate(names):
            config.set_compute_capability(self.trt.ComputeCapability.__members__[name], index)

    @contextlib.contextmanager
    def _timed(self, config: Any, timings: Timings | None) -> Iterator[None]:  # noqa: ANN401 - a runtime's own object
        """Build with the timings of earlier builds on such a GPU, and keep what this one adds.

        They make later builds faster, and alike: a kernel that wins by a hair wins again. The product for RTX times
        kernels when it loads a plan, not when it builds one.
        """
        present = present_gpu()
        if timings is None or self.is_rtx or present is None:
            yield
            return
        kind = f"tensorrt-{self.version()}-{present[0]}"
        cache = config.create_timing_cache(timings.read(kind))
        if cache is None:  # Damaged: it is a cache, start afresh.
            cache = config.create_timing_cache(b"")
        config.set_timing_cache(cache, ignore_mismatch=False)
        yield
        timings.keep(kind, bytes(cache.serialize()))


class TensorRtEngine(Engine):
    """A plan on the first GPU. Inputs and outputs are tensors of torch.

    Whole production batches go through the lanes in turn: while one computes, the next takes its images. Every other
    number of images goes through a context of its own.
    """

    device: Literal["cpu", "cuda"] = "cuda"

    def __init__(self, product: Product, record: EngineRecord, data: bytes) -> None:
        self.record = record
        trt = product.trt
        engine = product.deserialised(record, data)
        inputs, outputs = _specs(trt, engine)
        check_signature(record, inputs, outputs)
        bound = record.gpu or Gpu(name=None, compute_capabilities=())
        self._production = int(engine.get_tensor_profile_shape(INPUT, 0)[2][0])
        self._lanes = [Lane(record, product.context(engine, bound), 0) for _ in range(bound.contexts)]
        last = engine.num_optimization_profiles - 1
        self._tail = Lane(record, engine.create_execution_context(), last) if last else self._lanes[0]
        if bound.cuda_graphs:
            for lane in self._lanes:
                lane.settle(self._production, capture=not product.is_rtx)

    @override
    def infer(self, images_BHWC: NDArray[np.uint8]) -> EngineOutput:
        check_images(self.record, images_BHWC)
        images = torch.from_numpy(np.ascontiguousarray(images_BHWC))
        return as_output({name: tensor.cpu().numpy() for name, tensor in self.infer_tensor(images).items()})

    def infer_tensor(self, images: torch.Tensor) -> dict[str, torch.Tensor]:
        """Score a batch. What is on the GPU already is read where it lies, unless a CUDA graph has its own place.

        Args:
            images: As ``infer``, contiguous.

        Returns:
            The outputs by name, on the GPU. They are complete: the streams were waited for.

        Raises:
            EngineError: If it is closed, or fails.
        """
        if not self._lanes:
            raise EngineError(f"engine {self.record.folder} is closed")
        chunks = torch.split(images, self._production)
        try:
            found = [self._lane(index, len(chunk)).run(chunk) for index, chunk in enumerate(chunks)]
        except RuntimeError as error:  # Of torch, as when memory is short.
            raise EngineError(f"engine {self.record.folder} failed on {len(images)} images: {error}") from error
        finally:  # Of a batch that fails as well: its other parts still write.
            for lane in (*self._lanes, self._tail):
                lane.stream.synchronize()
        return {name: torch.cat([outputs[name] for outputs in found]) for name in found[0]}

    @override
    def close(self) -> None:
        self._lanes.clear()
        self._tail.close()

    def _lane(self, index: int, images: int) -> Lane:
        return self._lanes[index % len(self._lanes)] if images == self._production else self._tail


def _refuse_without_fp8(gpu: Gpu) -> None:
    """Before the minutes of quantising, not after."""
    if old := [each for each in gpu.compute_capabilities if numbers(each) < numbers(_ADA)]:
        raise EngineError(f"fp8 needs GPUs of compute capability {_ADA} or newer, not {', '.join(old)}; take int8")


def _by_modelopt(ingredients: Ingredients) -> bool:
    return ingredients.precision == "fp8" or (ingredients.precision == "int8" and ingredients.gpu.modelopt is not None)


def _way(ingredients: Ingredients) -> dict[str, Any]:
    """How the engine is made and will run, as fields of ``Gpu``."""
    wanted = ingredients.gpu
    return {
        "batch": wanted.batch,
        "contexts": wanted.contexts,
        "cuda_graphs": wanted.cuda_graphs,
        "modelopt": _by_modelopt(ingredients),
    }


def profiles(batch: int) -> list[tuple[int, int, int]]:
    """Smallest, best and largest number of images for each profile: the production batch alone, then the tail."""
    tail = (1, max(1, batch // _TAIL), batch)
    return [(batch, batch, batch), tail] if batch > 1 else [tail]


def _specs(trt: Any, engine: Any) -> tuple[list[TensorSpec], list[TensorSpec]]:  # noqa: ANN401 - a runtime's objects
    """Inputs and outputs of an engine. The order is the record's business: addresses are set by name."""
    found: dict[Any, list[TensorSpec]] = {trt.TensorIOMode.INPUT: [], trt.TensorIOMode.OUTPUT: []}
    for name in (engine.get_tensor_name(index) for index in range(engine.num_io_tensors)):
        dtype = {"UINT8": "uint8", "FLOAT": "float32"}.get(engine.get_tensor_dtype(name).name, "another")
        shape = tuple(None if axis < 0 else int(axis) for axis in engine.get_tensor_shape(name))
        spec = TensorSpec.model_construct(name=name, dtype=dtype, shape=shape)  # type: ignore[arg-type]
        found[engine.get_tensor_mode(name)].append(spec)
    return found[trt.TensorIOMode.INPUT], found[trt.TensorIOMode.OUTPUT]


def _log(trt: Any) -> Any:  # noqa: ANN401 - a class that exists only with the module
    """A logger that keeps what the runtime complains about, for the error's message."""

    class Log(trt.ILogger):  # type: ignore[misc]
        def __init__(self) -> None:
            super().__init__()
            self.complaints: list[str] = []

        def log(self, severity: Any, message: str) -> None:  # noqa: ANN401
            if severity in (trt.ILogger.Severity.ERROR, trt.ILogger.Severity.INTERNAL_ERROR):
                self.complaints.append(" ".join(message.split()))

        @property
        def last(self) -> str:
            return "; ".join(self.complaints[-3:]) or "it does not say why"

    return Log()


_FULL = Product("TensorRT", "tensorrt")
version, precisions, build, open = _FULL.version, _FULL.precisions, _FULL.build, _FULL.open  # noqa: A001 - engines.open
