"""Metrics are served while the job runs, and a repeated report counts once."""

from __future__ import annotations

import socket
import urllib.error
import urllib.request

import pytest
from prometheus_client import Counter
from prometheus_client.parser import text_string_to_metric_families

from workers.errors import SettingsError
from workers.metrics import JobMetrics, served


def scrape(port: int) -> dict[str, float]:
    """What Prometheus would read, by name of the sample."""
    with urllib.request.urlopen(f"http://127.0.0.1:{port}/metrics", timeout=5) as answer:
        families = text_string_to_metric_families(answer.read().decode())
        return {sample.name: sample.value for family in families for sample in family.samples}


@pytest.fixture
def metrics():
    """A registry with one counter that stands at 3."""
    metrics = JobMetrics()
    Counter("lga_test_things", "Things.", registry=metrics.registry).inc(3)
    return metrics


def test_metrics_are_served_inside_the_block_only(metrics):
    """
    A scrape reads them; afterwards nobody listens any more.
    """
    with served(metrics, 0, "127.0.0.1") as port:
        assert 3.0 == scrape(port)["lga_test_things_total"]

    with pytest.raises(urllib.error.URLError):
        scrape(port)


def test_without_a_port_nothing_is_served(metrics):
    """
    Metrics are asked for, not forced on anybody.
    """
    with served(metrics, None, "127.0.0.1") as port:
        assert port is None


def test_a_port_in_use_is_told(metrics):
    """
    The message names the port and the way out.
    """
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        with pytest.raises(SettingsError, match=rf"{port}.*--metrics-port"), served(metrics, port, "127.0.0.1"):
            pass


def test_a_report_counts_once():
    """
    A shard that is reported again, after a retry, is known.
    """
    metrics = JobMetrics()

    assert [True, False, True] == [metrics.first_report(key) for key in ("shard-1", "shard-1", "shard-2")]


def test_the_textfile_is_whole(metrics, tmp_path):
    """
    The file holds what a scrape would show, and no temporary file stays beside it.
    """
    path = tmp_path / "collector" / "lga.prom"
    metrics.write_textfile(path)

    assert "lga_test_things_total 3.0" in path.read_text()
    assert [path] == list(path.parent.iterdir())
