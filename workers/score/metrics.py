"""What Prometheus sees of a scoring run (DESIGN 3.5)."""

from __future__ import annotations

import math
import time
from dataclasses import asdict
from datetime import datetime

from prometheus_client import Counter, Gauge, Histogram
from typing_extensions import override

from lga_model.drift import Distribution, drift_beyond_chance
from workers.engines import EngineRecord
from workers.metrics import JobMetrics
from workers.runs.plan import Plan
from workers.runs.record import RunRecord
from workers.score.commit import Committed
from workers.storage.requests import REQUESTS, count_request
from workers.tags import REASONS

_SHARES = tuple(step / 10 for step in range(1, 11))
_STAGES = ("fetch", "decode", "predict", "commit")


class ScoreMetrics(JobMetrics):
    """Counters of this attempt, and gauges of the whole run that are read from the ledger."""

    def __init__(self) -> None:
        super().__init__()
        self._reference: Distribution | None = None
        self._seen = Distribution()
        self._images = Counter("lga_score_images", "Objects scored.", ["status"], registry=self.registry)
        self._failures = Counter("lga_score_failures", "Objects that failed.", ["reason"], registry=self.registry)
        self._shards = Counter("lga_score_shards_committed", "Shards written.", registry=self.registry)
        self._bytes = Counter("lga_score_read_bytes", "Bytes of photographs read.", registry=self.registry)
        self._written = Counter("lga_score_written_bytes", "Bytes of shards written.", registry=self.registry)
        self._stages = Counter(
            "lga_score_stage_seconds", "Seconds in a stage, over all workers.", ["stage"], registry=self.registry
        )
        self._objects = Gauge(
            "lga_score_objects", "Objects of the run: listed = skipped + written + pending.", ["state"],
            registry=self.registry,
        )  # fmt: skip
        self._confidence = Histogram(
            "lga_score_confidence", "Probability of the label.", buckets=_SHARES, registry=self.registry
        )
        self._focus = Histogram(
            "lga_score_focus", "Share of the evidence that lies on the person.", buckets=_SHARES, registry=self.registry
        )
        self._drift = Gauge(
            "lga_score_drift_psi", "Population stability index against the model's validation photographs.", ["output"],
            registry=self.registry,
        )  # fmt: skip
        self._labels = Counter(
            "lga_score_labels", "Objects by label; the labels are the model's classes.", ["label"],
            registry=self.registry,
        )  # fmt: skip
        self._engines = Gauge("lga_score_engines", "Engines at work.", ["device"], registry=self.registry)
        self._batch_size = Gauge(
            "lga_score_batch_size", "Images that one engine call may take.", registry=self.registry
        )
        self._batches = Counter(
            "lga_score_engine_batches", "Engine calls; images per call, of the batch size, is how full batches are.",
            registry=self.registry,
        )  # fmt: skip
        self._remaining = Gauge(
            "lga_score_remaining_seconds", "Until the last shard, at this attempt's rate so far; NaN before the first.",
            registry=self.registry,
        )  # fmt: skip
        self._model_created = Gauge(
            "lga_score_model_created_timestamp_seconds", "When the model was published.", registry=self.registry
        )
        self._price = Gauge(
            "lga_score_price_per_hour", "What an hour of the machines costs (--price-per-hour); 0 when nobody said.",
            registry=self.registry,
        )  # fmt: skip
        self._cost = Counter(
            "lga_score_cost", "What this attempt has cost, in the currency of --price-per-hour; 0 without it.",
            registry=self.registry,
        )  # fmt: skip
        self._price_per_hour: float | None = None
        self._spent, self._begun_at = 0.0, time.monotonic()
        self._remaining.set(math.nan)
        self.registry.register(REQUESTS)
        self._run = ""
        self._begun: tuple[float, int] | None = None
        # A series that appears with its first failure has no increase that an alert could see.
        for status in ("ok", "failed"):
            self._images.labels(status)
        for reason in REASONS:
            self._failures.labels(reason)
        for stage in _STAGES:
            self._stages.labels(stage)

    @override
    def show_run(self, run: str, model: str) -> None:
        """Say which run it is. `lga shadow` has two, one after the other."""
        super().show_run(run, model)
        self._run, self._begun, self._seen = run, None, Distribution()

    def expect(self, reference: Distribution | None) -> None:
        """Say what the model said about its validation photographs; without it there is no drift."""
        self._reference = reference

    def show_engine(self, engine: EngineRecord, *, engines: int, device: str, batch_size: int) -> None:
        """Say what scores."""
        self._engines.labels(device).set(engines)
        self._batch_size.set(batch_size)
        for label in engine.classes:
            self._labels.labels(label)

    def show_price(self, price_per_hour: float | None) -> None:
        """Say what the machines cost."""
        self._price_per_hour = price_per_hour
        self._price.set(price_per_hour or 0)

    def _charge(self) -> None:
        """Bring the cost up to now, from the start of the process on: machines cost while engines load, too."""
        if self._price_per_hour is not None:
            spent = self._price_per_hour * (time.monotonic() - self._begun_at) / 3600
            self._cost.inc(spent - self._spent)
            self._spent = spent
            self.last_run.set("cost", spent)

    def show_model_created(self, created: datetime) -> None:
        """Say how old the model is."""
        self._model_created.set(created.timestamp())
        self.last_run.set("model_created_timestamp_seconds", created.timestamp())

    def show_record(self, record: RunRecord) -> None:
        """Keep what the finished run came to."""
        self._charge()
        if account := record.account:
            for state in ("listed", "ok", "failed", "skipped"):
                self.last_run.set("objects", getattr(account, state), state)
            for reason in REASONS:
                self.last_run.set("failures", account.reasons.get(reason, 0), reason)
        if record.attempts:
            self.last_run.set("images_per_second", record.attempts[-1].images_per_s)
        for name, histogram in (("confidence_mean", self._confidence), ("focus_mean", self._focus)):
            self.last_run.set(name, _mean(histogram))
        if record.quality and record.quality.drift:
            # Of all shards, whichever attempt wrote them.
            for output, index in asdict(record.quality.drift).items():
                self.last_run.set("drift_psi", index, output)

    def show_ledger(self, plan: Plan, written: int) -> None:
        """Set the gauges.

        Args:
            plan: The run's plan.
            written: Rows in shards that are there, whoever wrote them.
        """
        states = {"listed": plan.listed, "skipped": plan.skipped, "written": written, "pending": plan.rows - written}
        for state, objects in states.items():
            self._objects.labels(state).set(objects)
        self._charge()
        now = time.monotonic()
        self._begun = self._begun or (now, written)
        since, before = self._begun
        if written > before:
            self._remaining.set((plan.rows - written) * (now - since) / (written - before))

    def count(self, committed: Committed) -> None:
        """Count a shard that this attempt wrote; once, however often it is reported."""
        if committed.size_bytes is None or not self.first_report(f"{self._run}/{committed.shard}"):
            return
        failures = sum(committed.reasons.values())
        self._images.labels("ok").inc(committed.rows - failures)
        self._images.labels("failed").inc(failures)
        for reason, objects in committed.reasons.items():
            self._failures.labels(reason).inc(objects)
        self._shards.inc()
        self._bytes.inc(committed.work.read_bytes)
        self._written.inc(committed.size_bytes)
        # What the driver asked for itself is counted already; this the fetching tasks asked for.
        count_request("get", "answered", committed.work.requests)
        count_request("get", "throttled", committed.work.throttled_requests)
        self._batches.inc(committed.work.engine_batches)
        for label, objects in committed.labels.items():
            self._labels.labels(label).inc(objects)
        for stage in _STAGES:
            self._stages.labels(stage).inc(getattr(committed.work, f"{stage}_s"))
        for confidence in committed.confidence:
            self._confidence.observe(confidence)
        for focus in committed.focus:
            self._focus.observe(focus)
        if self._reference is not None:
            self._show_drift(self._reference, Distribution.of(committed.confidence, committed.focus, committed.labels))

    def _show_drift(self, reference: Distribution, shard: Distribution) -> None:
        self._seen += shard
        found = drift_beyond_chance(reference, self._seen)
        for output, index in asdict(found).items():
            if index is not None:
                self._drift.labels(output).set(index)


def _mean(histogram: Histogram) -> float | None:
    """Mean of everything observed; None when there was nothing."""
    samples = {
        sample.name.rpartition("_")[2]: sample.value for metric in histogram.collect() for sample in metric.samples
    }
    return samples["sum"] / samples["count"] if samples["count"] else None
