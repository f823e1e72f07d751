"""Metrics are served while the job runs, and a repeated report counts once."""

from __future__ import annotations

import socket
import urllib.error
import urllib.request

import pytest
from prometheus_client import Counter
from prometheus_client.parser import text_string_to_metric_families

from workers.errors import AlreadyRunning, Refused, SettingsError, StorageError
from workers.logs import configure_logs
from workers.metrics import JobMetrics, published, served
from workers.settings import MetricsSettings


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


def settings(**changed) -> MetricsSettings:
    return MetricsSettings(**changed)


def figures(path) -> dict[str, float]:
    families = text_string_to_metric_families(path.read_text())
    return {sample.name: sample.value for family in families for sample in family.samples}


def test_the_outcome_stays_in_a_file(metrics, tmp_path):
    """
    How it ended, when it succeeded, how often it is due; no live series, and no temporary file beside it.
    """
    path = tmp_path / "collector" / "lga.prom"
    with published(metrics, "score", settings(metrics_file=path, period_s=3600)):
        metrics.last_run.set("objects", 7, "ok")
    found = figures(path)

    assert (0, 3600, 7) == tuple(found[f"lga_last_run_{name}"] for name in ("exit_code", "period_seconds", "objects"))
    assert found["lga_last_run_end_timestamp_seconds"] == found["lga_last_run_success_timestamp_seconds"]
    assert "lga_test_things_total" not in found
    assert [path] == list(path.parent.iterdir())


@pytest.mark.parametrize(
    ("error", "code"), [(StorageError("read", "s3://b", "down"), 5), (Refused("worse"), 4), (KeyError("ours"), 1)]
)
def test_a_failure_keeps_the_last_success(tmp_path, error, code):
    """
    The exit code is the failure's; when it last went well is still known.
    """
    path = tmp_path / "lga.prom"
    with published(JobMetrics(), "score", settings(metrics_file=path)):
        pass
    success = figures(path)["lga_last_run_success_timestamp_seconds"]
    with pytest.raises(type(error)), published(JobMetrics(), "score", settings(metrics_file=path)):
        raise error
    found = figures(path)

    assert code == found["lga_last_run_exit_code"]
    assert success == found["lga_last_run_success_timestamp_seconds"] < found["lga_last_run_end_timestamp_seconds"]


def test_an_attempt_that_leaves_the_work_to_another_has_no_outcome(tmp_path):
    """
    Its exit code is 0, and yet nothing succeeded: the run that hangs is not made to look fresh.
    """
    path = tmp_path / "lga.prom"
    with published(JobMetrics(), "score", settings(metrics_file=path)):
        pass
    before = path.read_text()
    with pytest.raises(AlreadyRunning), published(JobMetrics(), "score", settings(metrics_file=path)):
        raise AlreadyRunning("another attempt is at work on this run")

    assert before == path.read_text()


@pytest.mark.parametrize("address", ["127.0.0.1:1", "http://127.0.0.1:9091x"])
def test_a_dead_pushgateway_costs_nothing(metrics, capsys, address):
    """
    The job ends as it would have, also where there can be none at that address; the log says that nobody was told.
    """
    configure_logs("console", "info")
    with published(metrics, "score", settings(pushgateway=address)):
        pass

    assert "metrics.push_failed" in "".join(capsys.readouterr())
