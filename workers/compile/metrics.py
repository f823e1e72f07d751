"""Prometheus metrics of a compilation: how long each step took, and how far the engine is from its model."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Iterator
from typing import Literal

from prometheus_client import Counter, Gauge

from workers.engines import Parity
from workers.metrics import JobMetrics
from workers.storage.requests import REQUESTS

_STAGES = ("build", "parity")


class CompileMetrics(JobMetrics):
    """Times and differences of one engine."""

    def __init__(self) -> None:
        super().__init__()
        self.registry.register(REQUESTS)
        self._stages = Counter(
            "lga_compile_stage_seconds", "Seconds in a step of the compilation.", ["stage"], registry=self.registry
        )
        self._images = Gauge(
            "lga_compile_parity_images", "Photographs that engine and model were compared on.", registry=self.registry
        )
        self._agreement = Gauge(
            "lga_compile_parity_top1_agreement_ratio", "Share of photographs with the same label.",
            registry=self.registry,
        )  # fmt: skip
        self._difference = Gauge(
            "lga_compile_parity_max_difference", "Largest difference between engine and model, by output.", ["output"],
            registry=self.registry,
        )  # fmt: skip
        for stage in _STAGES:
            self._stages.labels(stage)

    @contextlib.contextmanager
    def timed(self, stage: Literal["build", "parity"]) -> Iterator[None]:
        """Count the seconds of the block."""
        begun = time.perf_counter()
        try:
            yield
        finally:
            self._stages.labels(stage).inc(time.perf_counter() - begun)

    def show_parity(self, parity: Parity) -> None:
        """Show what was measured, whether or not it is good enough."""
        self._images.set(parity.images)
        self._agreement.set(parity.top1_agreement)
        for output, difference in (
            ("probability", parity.max_probability_difference),
            ("heatmap", parity.max_heatmap_difference),
            ("pam", parity.max_pam_difference),
        ):
            if difference is not None:
                self._difference.labels(output).set(difference)
        self.last_run.set("parity_top1_agreement", parity.top1_agreement)
