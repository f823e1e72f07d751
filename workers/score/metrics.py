"""What Prometheus sees of a scoring run (DESIGN 3.5)."""

from __future__ import annotations

from prometheus_client import Counter, Gauge, Histogram

from lga_model.drift import Distribution, drift
from workers.metrics import JobMetrics
from workers.runs.plan import Plan
from workers.score.commit import Committed
from workers.tags import REASONS

_SHARES = tuple(step / 10 for step in range(1, 11))
_STAGES = ("fetch", "decode", "predict", "commit")


class ScoreMetrics(JobMetrics):
    """Counters of this attempt, and gauges of the whole run that are read from the ledger."""

    def __init__(self, reference: Distribution | None = None) -> None:
        """Args: reference: What the model said about its validation photographs; without it there is no drift."""
        super().__init__()
        self._reference, self._seen = reference, Distribution()
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
        # A series that appears with its first failure has no increase that an alert could see.
        for status in ("ok", "failed"):
            self._images.labels(status)
        for reason in REASONS:
            self._failures.labels(reason)
        for stage in _STAGES:
            self._stages.labels(stage)

    def show_ledger(self, plan: Plan, written: int) -> None:
        """Set the gauges.

        Args:
            plan: The run's plan.
            written: Rows in shards that are there, whoever wrote them.
        """
        states = {"listed": plan.listed, "skipped": plan.skipped, "written": written, "pending": plan.rows - written}
        for state, objects in states.items():
            self._objects.labels(state).set(objects)

    def count(self, committed: Committed) -> None:
        """Count a shard that this attempt wrote; once, however often it is reported."""
        if committed.size_bytes is None or not self.first_report(f"shard-{committed.shard}"):
            return
        failures = sum(committed.reasons.values())
        self._images.labels("ok").inc(committed.rows - failures)
        self._images.labels("failed").inc(failures)
        for reason, objects in committed.reasons.items():
            self._failures.labels(reason).inc(objects)
        self._shards.inc()
        self._bytes.inc(committed.work.read_bytes)
        self._written.inc(committed.size_bytes)
        for stage in _STAGES:
            self._stages.labels(stage).inc(getattr(committed.work, f"{stage}_s"))
        for confidence in committed.confidence:
            self._confidence.observe(confidence)
        for focus in committed.focus:
            self._focus.observe(focus)
        if self._reference is not None:
            self._show_drift(self._reference, Distribution.of(committed.confidence, committed.focus, ()))

    def _show_drift(self, reference: Distribution, shard: Distribution) -> None:
        self._seen += shard
        found = drift(reference, self._seen)
        for output, index in (("confidence", found.confidence), ("focus", found.focus)):
            if index is not None:
                self._drift.labels(output).set(index)
