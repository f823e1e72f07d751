"""Prometheus metrics: one registry, owned by the driver, served while the job runs; and what stays of a run afterwards.

Prefix ``lga_``, base units, ``_total`` for counters. Labels are small closed sets; never keys, URIs or messages.
Workers own no metrics: they report to the driver what they did, once for each shard or step, under a key that makes a
repeat harmless.

A job that has ended serves nothing. Its outcome is written as ``lga_last_run_*`` series to a textfile and to a
Pushgateway, grouped by command and pipeline. Live series are not written there: nobody would ever take them away, and
a run that failed would look like one that stands still.
"""

from __future__ import annotations

import contextlib
import http.client
import os
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Literal

from prometheus_client import CollectorRegistry, Gauge, generate_latest, pushadd_to_gateway, start_http_server
from prometheus_client.parser import text_string_to_metric_families

from workers.errors import AlreadyRunning, SettingsError, WorkerError
from workers.logs import get_log
from workers.settings import MetricsSettings

Command = Literal["score", "retry", "shadow", "train", "compile"]

_PUSH_TIMEOUT_S = 10.0
_GROUP = ("command", "pipeline")
_SUCCESS = "lga_last_run_success_timestamp_seconds"


class JobMetrics:
    """Base of a job's metrics: the registry, the memory of which reports were counted, and the run's final state."""

    def __init__(self) -> None:
        self.registry = CollectorRegistry()
        self.last_run = LastRun()
        self._counted: set[str] = set()
        self._info = Gauge(
            "lga_run_info", "Always 1: which run this process works on, and with which model.",
            ["command", "pipeline", "run", "model"], registry=self.registry,
        )  # fmt: skip
        self._started = Gauge("lga_run_start_timestamp_seconds", "When this attempt began.", registry=self.registry)
        self._deadline = Gauge(
            "lga_run_deadline_timestamp_seconds", "When the run should have ended (--deadline-s); +Inf without one.",
            registry=self.registry,
        )  # fmt: skip
        self._deadline.set(float("inf"))
        self._command, self._pipeline = "", ""

    def begin(self, command: Command, settings: MetricsSettings) -> None:
        """The job begins: what is known from the settings alone."""
        self._command, self._pipeline = command, settings.pipeline
        now = time.time()
        self._started.set(now)
        self._deadline.set(float("inf") if settings.deadline_s is None else now + settings.deadline_s)

    def show_run(self, run: str, model: str) -> None:
        """Say which run it is, once that is decided."""
        self._info.clear()
        self._info.labels(self._command, self._pipeline, run, model).set(1)

    def first_report(self, key: str) -> bool:
        """Whether a report with this key is new. A retried shard reports twice and must count once."""
        if key in self._counted:
            return False
        self._counted.add(key)
        return True


class LastRun:
    """The final state of a run. Series that a job does not fill are left out."""

    def __init__(self) -> None:
        self.registry = CollectorRegistry()
        self._gauges: dict[str, Gauge] = {}
        for name, help_text, labels in _FINAL_STATE:
            self._gauges[name] = Gauge(f"lga_last_run_{name}", help_text, [*_GROUP, *labels], registry=self.registry)
        self._values: dict[tuple[str, tuple[str, ...]], float] = {}

    def set(self, name: str, value: float | None, *labels: str) -> None:
        """Set one figure; None leaves it out.

        Args:
            name: Without the prefix ``lga_last_run_``.
            value: In base units.
            labels: Values of the labels beside command and pipeline.
        """
        if value is not None:
            self._values[name, labels] = value

    def end(self, command: Command, settings: MetricsSettings, exit_code: int, duration_s: float) -> None:
        """Complete the series with the outcome."""
        now = time.time()
        self.set("end_timestamp_seconds", now)
        self.set("exit_code", exit_code)
        self.set("duration_seconds", duration_s)
        self.set("period_seconds", settings.period_s)
        if exit_code == 0:
            self.set("success_timestamp_seconds", now)
        for (name, labels), value in self._values.items():
            self._gauges[name].labels(command, settings.pipeline, *labels).set(value)

    def write_textfile(self, path: Path) -> None:
        """Write the series for node exporter's textfile collector, atomically.

        When the last success was stays in the file while later runs fail.
        """
        gauge = self._gauges["success_timestamp_seconds"]
        if ("success_timestamp_seconds", ()) not in self._values:
            for labels, value in _last_success(path):
                gauge.labels(*labels).set(value)
        path.parent.mkdir(parents=True, exist_ok=True)
        handle, aside = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.")
        with os.fdopen(handle, "wb") as stream:
            stream.write(generate_latest(self.registry))
        Path(aside).chmod(0o644)
        Path(aside).replace(path)

    def push(self, gateway: str, command: Command, pipeline: str) -> None:
        """Add the series to the pipeline's group on a Pushgateway; series of earlier runs that this has not, stay.

        Raises:
            OSError: If the gateway cannot be reached or refuses.
        """
        group = {"command": command, "pipeline": pipeline}
        pushadd_to_gateway(gateway, job="lga", registry=self.registry, grouping_key=group, timeout=_PUSH_TIMEOUT_S)


_FINAL_STATE: tuple[tuple[str, str, tuple[str, ...]], ...] = (
    ("end_timestamp_seconds", "When the last run ended, however it ended.", ()),
    ("success_timestamp_seconds", "When the last run ended with exit code 0; stays while later ones fail.", ()),
    ("exit_code", "Exit code of the last run: 0 done, 3 too many failures, 4 refused, others: it failed.", ()),
    ("duration_seconds", "How long the last run took.", ()),
    ("period_seconds", "Time between two scheduled starts (--period-s).", ()),
    ("objects", "Objects of the last tagging: listed = ok + failed + skipped.", ("state",)),
    ("failures", "Failed objects of the last tagging by reason.", ("reason",)),
    ("images_per_second", "Speed of the last run.", ()),
    ("cost", "What the last tagging cost, in the currency of --price-per-hour.", ()),
    ("confidence_mean", "Mean probability of the labels of the last tagging.", ()),
    ("focus_mean", "Mean focus of the last tagging.", ()),
    ("drift_psi", "Population stability index of the last tagging against the validation split.", ("output",)),
    ("model_created_timestamp_seconds", "When the model of the last tagging was published.", ()),
    ("map", "Validation mAP of the last training's best epoch.", ()),
    ("parity_top1_agreement", "Share of photographs on which the last compiled engine and its model agree.", ()),
)
"""Name without ``lga_last_run_``, help, labels beside command and pipeline."""


@contextlib.contextmanager
def published(metrics: JobMetrics, command: Command, settings: MetricsSettings) -> Iterator[None]:
    """Serve a job's metrics inside the block, and leave its outcome behind afterwards, however it ends.

    One that found another attempt at work has no outcome: what became of the run the other one will tell.
    Nobody's photographs wait for a Pushgateway: one that cannot be reached is a line in the log.

    Raises:
        SettingsError: If the port cannot be bound.
    """
    metrics.begin(command, settings)
    started, exit_code, has_outcome = time.monotonic(), 1, True
    try:
        with served(metrics, settings.metrics_port, settings.metrics_host):
            yield
        exit_code = 0
    except WorkerError as error:
        exit_code, has_outcome = error.exit_code, not isinstance(error, AlreadyRunning)
        raise
    finally:
        if has_outcome:
            metrics.last_run.end(command, settings, exit_code, time.monotonic() - started)
            _leave_behind(metrics.last_run, command, settings)


def _leave_behind(last_run: LastRun, command: Command, settings: MetricsSettings) -> None:
    if settings.metrics_file is not None:
        try:
            last_run.write_textfile(settings.metrics_file)
        except OSError as error:
            get_log().warning("metrics.textfile_failed", path=str(settings.metrics_file), reason=error.strerror)
    if settings.pushgateway is not None:
        try:
            last_run.push(settings.pushgateway, command, settings.pipeline)
        except (OSError, ValueError, http.client.HTTPException) as error:
            get_log().warning("metrics.push_failed", reason=str(error))


def _last_success(path: Path) -> list[tuple[tuple[str, ...], float]]:
    """Labels and value of the last success that an older file tells of."""
    try:
        families = list(text_string_to_metric_families(path.read_text()))
    except (OSError, ValueError):
        return []
    return [
        (tuple(sample.labels[label] for label in _GROUP), sample.value)
        for family in families
        for sample in family.samples
        if sample.name == _SUCCESS
    ]


@contextlib.contextmanager
def served(metrics: JobMetrics, port: int | None, host: str) -> Iterator[int | None]:
    """Serve the metrics on ``http://host:port/metrics`` inside the block; yields the port, or None when not asked for.

    Raises:
        SettingsError: If the port cannot be bound.
    """
    if port is None:
        yield None
        return
    try:
        server, thread = start_http_server(port, addr=host, registry=metrics.registry)
    except OSError as error:
        reason = error.strerror or error
        raise SettingsError(
            f"cannot serve metrics on {host}:{port}: {reason}; choose another --metrics-port"
        ) from error
    get_log().info("metrics.server_started", host=host, port=server.server_port)
    try:
        yield server.server_port
    finally:
        server.shutdown()
        server.server_close()
        thread.join()
