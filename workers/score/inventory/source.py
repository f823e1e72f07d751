"""Where photographs come from."""

from __future__ import annotations

from dataclasses import dataclass

from workers.storage import S3Store, Store, open_store


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
