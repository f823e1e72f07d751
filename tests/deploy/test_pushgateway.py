"""The outcome of runs on a real Pushgateway."""

from __future__ import annotations

import urllib.request

import pytest
from prometheus_client.parser import text_string_to_metric_families

from workers.errors import Refused
from workers.metrics import JobMetrics, published
from workers.settings import MetricsSettings


def outcomes(address: str) -> dict[tuple[str, str, str], float]:
    """Value by name, command and pipeline."""
    with urllib.request.urlopen(f"http://{address}/metrics", timeout=5) as answer:
        families = list(text_string_to_metric_families(answer.read().decode()))
    return {
        (sample.name.removeprefix("lga_last_run_"), sample.labels["command"], sample.labels["pipeline"]): sample.value
        for family in families
        for sample in family.samples
        if sample.name.startswith("lga_last_run_")
    }


def test_each_pipeline_has_its_own_outcome(pushgateway):
    """
    Runs of two pipelines stand side by side; a failure leaves the time of the last success where it was.
    """
    for pipeline in ("nightly", "weekly"):
        with published(JobMetrics(), "train", MetricsSettings(pushgateway=pushgateway, pipeline=pipeline)):
            pass
    before = outcomes(pushgateway)
    nightly = MetricsSettings(pushgateway=pushgateway, pipeline="nightly")
    with pytest.raises(Refused), published(JobMetrics(), "train", nightly):
        raise Refused("not better")
    after = outcomes(pushgateway)

    assert (4, 0) == (after["exit_code", "train", "nightly"], after["exit_code", "train", "weekly"])
    assert (
        before["success_timestamp_seconds", "train", "nightly"]
        == after["success_timestamp_seconds", "train", "nightly"]
    )
