"""What TensorRT's builders measured, kept beside the models for the next build: ``timings/<kind>.bin``."""

from __future__ import annotations

import re

from workers.errors import ObjectMissing, StorageError
from workers.logs import get_log
from workers.storage import Store


class StoredTimings:
    """The timings of a registry. Two builders that keep theirs at once lose those of one: they are only a cache."""

    def __init__(self, store: Store) -> None:
        self._store = store

    def read(self, kind: str) -> bytes:
        """What was kept for a kind of builder and GPU; empty when there is nothing."""
        try:
            return self._store.get(_key(kind)).data
        except ObjectMissing:
            return b""

    def keep(self, kind: str, data: bytes) -> None:
        """Keep it for the next build. An engine is not lost because this cannot be written."""
        try:
            self._store.put(_key(kind), data)
        except StorageError as error:
            get_log().warning("registry.timings_not_kept", kind=kind, problem=str(error))


def _key(kind: str) -> str:
    return f"timings/{re.sub('[^a-z0-9.]+', '-', kind.lower())}.bin"
