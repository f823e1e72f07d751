"""Prometheus metrics of a training: how far, how well, and whether it waits for data."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from prometheus_client import Counter, Gauge

from workers.metrics import JobMetrics
from workers.storage.requests import REQUESTS

if TYPE_CHECKING:
    from workers.train.monitor import Work


class TrainMetrics(JobMetrics):
    """Counters over all workers, and gauges of the newest epoch."""

    def __init__(self) -> None:
        super().__init__()
        self.registry.register(REQUESTS)
        self.images = Counter("lga_train_images", "Images trained on, repeats included.", registry=self.registry)
        self.steps = Counter("lga_train_steps", "Steps of all workers.", registry=self.registry)
        self.step_seconds = Counter(
            "lga_train_step_seconds", "Seconds that workers computed steps.", registry=self.registry
        )
        self.data_wait_seconds = Counter(
            "lga_train_data_wait_seconds", "Seconds that workers waited for a batch.", registry=self.registry
        )
        self.loss = Gauge("lga_train_loss", "Mean loss of the latest steps.", ["term"], registry=self.registry)
        self.learning_rate = Gauge("lga_train_learning_rate", "Learning rate of the branches.", registry=self.registry)
        self.epochs = Gauge("lga_train_epochs", "Epochs that the run is to make.", registry=self.registry)
        self.epoch = Gauge("lga_train_epoch", "Finished epochs.", registry=self.registry)
        self.map = Gauge("lga_train_map", "Validation mAP of the latest epoch.", registry=self.registry)
        self.focus = Gauge("lga_train_focus", "Validation focus in the true boxes.", registry=self.registry)
        self.restarts = Counter(
            "lga_train_restarts", "Times that lost workers were started again.", registry=self.registry
        )
        self.checkpoint_time = Gauge(
            "lga_train_checkpoint_timestamp_seconds", "When the newest checkpoint was safe.", registry=self.registry
        )
        self.gate_decisions = Counter(
            "lga_train_gate_decisions", "What the gate said.", ["decision"], registry=self.registry
        )

    def record_work(self, work: Work) -> None:
        """Count some steps, at least one."""
        self.images.inc(work.images)
        self.steps.inc(work.steps)
        self.step_seconds.inc(work.step_s)
        self.data_wait_seconds.inc(work.data_wait_s)
        for term, total in (("total", work.loss), ("classification", work.classification), ("mask", work.mask)):
            self.loss.labels(term=term).set(total / work.steps)
        self.learning_rate.set(work.learning_rate)

    def record_gate(self, passed: bool) -> None:
        """Count a decision of the gate."""
        self.gate_decisions.labels(decision="passed" if passed else "refused").inc()

    def record_epoch(self, figures: dict[str, Any]) -> None:
        """Show the figures of an epoch that finished."""
        self.epoch.set(figures["epoch"])
        self.map.set(figures["map"])
        if figures["focus"] is not None:
            self.focus.set(figures["focus"])
