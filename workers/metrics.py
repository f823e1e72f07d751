"""Prometheus metrics: one registry, owned by the driver, served while the job runs.

Prefix ``lga_``, base units, ``_total`` for counters. Labels are small closed sets; never keys, URIs or messages.
Workers own no metrics: they report to the driver what they did, once for each shard or step, under a key that makes a
repeat harmless.
"""

from __future__ import annotations

import contextlib
import os
import tempfile
from collections.abc import Iterator
from pathlib import Path

from prometheus_client import CollectorRegistry, generate_latest, start_http_server

from workers.errors import SettingsError
from workers.logs import get_log


class JobMetrics:
    """Base of a job's metrics: the registry, and the memory of which reports were counted."""

    def __init__(self) -> None:
        self.registry = CollectorRegistry()
        self._counted: set[str] = set()

    def first_report(self, key: str) -> bool:
        """Whether a report with this key is new. A retried shard reports twice and must count once."""
        if key in self._counted:
            return False
        self._counted.add(key)
        return True

    def write_textfile(self, path: Path) -> None:
        """Write all metrics for node exporter's textfile collector, atomically."""
        path.parent.mkdir(parents=True, exist_ok=True)
        handle, aside = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.")
        with os.fdopen(handle, "wb") as stream:
            stream.write(generate_latest(self.registry))
        Path(aside).chmod(0o644)
        Path(aside).replace(path)


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
