"""How a batch goes through a plan of TensorRT: a context, its stream, and a CUDA graph if that was asked for."""

from __future__ import annotations

from typing import Any

import torch

from lga_model.export import INPUT
from workers.engines.record import EngineError, EngineRecord


class Lane:
    """An execution context with a stream of its own. Runs of one lane follow each other, those of two overlap."""

    def __init__(self, record: EngineRecord, context: Any, profile: int) -> None:  # noqa: ANN401 - a runtime's own object
        self._record = record
        self.stream = torch.cuda.Stream()  # type: ignore[no-untyped-call]
        self._context = context
        if self._context is None or not self._context.set_optimization_profile_async(profile, self.stream.cuda_stream):
            raise EngineError(f"engine {record.folder} gets no context on this GPU (memory?)")
        self.stream.synchronize()
        self._graph: torch.cuda.CUDAGraph | None = None
        self._place: dict[str, torch.Tensor] = {}
        """What a graph reads and writes, by tensor; empty where there is none."""

    def settle(self, images: int, *, capture: bool) -> None:
        """Give batches of this size a place that stays: a graph holds addresses.

        Images and outputs are copied to and from it; on the GPU that costs microseconds.

        Args:
            images: In a batch.
            capture: Record its kernels once, so that from then on a single call starts them together. The product for
                RTX does that itself, when it has chosen its kernels.

        Raises:
            EngineError: If the batch fails, or cannot be recorded.
        """
        try:
            self._settle(images, capture=capture)
        except RuntimeError as error:  # Of torch: no memory, or something in the batch that no graph can hold.
            raise EngineError(
                f"engine {self._record.folder} cannot keep a CUDA graph of {images} images on this GPU ({error}); "
                "compile it without --cuda-graphs, or for a smaller --engine-batch"
            ) from error

    def _settle(self, images: int, *, capture: bool) -> None:
        size_px = self._record.size_px
        photographs = torch.zeros(images, size_px, size_px, 3, dtype=torch.uint8, device="cuda")
        self._place = {INPUT: photographs, **self._poisoned(images)}
        torch.cuda.synchronize()
        self._launch(self._place)  # The first run of a shape allocates, which no graph may.
        self.stream.synchronize()
        if not capture:
            return
        graph = torch.cuda.CUDAGraph()
        # Other threads of an actor may use the GPU meanwhile.
        with torch.cuda.graph(graph, stream=self.stream, capture_error_mode="thread_local"):
            self._launch(self._place)
        self._graph = graph

    def run(self, images: torch.Tensor) -> dict[str, torch.Tensor]:
        """Put one batch on its way. The outputs are complete when ``stream`` was waited for."""
        outputs = self._poisoned(len(images))
        self.stream.wait_stream(torch.cuda.current_stream())
        with torch.cuda.stream(self.stream):
            if not self._place:
                self._launch({INPUT: images.cuda(non_blocking=True), **outputs})
                return outputs
            for name, source in {INPUT: images, **outputs}.items():
                self._place[name].copy_(source, non_blocking=True)  # The poison as well.
            if self._graph is None:
                self._launch(self._place)
            else:
                self._graph.replay()
            for name, tensor in outputs.items():
                tensor.copy_(self._place[name], non_blocking=True)
        return outputs

    def close(self) -> None:
        """Give the memory back."""
        self._context, self._graph = None, None
        self._place.clear()

    def _launch(self, tensors: dict[str, torch.Tensor]) -> None:
        context, images = self._context, tensors[INPUT]
        if context is None:
            raise EngineError(f"engine {self._record.folder} is closed")
        good = context.set_input_shape(INPUT, tuple(images.shape))
        for name, tensor in tensors.items():
            good = good and context.set_tensor_address(name, tensor.data_ptr())
        if not good or not context.execute_async_v3(self.stream.cuda_stream):
            raise EngineError(f"engine {self._record.folder} failed on {len(images)} images")

    def _poisoned(self, images: int) -> dict[str, torch.Tensor]:
        """Outputs full of NaN: what the plan forgets to write is seen."""
        return {
            spec.name: torch.full((images, *spec.shape[1:]), torch.nan, device="cuda")  # type: ignore[arg-type]
            for spec in self._record.outputs
        }
