"""Calls of the outside world that are made again when it was only briefly not there."""

from __future__ import annotations

import random
import time
from collections.abc import Callable
from typing import TypeVar

from workers.errors import WorkerError
from workers.logs import get_log

Answer = TypeVar("Answer")

_FIRST_WAIT_S, _LONGEST_WAIT_S = 0.5, 15.0


def patiently(call: Callable[[], Answer], patience_s: float) -> Answer:
    """Call until it succeeds; waits grow twofold, each shortened at random so that workers do not ask in step.

    Args:
        call: Safe to make again.
        patience_s: Seconds after which an error that may pass is taken as final.

    Raises:
        WorkerError: What ``call`` raised last. An error that no waiting mends comes at once.
    """
    gives_up_at, wait_s = time.monotonic() + patience_s, _FIRST_WAIT_S
    while True:
        try:
            return call()
        except WorkerError as error:
            pause_s = wait_s * random.uniform(0.5, 1)  # noqa: S311 - no secret
            if not error.retryable or time.monotonic() + pause_s > gives_up_at:
                raise
            get_log().warning("storage.call_repeated", reason=str(error), wait_s=round(pause_s, 1))
        time.sleep(pause_s)
        wait_s = min(2 * wait_s, _LONGEST_WAIT_S)
