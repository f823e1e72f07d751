"""Pixels -> rows of the tag table. An actor holds one engine; a batch that it cannot take is tried one by one.

Shape suffixes: B = images, H W = pixels or cells, C = red, green, blue.
"""

from __future__ import annotations

import socket
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from datetime import UTC, datetime

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from workers.engines import Engine, EngineOutput, EngineRecord, open_engine
from workers.engines.golden import golden_images
from workers.errors import ClusterError
from workers.registry import Registry, Version
from workers.tags import Lineage, TagForm, failed, object_schema, rows

OpenEngine = Callable[[int | None], Engine]
"""Opens the engine on the machine where it is called, with so many CPU threads; None leaves it to the runtime.
Travels to the actors."""

LOAD_COLUMNS = (
    "shard", "position", "begun_at",
    "read_bytes", "fetch_s", "fetch_cpu_s", "decode_s", "requests", "throttled_requests",
)  # fmt: skip
STAGE_COLUMNS = (*LOAD_COLUMNS, "predict_s", "predict_cpu_s", "engine_batches")
"""Columns beside those of the tag table: where a row belongs, and what it cost. The committer takes them off."""


class EngineBroken(ClusterError):
    """An engine fails at what it could do before, as after an error that a GPU keeps. In a new process it may work."""

    retryable = True


@dataclass(frozen=True, kw_only=True)
class RegisteredEngine:
    """An engine of a version in a registry."""

    registry: str
    version: Version
    record: EngineRecord

    def __call__(self, threads: int | None) -> Engine:
        """Fetch it unless this machine has it, check its digest, open it."""
        return open_engine(Registry(self.registry).fetch_engine(self.version, self.record), threads)


class Predict:
    """The actor: opens its engine once, then turns tables of pixels into rows.

    Two calls may run at once: while the engine computes one batch, on the one thread that it belongs to, the other
    call unpacks the next batch or makes rows of the last one.
    """

    def __init__(self, opener: OpenEngine, form: TagForm, lineage: Lineage, threads: int | None = None) -> None:
        self._thread = ThreadPoolExecutor(1, thread_name_prefix="engine")
        self._engine = self._thread.submit(opener, threads).result()
        self._form, self._lineage = form, lineage

    def __call__(self, batch: pa.Table) -> pa.Table:
        """Score the images of a batch.

        Args:
            batch: Rows of ``pixel_schema``.

        Returns:
            One row for each, in the same order: the tag table's columns and ``STAGE_COLUMNS``.

        Raises:
            EngineBroken: As ``infer_each``.
        """
        record = self._engine.record
        objects = batch.select(object_schema().names).cast(object_schema())
        is_ok = np.asarray(objects["status"]) == "ok"
        images_BHWC = _pixels(batch, is_ok, record.size_px)
        output, errors, wall_s, cpu_s = self._thread.submit(_timed, self._engine, images_BHWC).result()
        if errors:
            broken = np.zeros(len(is_ok), dtype=bool)
            broken[np.flatnonzero(is_ok)[list(errors)]] = True
            objects = failed(objects, broken, "engine_error", list(errors.values()))
        table = rows(objects, output, self._form, record.calibration, self._lineage, datetime.now(UTC))
        for name in LOAD_COLUMNS:
            table = table.append_column(name, batch[name])
        share = is_ok / max(1, int(is_ok.sum()))
        for name, amount in (("predict_s", wall_s), ("predict_cpu_s", cpu_s), ("engine_batches", 1.0)):
            table = table.append_column(name, pa.array(amount * share, pa.float32()))
        return table


def _timed(engine: Engine, images_BHWC: NDArray[np.uint8]) -> tuple[EngineOutput | None, dict[int, str], float, float]:
    """``infer_each``, with the seconds and the CPU seconds of this process that it took."""
    begun, cpu_begun = time.perf_counter(), time.process_time()
    output, errors = infer_each(engine, images_BHWC)
    return output, errors, time.perf_counter() - begun, time.process_time() - cpu_begun


def infer_each(engine: Engine, images_BHWC: NDArray[np.uint8]) -> tuple[EngineOutput | None, dict[int, str]]:
    """Infer a batch, and tell the images that the engine cannot take from the others.

    Returns:
        The output of the good images in their order, None when there is none; and for each other image, by its index in
        rising order, what is wrong.

    Raises:
        EngineBroken: If it can take none of them, and the golden images neither: then the images are not to blame.
    """
    if not len(images_BHWC):
        return None, {}
    output, errors = _tell_apart(engine, images_BHWC)
    if output is None and _tell_apart(engine, golden_images(engine.record.size_px))[0] is None:
        raise EngineBroken(
            f"engine {engine.record.folder} on {socket.gethostname()} fails on every image, its golden ones too: "
            f"{errors[0].splitlines()[0]}; look at that machine (nvidia-smi, dmesg), "
            "then run the same command again to continue"
        )
    return output, errors


def _tell_apart(engine: Engine, images_BHWC: NDArray[np.uint8]) -> tuple[EngineOutput | None, dict[int, str]]:
    """``infer_each``, believing that the engine is well."""
    output, problem = _infer(engine, images_BHWC)
    if output is not None:
        return _finite(output, np.arange(len(images_BHWC)), {})
    if len(images_BHWC) == 1:
        return None, {0: problem}
    outputs: dict[int, EngineOutput] = {}
    errors: dict[int, str] = {}
    for index in range(len(images_BHWC)):
        output, problem = _infer(engine, images_BHWC[index : index + 1])
        if output is None:
            errors[index] = problem
        else:
            outputs[index] = output
    return _finite(_joined(list(outputs.values())), np.array(list(outputs)), errors) if outputs else (None, errors)


def _infer(engine: Engine, images_BHWC: NDArray[np.uint8]) -> tuple[EngineOutput | None, str]:
    """The engine's output, or None and what went wrong."""
    try:
        return engine.infer(images_BHWC), ""
    except Exception as error:  # noqa: BLE001 - a runtime raises what it likes
        return None, f"{type(error).__name__}: {error}"


def _finite(
    output: EngineOutput, index_B: NDArray[np.integer], errors: dict[int, str]
) -> tuple[EngineOutput | None, dict[int, str]]:
    """Take out images for which any number is not finite; they join the errors."""
    finite_B = np.ones(len(index_B), dtype=bool)
    for array in output:
        if array is not None:
            finite_B &= np.isfinite(array.reshape(len(array), -1)).all(axis=1)
    strange = {int(index): "the engine gave a number that is not finite" for index in index_B[~finite_B]}
    errors = dict(sorted((errors | strange).items()))
    if not finite_B.any():
        return None, errors
    probabilities_BA, heatmap_BHW, pam_BHW = output
    heatmap_BHW = None if heatmap_BHW is None else heatmap_BHW[finite_B]
    return EngineOutput(probabilities_BA[finite_B], heatmap_BHW, pam_BHW[finite_B]), errors


def _joined(outputs: list[EngineOutput]) -> EngineOutput:
    heatmaps = [output.heatmap_BHW for output in outputs if output.heatmap_BHW is not None]
    return EngineOutput(
        np.concatenate([output.probabilities_BA for output in outputs]),
        np.concatenate(heatmaps) if heatmaps else None,
        np.concatenate([output.pam_BHW for output in outputs]),
    )


def _pixels(batch: pa.Table, is_ok: NDArray[np.bool_], size_px: int) -> NDArray[np.uint8]:
    """Pixels of the good rows, ``[B, size_px, size_px, 3]``; without a copy when all are good and in one piece."""
    column = batch["pixels"].combine_chunks()
    chunk = column if isinstance(column, pa.FixedSizeListArray) else column.chunk(0)
    images_BHWC: NDArray[np.uint8] = chunk.flatten().to_numpy(zero_copy_only=True).reshape(-1, size_px, size_px, 3)
    return images_BHWC if is_ok.all() else images_BHWC[is_ok]
