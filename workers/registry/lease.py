"""One worker at a time: a small object that one process holds by a conditional write, and renews while it lives.

No clocks are compared. Whoever waits watches the object: one that has not changed for ``stale_s`` of the waiter's own
time belongs to nobody any more and is taken over, again by a conditional write, so by one waiter alone.
"""

from __future__ import annotations

import contextlib
import threading
import time
import uuid
from collections.abc import Iterator

from workers.errors import ConditionFailed, ObjectMissing, StorageError
from workers.logs import get_log
from workers.storage import Store

STALE_S = 60.0
_POLL_S = 2.0


@contextlib.contextmanager
def held_lease(store: Store, key: str, stale_s: float = STALE_S) -> Iterator[None]:
    """Hold a lease for the time of a ``with`` block; wait for it when another process has it.

    Args:
        store: Where the object lies.
        key: Its name; one for each thing that only one process may do.
        stale_s: Seconds without a renewal after which the holder counts as dead.

    Raises:
        StorageError: If the store does not answer.
    """
    name = uuid.uuid4().hex
    token = _taken(store, key, name, stale_s)
    released = threading.Event()
    renewing = threading.Thread(target=_renew, args=(store, key, name, token, released, stale_s / 4), daemon=True)
    renewing.start()
    try:
        yield
    finally:
        released.set()
        renewing.join()
        with contextlib.suppress(StorageError):  # Left behind, it is stale in a minute; a lost one is another's.
            if store.get(key).data.startswith(name.encode()):
                store.delete(key)


def _taken(store: Store, key: str, name: str, stale_s: float) -> str:
    """Wait until the lease is ours; its token."""
    seen, since = None, time.monotonic()
    while True:
        with contextlib.suppress(ConditionFailed):
            return store.put(key, _content(name, 0), if_absent=True)
        try:
            token = store.get(key).token
        except ObjectMissing:
            continue
        if token != seen:
            if seen is None:
                get_log().info("registry.lease_awaited", uri=store.uri(key))
            seen, since = token, time.monotonic()
        elif time.monotonic() - since > stale_s:
            with contextlib.suppress(ConditionFailed):
                return store.put(key, _content(name, 0), if_token=token)
        time.sleep(min(_POLL_S, stale_s / 4))


def _renew(store: Store, key: str, name: str, token: str, released: threading.Event, every_s: float) -> None:
    """Change the object again and again: that is all that keeps the lease."""
    count = 0
    while not released.wait(every_s):
        count += 1
        try:
            token = store.put(key, _content(name, count), if_token=token)
        except ConditionFailed:
            get_log().warning("registry.lease_lost", uri=store.uri(key))
            return
        except StorageError:
            continue  # The next time may be in time.


def _content(name: str, count: int) -> bytes:
    return f"{name} {count}".encode()
