"""What a job needs of an object store, and what it gets back."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Protocol


@dataclass(frozen=True, kw_only=True)
class ObjectInfo:
    """One entry of a listing."""

    key: str
    """Relative to the store's root."""
    etag: str
    """Changes when the content changes. For a folder: modification time and size."""
    size_bytes: int
    last_modified: datetime


@dataclass(frozen=True, kw_only=True)
class Blob:
    """The content of one object and a token that a conditional write can name."""

    data: bytes
    token: str


@dataclass(frozen=True, kw_only=True)
class Part:
    """Some bytes of an object, and how many it has."""

    data: bytes
    size_bytes: int


class Store(Protocol):
    """What a job needs of an object store. Safe to use from several threads; pickles by its root."""

    root: str

    def get(self, key: str) -> Blob:
        """Read one object whole. Raises ``ObjectMissing``, ``AccessDenied``, ``Throttled``, ``StorageError``."""

    def get_range(self, key: str, start: int, length: int) -> Part:
        """Read some bytes of an object, fewer where it ends.

        Args:
            key: Name relative to the root.
            start: Of the first byte; negative counts from the end, and reads to the end.
            length: How many bytes.

        Raises:
            StorageError: As ``get``.
        """

    def put(self, key: str, data: bytes, *, if_absent: bool = False, if_token: str | None = None) -> str:
        """Write one object atomically and return its new token.

        Args:
            key: Name relative to the root.
            data: The whole content.
            if_absent: Only when there is no such object yet.
            if_token: Only when the object is still the version that ``get`` returned with this token.

        Raises:
            ConditionFailed: Somebody else wrote first. Nothing was changed.
        """

    def put_file(self, key: str, path: Path) -> None:
        """Write one object from a file, atomically, whatever its size."""

    def list(self, prefix: str = "") -> Iterator[ObjectInfo]:
        """All objects whose key starts with ``prefix``, streamed, in the store's own order.

        That order is not to be relied on: most S3 servers sort by bytes, some walk folders.
        """

    def exists(self, key: str) -> bool:
        """Whether the object is there."""

    def delete(self, key: str) -> None:
        """Remove the object; no error when it is gone already."""

    def under(self, prefix: str) -> Store:
        """The store rooted one or more levels deeper."""

    def uri(self, key: str = "") -> str:
        """The full name of a key, for messages and for other programs."""
