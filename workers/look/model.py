"""Any registered model, ready to look: its fastest engine that fits this machine, or the model itself."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from lga_model.calibration import Calibration
from workers.engines import Engine, EngineOutput, best_engine, open_engine
from workers.errors import SettingsError
from workers.registry import Registry, Version


@dataclass(frozen=True, kw_only=True)
class Looker:
    """An opened model."""

    runtime: str
    """What computes, for people."""
    classes: tuple[str, ...]
    size_px: int
    calibration: Calibration
    infer: Callable[[NDArray[np.uint8]], EngineOutput]
    """Scores RGB uint8 images ``[B, size_px, size_px, 3]``."""


@contextmanager
def opened(registry: Registry, version: Version, wanted: str) -> Iterator[Looker]:
    """Open a version for looking.

    Args:
        registry: Where it lies.
        version: Which.
        wanted: A target, or ``best``; only ``best`` falls back to the model itself, which takes seconds to load.

    Raises:
        SettingsError: If the engine that was asked for does not fit this machine.
        EngineError: If it cannot be opened.
    """
    records = registry.engines(version)
    try:
        record = best_engine(records, wanted)
    except SettingsError:
        if wanted != "best":
            raise
        yield _model_itself(registry, version)
        return
    engine: Engine = open_engine(registry.fetch_engine(version, record))
    try:
        yield Looker(
            runtime=f"{record.target} {record.precision} on {engine.device}",
            classes=record.classes,
            size_px=record.size_px,
            calibration=record.calibration,
            infer=engine.infer,
        )
    finally:
        engine.close()


def _model_itself(registry: Registry, version: Version) -> Looker:
    from workers.engines.torch import load_graph, run_graph  # noqa: PLC0415 - an engine spares the seconds of torch

    graph, record = load_graph(registry.fetch(version), str(version))
    return Looker(
        runtime="the model itself, torch fp32 on cpu",
        classes=record.config.classes,
        size_px=record.config.image.size_px,
        calibration=record.calibration,
        infer=lambda images_BHWC: run_graph(graph, images_BHWC),
    )
