"""Runtimes behind one protocol: photographs in; probabilities, heatmap and PAM out.

One file for each backend, imported only when an engine of its kind is opened. An engine belongs to the thread or actor
that opened it: open one for each. The number of images may change from call to call, as it does with the last batch.

Shape suffixes: B = images, A = action classes, H W = pixels or cells, C = RGB.
"""

from __future__ import annotations

import hashlib
import importlib
from collections.abc import Sequence
from pathlib import Path
from types import ModuleType
from typing import Literal, Protocol

import numpy as np
from numpy.typing import NDArray

from lga_model.images import PREPROCESSING
from workers.engines.golden import check_golden, golden_images
from workers.engines.gpu import gpu_misfit, present_gpu
from workers.engines.output import EngineOutput
from workers.engines.record import (
    ENGINE_FILE,
    RECORD_FILE,
    EngineError,
    EngineRecord,
    Gpu,
    Parity,
    TensorSpec,
)
from workers.errors import SettingsError
from workers.settings.shared import EnginePrecision, Target

__all__ = [
    "ENGINE_FILE",
    "FASTEST_FIRST",
    "LIGHTEST_FIRST",
    "RECORD_FILE",
    "Engine",
    "EngineError",
    "EngineOutput",
    "EnginePrecision",
    "EngineRecord",
    "Gpu",
    "Parity",
    "Target",
    "TensorSpec",
    "backend",
    "best_engine",
    "fastest_target",
    "open_engine",
    "target_of",
    "targets_for",
    "unfit",
]

FASTEST_FIRST: tuple[Target, ...] = ("tensorrt", "tensorrt-rtx", "openvino", "onnxruntime", "torch")
"""Targets in the order in which ``best`` prefers them."""
LIGHTEST_FIRST: tuple[EnginePrecision, ...] = ("int8", "fp8", "fp16", "bf16", "fp32")
"""Precisions in the order in which ``best`` prefers them within a target."""


class Engine(Protocol):
    """An opened engine. Not to be shared between threads."""

    record: EngineRecord

    @property
    def device(self) -> Literal["cpu", "cuda"]:
        """What it runs on."""

    def infer(self, images_BHWC: NDArray[np.uint8]) -> EngineOutput:
        """Score a batch.

        Args:
            images_BHWC: RGB, uint8, ``[B, size_px, size_px, 3]``, B >= 1 and free.

        Raises:
            EngineError: If the images have another shape or type, or the runtime fails.
        """

    def close(self) -> None:
        """Give back memory and threads. Harmless when repeated."""


def open_engine(folder: Path, threads: int | None = None) -> Engine:
    """Open the engine in a folder that holds ``engine.bin`` and ``engine.json``.

    The bytes are read once, their digest is compared with the record, and those same bytes go to the runtime: what
    was checked is what runs. Then the golden batch of the record is replayed: what the engine said when it was proven,
    it has to say here.

    Args:
        folder: As ``Registry.fetch_engine`` returns it.
        threads: CPU threads for one inference; None leaves the choice to the runtime.

    Raises:
        EngineError: If the engine is damaged, is not what its record says, or does not fit this machine.
    """
    record = EngineRecord.from_json(_read(folder / RECORD_FILE), str(folder / RECORD_FILE))
    data = _read(folder / ENGINE_FILE)
    if hashlib.sha256(data).hexdigest() != record.engine_sha256:
        raise EngineError(
            f"{folder / ENGINE_FILE} is not the file that {RECORD_FILE} names (sha256 differs); "
            f"rebuild with: {record.rebuild}"
        )
    if reason := unfit(record):
        raise EngineError(f"cannot open engine {record.folder}: {reason}; rebuild with: {record.rebuild}")
    engine: Engine = backend(record.target).open(record, data, threads)
    if record.golden is not None:
        try:
            check_golden(record, engine.infer(golden_images(record.size_px)))
        except EngineError:
            engine.close()
            raise
    return engine


def best_engine(records: Sequence[EngineRecord], wanted: str = "best") -> EngineRecord:
    """Choose the engine for this machine: the fastest that fits.

    Args:
        records: The engines of one version, as ``Registry.engines`` returns them.
        wanted: ``best``, a target, or the name of an engine.

    Raises:
        SettingsError: If none fits. Says why, and the command that makes one.
    """
    asked = [record for record in records if wanted in ("best", record.target, record.folder)]
    asked.sort(key=lambda each: (FASTEST_FIRST.index(each.target), LIGHTEST_FIRST.index(each.precision)))
    reasons = []
    for record in asked:
        reason = unfit(record)
        if reason is None:
            return record
        reasons.append(f"{record.folder}: {reason}")
    target = target_of(wanted)
    there_is = "; ".join(reasons) or ", ".join(record.folder for record in records) or "no engine at all"
    model = f"{records[0].model}:{records[0].version}" if records else "MODEL"
    raise SettingsError(
        f"no engine for {wanted!r} fits this machine (there is: {there_is}). "
        f"Make one here: lga compile --model {model} --target {target}"
    )


def unfit(record: EngineRecord) -> str | None:
    """Why this machine cannot run an engine, or None when it can."""
    try:
        runtime = backend(record.target)
        here = runtime.version()
    except ImportError as error:
        return f"{record.target} is not installed here ({error})"
    if record.preprocessing != PREPROCESSING:
        return f"made for photographs prepared as {record.preprocessing!r}, and this release does {PREPROCESSING!r}"
    if here != record.backend_version:
        return f"made for {record.target} {record.backend_version}, and this is {here}"
    if record.precision not in (able := runtime.precisions()):
        return f"{record.target} computes in {', '.join(able)} on this machine, and not in {record.precision}"
    return None if record.gpu is None else gpu_misfit(record.gpu)


def backend(target: Target) -> ModuleType:
    """The module of a target.

    Each has ``version()``, ``precisions()``, which asks this machine, ``build(ingredients)``, which gives a ``Built``,
    and ``open(record, data, threads)``.

    Raises:
        ImportError: If the runtime is not installed.
    """
    return importlib.import_module(f"workers.engines.{target.replace('-', '_')}")


def target_of(wanted: str) -> Target:
    """The target of a choice: of ``best`` the fastest of this machine, of an engine's name its own.

    Raises:
        SettingsError: If it is none of these.
    """
    if wanted == "best":
        return fastest_target()
    # tensorrt-rtx before tensorrt: the one name begins with the other.
    for target in sorted(FASTEST_FIRST, key=len, reverse=True):
        if wanted == target or wanted.startswith(f"{target}-"):
            return target
    raise SettingsError(f"there is no target {wanted!r}; there are: {', '.join(FASTEST_FIRST)}")


def fastest_target() -> Target:
    """The fastest target whose runtime works on this machine."""
    return next(target for target in FASTEST_FIRST if _works(target))


def targets_for(precision: EnginePrecision) -> tuple[Target, ...]:
    """The targets that work on this machine and compute in a precision here."""
    return tuple(target for target in FASTEST_FIRST if _works(target) and precision in backend(target).precisions())


def _works(target: Target) -> bool:
    try:
        backend(target).version()
    except ImportError:
        return False
    return not target.startswith("tensorrt") or present_gpu() is not None


def _read(path: Path) -> bytes:
    try:
        return path.read_bytes()
    except OSError as error:
        raise EngineError(f"cannot read {path}: {error.strerror}; make an engine with `lga compile`") from error
