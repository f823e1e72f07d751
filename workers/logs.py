"""Structured logs: a constant event name and fields. For people on a console, or one JSON object for each line.

Logs go to stderr; stdout belongs to what the user asked for (a table, a query's answer). Names of events are
``<job>.<thing>_<past verb>``; facts are fields with units in their names.
"""

from __future__ import annotations

import logging
import sys
from typing import Any, Literal, cast

import structlog

Log = structlog.typing.FilteringBoundLogger


def configure_logs(log_format: Literal["console", "json"], level: str) -> None:
    """Set up the logs of this process. Workers call it too, with the driver's values."""
    shared: list[Any] = [
        structlog.contextvars.merge_contextvars,
        structlog.processors.add_log_level,
        structlog.processors.TimeStamper(fmt="iso", utc=True),
        structlog.processors.StackInfoRenderer(),
    ]
    if log_format == "json":
        tail: list[Any] = [structlog.processors.format_exc_info, structlog.processors.JSONRenderer()]
    else:
        tail = [structlog.dev.ConsoleRenderer(colors=sys.stderr.isatty(), pad_event_to=32)]
    structlog.configure(
        processors=shared + tail,
        wrapper_class=structlog.make_filtering_bound_logger(level),
        logger_factory=_ToStderr(),
        cache_logger_on_first_use=False,
    )
    # Libraries that log below a warning have nothing to say to an operator.
    logging.basicConfig(level=logging.WARNING, stream=sys.stderr, format="%(levelname)s %(name)s: %(message)s")


def get_log(**fields: object) -> Log:
    """A logger with fields bound to it, for example ``get_log(run_id=...)``."""
    return cast("Log", structlog.get_logger(**fields))


class _ToStderr:
    """Looks stderr up at each call: a progress bar or a test may have replaced it since."""

    def __call__(self, *_args: object) -> structlog.PrintLogger:
        return structlog.PrintLogger(sys.stderr)
