"""Is it the objects, or the store? Its outage costs time and never a row; what it alone does not deliver is a row."""

from __future__ import annotations

import queue
import threading
from collections.abc import Generator, Iterator, Sequence

from workers.errors import StorageError, Throttled
from workers.score.fetch import FetchOptions, Window, fetch_all, is_silence, reader, window_of
from workers.score.objects import Failure, Fetched, Listed, Unanswered
from workers.storage import Store

_OBJECTS = 16
"""So many in a row, or all that there are, are hardly each to blame for what the store does."""

Arrival = tuple[int, Fetched | Failure, float]
"""Index of an object, its bytes or its failure, seconds that it took."""


def arrivals(objects: Sequence[Listed], source: Store, options: FetchOptions) -> Iterator[Arrival]:
    """Read many objects as ``fetch_all`` does, and take an outage of the store for no object's failure.

    When the store is silent about many objects in a row it is asked something else. If it answers that, it is well, but
    may have been away until then: those objects are asked for once more, and what it is silent about again is a
    failure.

    Args:
        objects: What to read.
        source: Where they are.
        options: How.

    Yields:
        One for each object, in the order in which it is known.

    Raises:
        Throttled: If the store does not answer.
    """
    window = window_of(source.root, options.concurrency)
    doubted = yield from _one_round(range(len(objects)), objects, source, options, window)
    # Complaints about these objects are no reason to be slow with them, nor with others.
    window = Window(options.concurrency)
    yield from (yield from _one_round([index for index, _, _ in doubted], objects, source, options, window))


def _one_round(
    asked: Sequence[int], objects: Sequence[Listed], source: Store, options: FetchOptions, window: Window
) -> Generator[Arrival, None, list[Arrival]]:
    """Read some of the objects. Returns those in whose place the store answered something else."""
    doubted: list[Arrival] = []
    silent: list[Arrival] = []
    read = reader(source, options.limits.max_bytes)
    for number, outcome, fetch_s in fetch_all([objects[index] for index in asked], read, options, window):
        if not isinstance(outcome, Unanswered):
            yield from silent
            silent = []
            yield asked[number], outcome, fetch_s
            continue
        silent.append((asked[number], outcome, fetch_s))
        if len(silent) == min(_OBJECTS, len(asked)):
            if not _answers(source, options.timeout_s):
                reason = f"{len(silent)} objects in a row did not arrive ({outcome.detail}); is the store up?"
                raise Throttled("read", source.uri(), reason)
            doubted += silent
            silent = []
    yield from silent
    return doubted


def _answers(source: Store, timeout_s: float) -> bool:
    """Whether the store answers a question that concerns no object in particular; a refusal is an answer."""
    told: queue.SimpleQueue[bool] = queue.SimpleQueue()

    def ask() -> None:
        try:
            next(iter(source.list()), None)
        except StorageError as error:
            told.put(not is_silence(error))
        else:
            told.put(True)

    threading.Thread(target=ask, daemon=True).start()  # One that hangs is left behind.
    try:
        return told.get(timeout=timeout_s)
    except queue.Empty:
        return False
