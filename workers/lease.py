"""One process at a time: a lease with a fencing number, kept alive by renewals, over conditional writes alone.

    <key>     {"holder": "...", "fence": 3, "renewals": 17, "state": "held", "lease_s": 30}

No two machines have to agree on the time. Whoever finds the lease held watches it: a lease that changes is alive, one
that does not change for ``lease_s`` seconds of the *watcher's* own steady clock is dead and may be taken. Every new
holder raises the fence, so that one who was thought dead learns at its next renewal that it was replaced, and stops.
It spares double work, and no more: whatever two holders might write at once has to be written on condition.
"""

from __future__ import annotations

import contextlib
import os
import socket
import threading
import time
import uuid
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from workers.errors import AlreadyRunning, ConditionFailed, ObjectMissing, StorageError, Superseded
from workers.logs import get_log
from workers.storage import Store

IfRunning = Literal["wait", "exit", "take-over"]

_RENEWALS = 5  # In one lease: four may get lost before somebody else takes it.
_LOOKS = 10  # At a lease that is watched, in the time that it may stay unchanged.


class Lease(BaseModel):
    """The content of the lease's object."""

    model_config = ConfigDict(frozen=True, extra="ignore")

    holder: str
    """Unique for each time that it was asked for."""
    where: str
    """Host and process, for people."""
    fence: Annotated[int, Field(ge=1)]
    """Higher than that of every holder before."""
    renewals: Annotated[int, Field(ge=0)] = 0
    state: Literal["held", "released"] = "held"
    lease_s: Annotated[float, Field(gt=0)]
    """Unchanged for so long, it is dead."""

    def __str__(self) -> str:
        return f"{self.where} (fence {self.fence})"


@dataclass(frozen=True, kw_only=True)
class LeaseOptions:
    """How a lease is asked for and kept."""

    if_running: IfRunning = "wait"
    lease_s: float = 30.0
    clock: Callable[[], float] = time.monotonic
    """Seconds that never go back; only differences count."""
    sleep: Callable[[float], None] = time.sleep


class Held:
    """A lease that this process holds."""

    def __init__(self, store: Store, key: str, lease: Lease, token: str) -> None:
        self._store, self._key, self._lease, self._token = store, key, lease, token
        self._lost_to: Lease | None = None
        self._lock = threading.Lock()
        self.fence = lease.fence

    def check(self) -> None:
        """Nothing while the lease is ours.

        Raises:
            Superseded: Once a renewal has found another holder.
        """
        if self._lost_to is not None:
            raise Superseded(
                f"another attempt has taken this run over: {self._lost_to}; what this one wrote stays, and counts"
            )

    def renew(self) -> None:
        """Show that we are alive. A store that does not answer is no reason to stop: the next renewal tries again."""
        with self._lock:
            if self._lost_to is None:
                self._write({"renewals": self._lease.renewals + 1})

    def release(self) -> None:
        """Let the next one in at once."""
        with self._lock:
            if self._lost_to is None:
                self._write({"state": "released"})

    def _write(self, change: dict[str, object]) -> None:
        after = self._lease.model_copy(update=change)
        try:
            self._token = self._store.put(self._key, _content(after), if_token=self._token)
            self._lease = after
        except ConditionFailed:
            self._look()
        except StorageError as error:
            get_log().warning("storage.lease_not_renewed", problem=str(error))

    def _look(self) -> None:
        """Who holds it? We ourselves, when our own write arrived and only its answer was lost."""
        try:
            found, token = _read(self._store, self._key)
        except StorageError:
            return
        if found is not None and token is not None and found.holder == self._lease.holder:
            self._lease, self._token = found, token
        elif found is not None:
            self._lost_to = found


@contextlib.contextmanager
def leased(store: Store, key: str, options: LeaseOptions) -> Iterator[Held]:
    """Hold a lease inside the block; it is renewed on a thread of its own, and released at the end.

    Its object stays, so that the fence never goes back.

    Args:
        store: The one that everybody shares who may want it.
        key: Its object.
        options: What to do when another process holds it, and how long it lives without a renewal.

    Raises:
        AlreadyRunning: If another attempt is alive and ``if_running`` is ``exit``.
        StorageError: If the store cannot be reached.
    """
    held = _acquire(store, key, options)
    ended = threading.Event()

    def keep() -> None:
        while not ended.wait(options.lease_s / _RENEWALS):
            held.renew()

    keeper = threading.Thread(target=keep, name="lease", daemon=True)
    keeper.start()
    try:
        yield held
    finally:
        ended.set()
        keeper.join()
        held.release()


def _acquire(store: Store, key: str, options: LeaseOptions) -> Held:
    mine = Lease(
        holder=uuid.uuid4().hex,
        where=f"{socket.gethostname()}, process {os.getpid()}",
        fence=1,
        lease_s=options.lease_s,
    )
    seen: str | None = None
    since, changes = 0.0, -1
    while True:
        found, token = _read(store, key)
        if found is not None and token is not None and found.holder == mine.holder:
            return Held(store, key, found, token)  # Our own write arrived, and only its answer was lost.
        if token != seen:
            seen, since, changes = token, options.clock(), changes + 1
        lives_s = max(options.lease_s, found.lease_s) if found else options.lease_s
        is_dead = options.clock() - since >= lives_s
        if found is None or found.state == "released" or is_dead or options.if_running == "take-over":
            wanted = mine.model_copy(update={"fence": found.fence + 1 if found else 1})
            with contextlib.suppress(ConditionFailed):
                taken = store.put(key, _content(wanted), if_absent=token is None, if_token=token)
                if found is not None and found.state == "held":
                    get_log().warning("storage.lease_taken_over", holder_before=str(found), fence=wanted.fence)
                return Held(store, key, wanted, taken)
            continue
        if changes and options.if_running == "exit":
            raise AlreadyRunning(f"another attempt is at work on this run: {found}; nothing to do here")
        if not changes and options.clock() == since:
            get_log().info(
                "storage.lease_awaited", holder=str(found), dead_after_s=lives_s, if_running=options.if_running
            )
        options.sleep(lives_s / _LOOKS)


def _read(store: Store, key: str) -> tuple[Lease | None, str | None]:
    """The lease and its token; no lease when there is none, or none that can be read."""
    try:
        blob = store.get(key)
    except ObjectMissing:
        return None, None
    try:
        return Lease.model_validate_json(blob.data), blob.token
    except ValidationError:
        return None, blob.token


def _content(lease: Lease) -> bytes:
    return (lease.model_dump_json() + "\n").encode()
