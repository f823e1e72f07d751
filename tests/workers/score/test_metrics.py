"""What a run's shards add up to in its metrics."""

from __future__ import annotations

import dataclasses
from datetime import UTC, datetime

import numpy as np
from prometheus_client import generate_latest

from lga_model.drift import Distribution, Drift
from workers.runs.quality import Quality
from workers.runs.record import RunRecord, Work
from workers.score.commit import Committed
from workers.score.metrics import ScoreMetrics
from workers.settings import MetricsSettings


def committed(shard: int) -> Committed:
    """Seven images in two batches, one of them fetched at the second try; an eighth object was missing."""
    work = Work(images=8, requests=8, throttled_requests=1, engine_batches=2.0)
    none = np.zeros(0, np.float32)
    return Committed(
        shard=shard, rows=8, reasons={"missing": 1}, size_bytes=100, work=work, confidence=none, focus=none, labels={}
    )


def figures(metrics: ScoreMetrics) -> dict[str, float]:
    lines = generate_latest(metrics.registry).decode().splitlines()
    return {name: float(value) for name, _, value in (line.rpartition(" ") for line in lines if line[0] != "#")}


def growth(metrics: ScoreMetrics, *shards: int) -> list[float]:
    """What the figures of a run grow by: images, batches, requests that were answered and that were not."""
    names = (
        'lga_score_images_total{status="ok"}',
        "lga_score_engine_batches_total",
        'lga_storage_requests_total{operation="get",outcome="answered"}',
        'lga_storage_requests_total{operation="get",outcome="throttled"}',
    )
    before = figures(metrics)
    for shard in shards:
        metrics.count(committed(shard))
    after = figures(metrics)
    return [after[name] - before[name] for name in names]


def test_a_shard_counts_once_in_each_run():
    """
    A report that comes twice adds nothing; the same number in the next run, as in `lga shadow`, is another shard.
    """
    metrics = ScoreMetrics()
    metrics.show_run("one", "m:1")

    assert [14, 4, 16, 2] == growth(metrics, 0, 1, 0)
    metrics.show_run("two", "m:2")
    assert [7, 2, 8, 1] == growth(metrics, 0)


def test_drift_is_that_of_the_whole_run():
    """
    Of every output, labels as well, whichever attempt wrote the shards.
    """
    metrics = ScoreMetrics()
    reference = Distribution(confidence=(0,) * 9 + (400,), classes={"climbing": 200, "cooking": 200})
    metrics.expect(reference)
    sure = np.full(200, 0.95, np.float32)
    metrics.count(dataclasses.replace(committed(0), confidence=sure, labels={"cooking": 200}))
    live = figures(metrics)
    drift = Drift(confidence=0.5, focus=None, classes=0.75)
    metrics.show_record(record(Quality(distribution=reference, drift=drift, prefixes={})))
    metrics.last_run.end("score", MetricsSettings(), 0, 1.0)
    left = generate_latest(metrics.last_run.registry).decode()

    assert 0 == live['lga_score_drift_psi{output="confidence"}']
    assert live['lga_score_drift_psi{output="classes"}'] > 1
    for output, index in (("confidence", 0.5), ("classes", 0.75)):
        assert f'drift_psi{{command="score",output="{output}",pipeline="default"}} {index}' in left


def record(quality: Quality) -> RunRecord:
    return RunRecord(
        run_id="r", state="finished", input="s3://b", model="people", version=7, engine="cafe", target="onnxruntime",
        precision="fp32", preprocessing="p", settings={}, started_at=datetime(2026, 1, 2, tzinfo=UTC), quality=quality,
    )  # fmt: skip


def test_the_cost_is_price_times_time(monkeypatch):
    """
    Half an hour at 3 an hour, seen several times, is 1.5; without a price nothing is claimed.
    """
    clock = iter([0.0, 0.0, 600.0, 1800.0])
    monkeypatch.setattr("workers.score.metrics.time.monotonic", lambda: next(clock))
    free, paid = ScoreMetrics(), ScoreMetrics()
    paid.show_price(3.0)
    for metrics in (free, paid, paid):
        metrics._charge()

    assert 1.5 == figures(paid)["lga_score_cost_total"]
    assert 0 == figures(free)["lga_score_cost_total"]
