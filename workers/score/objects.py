"""An object on its way through the pipeline: as it was listed, as it was read, or why there is nothing of it."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime


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
class Unanswered(Failure):
    """The store said nothing about the object, or only "later": either of them may be to blame."""
