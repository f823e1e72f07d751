"""PyTorch: in fp32 the reference that every other engine is compared with, in fp16 a GPU's way without TensorRT.

``engine.bin`` is the ``model.safetensors`` of the version; the record's ``config`` says which network it fits. On a GPU
the network is compiled by ``torch.compile`` when the first batch comes. Threads and TF32 are settings of the whole
process in PyTorch: the last engine that was opened decides.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Literal

import numpy as np
import torch
from numpy.typing import NDArray
from safetensors import SafetensorError
from safetensors.torch import load
from typing_extensions import override

from lga_model.checkpoint import CheckpointError, ModelRecord, check_preprocessing, load_model
from lga_model.export import InferenceGraph
from lga_model.network import build_network
from workers.engines import Engine, EngineError, EngineOutput, EngineRecord
from workers.engines.ingredients import Built, Ingredients
from workers.engines.signature import as_output, check_images, check_signature, signature
from workers.errors import SettingsError
from workers.runtime import keep_freed_memory
from workers.settings.shared import EnginePrecision


def version() -> str:
    """Version of PyTorch, without the build's suffix: the same weights serve CPU and CUDA builds."""
    return str(torch.__version__).partition("+")[0]


def precisions() -> tuple[EnginePrecision, ...]:
    """What it computes in: fp32 everywhere, fp16 on a GPU. CPUs compute fp16 slower than fp32."""
    return ("fp32", "fp16") if torch.cuda.is_available() else ("fp32",)


def build(ingredients: Ingredients) -> Built:
    """The weights are the engine."""
    return Built(ingredients.weights)


def open(record: EngineRecord, data: bytes, threads: int | None) -> TorchEngine:  # noqa: A001 - engines.open
    """Open an engine whose digest was checked; see ``workers.engines.open_engine``."""
    try:
        network = build_network(record.config)
        network.load_state_dict(load(data))
    except (SafetensorError, ValueError, RuntimeError) as error:
        raise EngineError(
            f"PyTorch cannot load engine {record.folder}: {error}; rebuild with: {record.rebuild}"
        ) from error
    return TorchEngine(record, InferenceGraph(network, record.calibration), threads)


class TorchEngine(Engine):
    """An ``InferenceGraph`` in evaluation mode."""

    def __init__(self, record: EngineRecord, graph: InferenceGraph, threads: int | None) -> None:
        self.record = record
        check_signature(record, *signature(graph.network.config, graph.network.feature_size))
        if threads is not None:
            torch.set_num_threads(threads)
        keep_freed_memory()
        torch.backends.cudnn.allow_tf32 = False
        torch.backends.cuda.matmul.allow_tf32 = False
        graph = graph.to(self.device).eval()
        self._run: Callable[[torch.Tensor], tuple[torch.Tensor, ...]] | None = graph
        if self.device == "cuda":
            graph = graph.to(memory_format=torch.channels_last)
            # The tail of a run is a smaller batch: one compilation serves every size.
            self._run = torch.compile(graph.half() if record.precision == "fp16" else graph, dynamic=True)
        self._names = graph.output_names

    @property
    @override
    def device(self) -> Literal["cpu", "cuda"]:
        return "cuda" if torch.cuda.is_available() else "cpu"

    @override
    def infer(self, images_BHWC: NDArray[np.uint8]) -> EngineOutput:
        check_images(self.record, images_BHWC)
        if self._run is None:
            raise EngineError(f"engine {self.record.folder} is closed")
        try:
            return _output(self._run, self._names, images_BHWC, self.device)
        except RuntimeError as error:
            raise EngineError(f"engine {self.record.folder} failed on {len(images_BHWC)} images: {error}") from error

    @override
    def close(self) -> None:
        self._run = None


def load_graph(bundle: Path, model: str) -> tuple[InferenceGraph, ModelRecord]:
    """Load a fetched model, on the CPU: what every engine made from it has to compute.

    Args:
        bundle: As ``Registry.fetch`` returns it.
        model: What to call it in messages.

    Raises:
        SettingsError: If this release cannot read the model, or would prepare its photographs in another way.
    """
    try:
        network, record = load_model(bundle)
        check_preprocessing(record)
    except CheckpointError as error:
        raise SettingsError(f"model {model} cannot be loaded: {error}") from error
    return InferenceGraph(network, record.calibration), record


def run_graph(graph: InferenceGraph, images_BHWC: NDArray[np.uint8]) -> EngineOutput:
    """Score a batch, where the graph's weights are. The definition of what every engine has to say."""
    return _output(graph, graph.output_names, images_BHWC, graph.network.scale_C.device)


def _output(
    run: Callable[[torch.Tensor], tuple[torch.Tensor, ...]],
    names: Sequence[str],
    images_BHWC: NDArray[np.uint8],
    device: torch.device | str,
) -> EngineOutput:
    # A copy: PyTorch knows no read-only tensors, and arrays out of Ray's object store are read-only.
    images = torch.tensor(images_BHWC, device=device)
    with torch.inference_mode():
        tensors = run(images)
    return as_output({name: tensor.float().cpu().numpy() for name, tensor in zip(names, tensors, strict=True)})
