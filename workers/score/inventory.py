"""What there is to score: the listing of a prefix or a folder, filtered and streamed."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from fnmatch import fnmatchcase

from workers.storage import ObjectInfo, S3Store, Store, open_store


@dataclass(frozen=True, kw_only=True)
class Source:
    """Where photographs come from. ``store`` speaks of the keys that the tags name."""

    store: Store
    """The whole bucket, or the folder that was named."""
    prefix: str
    """Front of every key, empty or ending in a slash."""

    @property
    def uri(self) -> str:
        """The prefix or folder, written in one way however the user wrote it."""
        return self.store.uri(self.prefix)

    @property
    def namespace(self) -> str:
        """Within it, equal keys name equal objects: the bucket, or the folder."""
        return self.store.root


def open_source(uri: str) -> Source:
    """The source behind ``--input``.

    A bucket's keys are told in full, so that scoring ``s3://b/2024`` and later ``s3://b`` speaks of the same objects.
    A prefix is a folder: ``s3://b/photo`` does not mean ``photos/1.jpg``.
    """
    store = open_store(uri)
    if isinstance(store, S3Store):
        return Source(store=S3Store(store.bucket), prefix=f"{store.prefix}/" if store.prefix else "")
    return Source(store=store, prefix="")


@dataclass(frozen=True, kw_only=True)
class Selection:
    """Which of the objects are wanted."""

    include: tuple[str, ...] = ("*",)
    """Shell patterns; ``*`` crosses slashes. They see the key below the prefix, as in `aws s3 sync`."""
    exclude: tuple[str, ...] = ()
    limit: int | None = None
    """At most this many objects."""


def list_objects(source: Source, selection: Selection, output: Store) -> Iterator[ObjectInfo]:
    """Every object that is wanted, with the key that its row will carry.

    Left out are folder markers (empty, the key ends in a slash) and what lies under the output.

    Raises:
        StorageError: At the first object, if there is no such bucket or folder, or the credentials do not reach it.
    """
    wanted = _wanted(source.prefix, selection)
    own = f"{output.root}/"
    found = (
        replace(info, key=_readable(info.key))
        for info in source.store.list(source.prefix)
        if not (info.key.endswith("/") and info.size_bytes == 0)
        and not source.store.uri(info.key).startswith(own)
        and wanted(info.key)
    )
    return itertools.islice(found, selection.limit)


def _wanted(prefix: str, selection: Selection) -> Callable[[str], bool]:
    def wanted(key: str) -> bool:
        name = key[len(prefix) :]
        included = any(fnmatchcase(name, pattern) for pattern in selection.include)
        return included and not any(fnmatchcase(name, pattern) for pattern in selection.exclude)

    return wanted


def _readable(key: str) -> str:
    """The key as text. A file name that is no UTF-8 is written with escapes: it gets its row, as missing."""
    return key.encode("utf-8", "backslashreplace").decode()
