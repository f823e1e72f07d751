"""The listing of a prefix or a folder. S3 answers with a thousand keys at a time: many prefixes are asked at once."""

from __future__ import annotations

import contextlib
import itertools
import queue
import threading
from collections import deque
from collections.abc import Callable, Iterator
from typing import Generic, TypeVar

import pyarrow as pa

from workers.runs.plan import LISTED
from workers.score.inventory.notes import ListingNotes
from workers.score.inventory.source import Source
from workers.storage import ObjectInfo, S3Store

_LISTERS = 16
_ENOUGH = 4 * _LISTERS  # Prefixes, so that one that is long does not leave the other listers idle.
_WIDE = 2000  # Folders in one folder: more are not worth a request each.
_FIRST_ROWS, _ROWS = 1000, 10_000  # The first table comes with the first answer: a look or a limit may want no more.
_AHEAD = 2 * _LISTERS

Unit = TypeVar("Unit")


def list_source(source: Source, *, in_order: bool, notes: ListingNotes | None = None) -> Iterator[pa.Table]:
    """Every object of a source, as tables of ``LISTED``.

    Args:
        source: A bucket's prefix, or a folder.
        in_order: In the store's own order, one request after the other.
        notes: Of the run, to go on where an earlier attempt broke off.

    Raises:
        StorageError: If there is no such bucket or folder, or the credentials do not reach it.
    """
    store = source.store
    if in_order or not isinstance(store, S3Store):
        yield from as_tables(store.list(source.prefix))
        return
    prefixes, objects = split(store.level, source.prefix)
    yield from as_tables(iter(objects))
    yield from side_by_side(prefixes, lambda prefix: _list_prefix(store, prefix, notes), _LISTERS)


def _list_prefix(store: S3Store, prefix: str, notes: ListingNotes | None) -> Iterator[pa.Table]:
    if notes is None:
        yield from as_tables(store.list(prefix))
        return
    lots, last = 0, ""
    for table in notes.kept(prefix):
        lots, last = lots + 1, table["key"][-1].as_py()
        yield table
    yield from notes.keeping(prefix, lots, last, as_tables(store.list(prefix, after=last)))


def split(level: Callable[[str], Iterator[ObjectInfo | str]], prefix: str) -> tuple[list[str], list[ObjectInfo]]:
    """Prefixes that can be listed side by side, and the objects that are in none of them.

    Folders are opened, widest level first, until there are enough. One that holds very many entries is listed as it is:
    looking for folders in it would take as long.

    Args:
        level: The objects and folders directly in a folder.
        prefix: Where to start.
    """
    closed, leaves, objects = deque([prefix]), list[str](), list[ObjectInfo]()
    while closed and len(closed) + len(leaves) < _ENOUGH:
        folder = closed.popleft()
        entries = list(itertools.islice(level(folder), _WIDE + 1))
        if len(entries) > _WIDE:
            leaves.append(folder)
            continue
        closed.extend(entry for entry in entries if isinstance(entry, str))
        objects.extend(entry for entry in entries if not isinstance(entry, str))
    return [*leaves, *closed], objects


def side_by_side(units: list[Unit], read: Callable[[Unit], Iterator[pa.Table]], threads: int) -> Iterator[pa.Table]:
    """Read several things at once; tables come as they come. The reader who stops early stops them all."""
    readers = _Readers(units, read)
    workers = [threading.Thread(target=readers.work, daemon=True) for _ in range(min(threads, len(units)))]
    for worker in workers:
        worker.start()
    running = len(workers)
    try:
        while running:
            item = readers.ready.get()
            if isinstance(item, BaseException):
                raise item
            if item is None:
                running -= 1
            else:
                yield item
    finally:
        readers.stopped.set()


class _Readers(Generic[Unit]):
    """What the threads of ``side_by_side`` share: units that wait, and tables that are ready, a bounded number."""

    def __init__(self, units: list[Unit], read: Callable[[Unit], Iterator[pa.Table]]) -> None:
        self._waiting: queue.SimpleQueue[Unit] = queue.SimpleQueue()
        for unit in units:
            self._waiting.put(unit)
        self._read = read
        self.ready: queue.Queue[pa.Table | BaseException | None] = queue.Queue(_AHEAD)
        """Tables; an error, which ends it all; None from each thread at its end."""
        self.stopped = threading.Event()

    def work(self) -> None:
        """Read one unit after the other until none is left. A thread's life."""
        try:
            while True:
                for table in self._read(self._waiting.get_nowait()):
                    if not self._put(table):
                        return
        except queue.Empty:
            self._put(None)
        except BaseException as error:  # noqa: BLE001 - told to the reader, on whose behalf we are here
            self._put(error)

    def _put(self, item: pa.Table | BaseException | None) -> bool:
        """Hand an item over as soon as there is room; False when nobody wants it any more."""
        while not self.stopped.is_set():
            with contextlib.suppress(queue.Full):
                self.ready.put(item, timeout=0.2)
                return True
        return False


def as_tables(objects: Iterator[ObjectInfo]) -> Iterator[pa.Table]:
    """Objects, without the markers of folders (empty, the key ends in a slash), as tables of ``LISTED``."""
    real = (info for info in objects if not (info.key.endswith("/") and info.size_bytes == 0))
    sizes = itertools.chain([_FIRST_ROWS], itertools.repeat(_ROWS))
    while rows := list(itertools.islice(real, next(sizes))):
        columns = {name: [getattr(info, name) for info in rows] for name in LISTED.names[1:]}
        yield pa.table({"key": [_readable(info.key) for info in rows]} | columns, LISTED)


def _readable(key: str) -> str:
    """The key as text. A file name that is no UTF-8 is written with escapes: it gets its row, as missing."""
    return key.encode("utf-8", "backslashreplace").decode()
