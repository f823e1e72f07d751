"""Objects under a URI: an S3 bucket or a folder behind the same calls.

A store is bound to a root (``s3://bucket/prefix``, a path, ``file://...``) and speaks of keys relative to it, always
with forward slashes. Writes are atomic: a reader sees the whole object or none. Conditional writes are what
exactly-once and the registry's aliases rest on.
"""

from __future__ import annotations

from pathlib import Path
from urllib.parse import unquote, urlsplit

from workers.errors import SettingsError
from workers.storage.folder import FolderStore
from workers.storage.protocol import Blob, ObjectInfo, Part, Store
from workers.storage.s3 import S3Access, S3Store, forget_client, s3_access, s3_answers

__all__ = [
    "Blob",
    "FolderStore",
    "ObjectInfo",
    "Part",
    "S3Access",
    "S3Store",
    "Store",
    "forget_client",
    "make_bucket",
    "open_store",
    "read_uri",
    "s3_access",
    "s3_answers",
    "split_uri",
]


def open_store(uri: str) -> Store:
    """The store behind a URI: ``s3://bucket[/prefix]``, ``file:///path`` or a path.

    Raises:
        SettingsError: If it is no URI, the scheme is not known or the bucket is not named.
    """
    try:
        parts = urlsplit(uri)
    except ValueError as error:
        raise SettingsError(f"cannot use {uri!r}: {error}; write s3://BUCKET/PREFIX, or a path") from error
    if parts.scheme == "s3":
        if not parts.netloc:
            raise SettingsError(f"{uri!r} names no bucket; write s3://BUCKET/PREFIX")
        # Not parts.path: a key may hold '?' and '#', which a URL parser would cut off.
        return S3Store(parts.netloc, uri.removeprefix(f"s3://{parts.netloc}").strip("/"))
    if parts.scheme == "file":
        return FolderStore(Path(unquote(parts.path)))
    if "://" in uri:
        raise SettingsError(f"cannot use {uri!r}: only s3://, file:// and paths are understood")
    if not uri:
        raise SettingsError("an empty path was given where a URI or a path is expected")
    return FolderStore(Path(uri).expanduser())


def split_uri(uri: str) -> tuple[Store, str]:
    """The store of the folder that holds one object, and the object's name in it."""
    head, _, name = uri.rstrip("/").rpartition("/")
    if not head and not uri.startswith("/"):
        head = "."
    return open_store(head or "/"), name


def read_uri(uri: str) -> bytes:
    """Read one object by its full name. Errors as ``Store.get``."""
    store, name = split_uri(uri)
    return store.get(name).data


def make_bucket(uri: str) -> None:
    """Create the bucket of an ``s3://`` URI; no error when it is there already."""
    store = open_store(uri)
    if isinstance(store, S3Store):
        store.make_bucket()
