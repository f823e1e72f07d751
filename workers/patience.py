"""Calls of the outside world that are made again when it was only briefly not there."""

from __future__ import annotations

import random
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TypeVar

from typing_extensions import override

from workers.errors import WorkerError
from workers.logs import get_log
from workers.storage import Blob, ObjectInfo, Part, Store

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


class PatientStore(Store):
    """A store whose every call is made again while the store behind it is briefly not there.

    A conditional write that was done and never answered is made again too, and then fails by its condition: whoever
    writes one has to know its own content again.
    """

    def __init__(self, store: Store, patience_s: float) -> None:
        """Args: store: To ask. patience_s: Seconds that it may be away."""
        self._store, self._patience_s = store, patience_s
        self.root = store.root

    @override
    def get(self, key: str) -> Blob:
        return patiently(lambda: self._store.get(key), self._patience_s)

    @override
    def get_range(self, key: str, start: int, length: int) -> Part:
        return patiently(lambda: self._store.get_range(key, start, length), self._patience_s)

    @override
    def put(self, key: str, data: bytes, *, if_absent: bool = False, if_token: str | None = None) -> str:
        return patiently(lambda: self._store.put(key, data, if_absent=if_absent, if_token=if_token), self._patience_s)

    @override
    def put_file(self, key: str, path: Path) -> None:
        patiently(lambda: self._store.put_file(key, path), self._patience_s)

    @override
    def list(self, prefix: str = "") -> Iterator[ObjectInfo]:
        """All of them at once: a listing that breaks off starts anew."""
        return iter(patiently(lambda: [*self._store.list(prefix)], self._patience_s))

    @override
    def exists(self, key: str) -> bool:
        return patiently(lambda: self._store.exists(key), self._patience_s)

    @override
    def delete(self, key: str) -> None:
        patiently(lambda: self._store.delete(key), self._patience_s)

    @override
    def under(self, prefix: str) -> PatientStore:
        return PatientStore(self._store.under(prefix), self._patience_s)

    @override
    def uri(self, key: str = "") -> str:
        return self._store.uri(key)
