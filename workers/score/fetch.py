"""Objects -> bytes, or a reason why not. One slow, missing or hostile object never holds up the others."""

from __future__ import annotations

import queue
import random
import threading
import time
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime

from lga_model.images import ImageLimits
from workers.errors import AccessDenied, ObjectMissing, StorageError, Throttled
from workers.storage import FolderStore, Store

_TRIES = 4
_PAUSE_S = 0.5  # Before the second try; doubled each time, and jittered so that clients do not come back together.
_IN_FLIGHT_BYTES = 256 * 1024 * 1024


@dataclass(frozen=True, kw_only=True)
class Listed:
    """An object as it was listed."""

    key: str
    etag: str
    size_bytes: int
    last_modified: datetime


@dataclass(frozen=True, kw_only=True)
class Fetched:
    """The bytes of an object, and the version that they are."""

    data: bytes
    etag: str


@dataclass(frozen=True, kw_only=True)
class Failure:
    """Why an object gives no bytes or no pixels."""

    reason: str
    detail: str


@dataclass(frozen=True, kw_only=True)
class FetchOptions:
    """How objects are fetched and decoded."""

    size_px: int
    limits: ImageLimits
    batch_size: int
    """Images in one table that goes to the engines."""
    concurrency: int
    """Requests in flight."""
    timeout_s: float
    """For one object, all tries together."""


Read = Callable[[Listed], Fetched]


def fetch_all(
    objects: Sequence[Listed], read: Read, options: FetchOptions
) -> Iterator[tuple[int, Fetched | Failure, float]]:
    """Read many objects, several at once, each within its time.

    A request that hangs cannot be ended from outside: its thread is left behind, its slot goes to the next object, and
    what it may bring later is dropped.

    Yields:
        Index into ``objects``, bytes or failure, seconds that it took; in the order in which they finish.
    """
    arrived: queue.SimpleQueue[tuple[int, Fetched | Failure]] = queue.SimpleQueue()
    waiting = deque(range(len(objects)))
    started: dict[int, float] = {}
    bytes_in_flight = 0
    while waiting or started:
        while waiting and len(started) < options.concurrency:
            index = waiting[0]
            if started and bytes_in_flight + objects[index].size_bytes > _IN_FLIGHT_BYTES:
                break
            waiting.popleft()
            started[index] = time.monotonic()
            bytes_in_flight += objects[index].size_bytes
            arguments = (index, objects[index], read, options, arrived)
            threading.Thread(target=_fetch, args=arguments, daemon=True).start()
        oldest = min(started, key=started.__getitem__)
        try:
            index, outcome = arrived.get(timeout=max(0.0, started[oldest] + options.timeout_s - time.monotonic()))
        except queue.Empty:
            index, outcome = oldest, Failure(reason="timeout", detail=f"nothing after {options.timeout_s:g} s")
        if index in started:  # Else it was given up before.
            bytes_in_flight -= objects[index].size_bytes
            yield index, outcome, time.monotonic() - started.pop(index)


def _fetch(
    index: int,
    listed: Listed,
    read: Read,
    options: FetchOptions,
    arrived: queue.SimpleQueue[tuple[int, Fetched | Failure]],
) -> None:
    try:
        arrived.put((index, _fetch_with_retries(listed, read, options)))
    except Exception as error:  # noqa: BLE001 - whatever it is, it is about this object, and must be told
        arrived.put((index, Failure(reason="throttled", detail=f"{type(error).__name__}: {error}")))


def _fetch_with_retries(listed: Listed, read: Read, options: FetchOptions) -> Fetched | Failure:
    limit = options.limits.max_bytes
    if listed.size_bytes > limit:
        return Failure(reason="too_large", detail=f"{listed.size_bytes} bytes; the limit is {limit}")
    ends_at = time.monotonic() + options.timeout_s
    for attempt in range(_TRIES):
        pause_s = _PAUSE_S * 2**attempt * random.uniform(0.5, 1.5)  # noqa: S311 - no secret
        try:
            return read(listed)
        except ObjectMissing as error:
            return Failure(reason="missing", detail=error.reason)
        except AccessDenied as error:
            return Failure(reason="denied", detail=error.reason)
        except StorageError as error:
            # Of all reasons this is the one for a store that did not deliver.
            failure = Failure(reason="throttled", detail=error.reason)
            if not isinstance(error, Throttled) or time.monotonic() + pause_s > ends_at:
                return failure
        if attempt + 1 < _TRIES:
            time.sleep(pause_s)
    return failure


def reader(source: Store) -> Read:
    """Read an object and the ETag of what was read.

    An object may change after it was listed. The row then names the version that was scored, so that the next run sees
    it as unchanged. A folder tells no such version with the bytes: its row keeps the listed one, and if the file did
    change, the next run scores it again.
    """

    def read(listed: Listed) -> Fetched:
        blob = source.get(listed.key)
        etag = listed.etag if isinstance(source, FolderStore) else blob.token.strip('"')
        return Fetched(data=blob.data, etag=etag)

    return read
