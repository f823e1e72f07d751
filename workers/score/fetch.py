"""Objects -> bytes, or a reason why not. One slow, missing or hostile object never holds up the others."""

from __future__ import annotations

import asyncio
import concurrent.futures
import functools
import itertools
import queue
import random
import threading
import time
from collections import deque
from collections.abc import Awaitable, Callable, Iterator, Sequence
from dataclasses import dataclass

from lga_model.images import ImageLimits
from workers.downloads import Downloads, TooLarge
from workers.errors import AccessDenied, ObjectMissing, StorageError, Throttled
from workers.score.objects import Failure, Fetched, Listed, Unanswered
from workers.settings.shared import DecodeOn
from workers.storage import FolderStore, Store

# At most, before the second try; doubled each time. Drawn by lot, so that clients do not come back together.
_PAUSE_S, _LONGEST_PAUSE_S = 0.5, 8.0
CHUNK_ROWS = 256
"""Objects in one task: enough to hide how it begins and ends, few enough to lose."""
_BLOCK_BYTES = 20 * 1024 * 1024
_IN_FLIGHT_BYTES = 256 * 1024 * 1024


@dataclass(frozen=True, kw_only=True)
class FetchOptions:
    """How objects are fetched and decoded."""

    size_px: int
    limits: ImageLimits
    batch_size: int
    """Images in one engine call."""
    concurrency: int
    """Most requests in flight; fewer where the store complains."""
    timeout_s: float
    """For one object: all tries and its decoding together."""
    decode_on: DecodeOn = "cpu"

    @property
    def block_rows(self) -> int:
        """Images in one table that goes to the engines: whole batches, and not too many bytes."""
        bytes_ = self.size_px * self.size_px * 3
        return max(1, min(CHUNK_ROWS, _BLOCK_BYTES // bytes_) // self.batch_size) * self.batch_size


Read = Callable[[Listed], Awaitable[Fetched]]


class Window:
    """How many requests may be in flight at once.

    One more after each round that went well, half after a complaint: clients that share a store come to share it
    evenly, as with TCP.
    """

    def __init__(self, most: int) -> None:
        """Start with the most that there may ever be."""
        self._most, self._size, self._cut_at = most, float(most), 0.0

    @property
    def size(self) -> int:
        """Requests that may be in flight now, at least 1."""
        return int(self._size)

    def succeeded(self) -> None:
        """A request was answered."""
        self._size = min(self._most, self._size + 1 / self._size)

    def refused(self, asked_at: float) -> None:
        """The store complained about a request that was made at ``asked_at``, in seconds of the monotonic clock.

        What was asked before the last cut complains of the old size, and is no new sign.
        """
        if asked_at >= self._cut_at:
            self._size, self._cut_at = max(1.0, self._size / 2), time.monotonic()


def fetch_all(
    objects: Sequence[Listed], read: Read, options: FetchOptions, window: Window | None = None
) -> Iterator[tuple[int, Fetched | Failure, float]]:
    """Read many objects, several at once, each within its time.

    Requests go on while the caller does other work; one that is over its time is called off.

    Args:
        objects: What to read.
        read: Makes one try at one object.
        options: How many at once, and for how long.
        window: Of the store, where other calls share it.

    Yields:
        Index into ``objects``, bytes or failure, seconds that it took; in the order in which they finish.
    """
    window = window or Window(options.concurrency)
    arrived: queue.SimpleQueue[tuple[int, Fetched | Failure, float]] = queue.SimpleQueue()
    waiting = deque(range(len(objects)))
    running: dict[int, concurrent.futures.Future[None]] = {}
    bytes_in_flight = 0

    async def fetch(index: int) -> None:
        begun = time.monotonic()
        outcome: Fetched | Failure
        try:
            outcome = await _within_its_time(objects[index], read, options, window)
        except BaseException as error:  # noqa: BLE001 - whatever it is, it is about this object, and is waited for
            outcome = Failure(reason="throttled", detail=f"{type(error).__name__}: {error}")
        arrived.put((index, outcome, time.monotonic() - begun))

    try:
        while waiting or running:
            while waiting and len(running) < window.size:
                index = waiting[0]
                if running and bytes_in_flight + objects[index].size_bytes > _IN_FLIGHT_BYTES:
                    break
                waiting.popleft()
                bytes_in_flight += objects[index].size_bytes
                running[index] = asyncio.run_coroutine_threadsafe(fetch(index), _loop())
            index, outcome, elapsed_s = arrived.get()
            bytes_in_flight -= objects[index].size_bytes
            del running[index]
            yield index, outcome, elapsed_s
    finally:
        for future in running.values():
            future.cancel()


async def _within_its_time(listed: Listed, read: Read, options: FetchOptions, window: Window) -> Fetched | Failure:
    limit = options.limits.max_bytes
    if listed.size_bytes > limit:
        return Failure(reason="too_large", detail=f"{listed.size_bytes} bytes; the limit is {limit}")
    problem = Unanswered(reason="timeout", detail=f"nothing after {options.timeout_s:g} s")
    try:
        async with asyncio.timeout(options.timeout_s):
            for attempt in itertools.count():
                asked_at = time.monotonic()
                outcome = await _one_try(listed, read)
                if not isinstance(outcome, Throttled):
                    window.succeeded()
                    return outcome
                window.refused(asked_at)
                problem = Unanswered(reason="throttled", detail=outcome.reason)
                longest_s = min(_LONGEST_PAUSE_S, _PAUSE_S * 2 ** min(attempt, 10))
                await asyncio.sleep(random.uniform(0, longest_s))  # noqa: S311 - no secret
    except TimeoutError:
        pass
    return problem


_REASONS: dict[type[StorageError], str] = {ObjectMissing: "missing", AccessDenied: "denied", TooLarge: "too_large"}


async def _one_try(listed: Listed, read: Read) -> Fetched | Failure | Throttled:
    """What one request came to; ``Throttled`` when the same request may succeed later."""
    try:
        return await read(listed)
    except Throttled as error:
        return error
    except StorageError as error:
        # Of all reasons "throttled" is the one for a store that did not deliver.
        told = Unanswered if is_silence(error) else Failure
        return told(reason=_REASONS.get(type(error), "throttled"), detail=error.reason)


def is_silence(error: StorageError) -> bool:
    """Whether a store's error leaves open who is to blame; a definite answer, even a refusal, shows that it is up.

    For a folder that is any unusual error of the file system: one file and a whole disk fail alike.
    """
    return isinstance(error, Throttled) or (type(error) is StorageError and isinstance(error.__cause__, OSError))


@functools.cache
def _loop() -> asyncio.AbstractEventLoop:
    """The process's loop for requests, on a thread of its own."""
    loop = asyncio.new_event_loop()
    threading.Thread(target=loop.run_forever, name="fetch", daemon=True).start()
    return loop


@functools.cache
def window_of(root: str, most: int) -> Window:
    """What this process has learnt of a store, kept from chunk to chunk."""
    del root  # Only tells windows apart.
    return Window(most)


def reader(source: Store, max_bytes: int) -> Read:
    """Read an object and the ETag of what was read.

    An object may change after it was listed. The row then names the version that was scored, so that the next run sees
    it as unchanged. A folder tells no such version with the bytes: its row keeps the listed one, and if the file did
    change, the next run scores it again.
    """
    downloads = Downloads(source)

    async def read(listed: Listed) -> Fetched:
        blob = await downloads.get(listed.key, max_bytes)
        etag = listed.etag if isinstance(source, FolderStore) else blob.token.strip('"')
        return Fetched(data=blob.data, etag=etag)

    return read
