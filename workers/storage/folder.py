"""A folder of the local file system as an object store."""

from __future__ import annotations

import contextlib
import fcntl
import hashlib
import os
import shutil
import tempfile
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path

from typing_extensions import override

from workers.errors import AccessDenied, ConditionFailed, ObjectMissing, StorageError
from workers.storage.protocol import Blob, ObjectInfo, Part, Store


class FolderStore(Store):
    """A folder of the local file system, with the same promises: whole objects, conditional writes."""

    def __init__(self, path: Path) -> None:
        self.path = Path(os.path.abspath(path))  # noqa: PTH100 - resolve() would follow links that the user chose
        self.root = str(self.path)

    def __reduce__(self) -> tuple[type[FolderStore], tuple[Path]]:
        return FolderStore, (self.path,)

    @override
    def get(self, key: str) -> Blob:
        with _told_by_os("read", self.uri(key)):
            data = (self.path / key).read_bytes()
        return Blob(data=data, token=_token(data))

    @override
    def get_range(self, key: str, start: int, length: int) -> Part:
        path = self.path / key
        with _told_by_os("read", self.uri(key)), path.open("rb") as stream:
            size = path.stat().st_size
            stream.seek(max(0, size + start) if start < 0 else start)
            return Part(data=stream.read(size if start < 0 else length), size_bytes=size)

    @override
    def put(self, key: str, data: bytes, *, if_absent: bool = False, if_token: str | None = None) -> str:
        target = self.path / key
        with _told_by_os("write", self.uri(key)):
            target.parent.mkdir(parents=True, exist_ok=True)
            with _written_aside(target, data) as aside:
                if if_absent:
                    try:
                        os.link(aside, target)  # Fails when the target exists: the one atomic "create only".
                    except FileExistsError as error:
                        raise ConditionFailed("write", self.uri(key), "it exists already") from error
                elif if_token is not None:
                    with _locked(target):
                        if not target.exists() or _token(target.read_bytes()) != if_token:
                            raise ConditionFailed("write", self.uri(key), "somebody else wrote it first")
                        aside.replace(target)
                else:
                    aside.replace(target)
        return _token(data)

    @override
    def put_file(self, key: str, path: Path) -> None:
        target = self.path / key
        with _told_by_os("write", self.uri(key)):
            target.parent.mkdir(parents=True, exist_ok=True)
            with _written_aside(target, b"") as aside:
                shutil.copyfile(path, aside)
                aside.replace(target)

    @override
    def list(self, prefix: str = "") -> Iterator[ObjectInfo]:
        if not self.path.is_dir():
            raise ObjectMissing("list", self.root, "there is no such folder")
        # Start at the deepest folder that the prefix names, not at the root.
        start = self.path / prefix.rpartition("/")[0]
        with _told_by_os("list", str(start)):
            for path in _walk(start):
                key = path.relative_to(self.path).as_posix()
                if key.startswith(prefix):
                    status = path.stat()
                    yield ObjectInfo(
                        key=key,
                        etag=f"{status.st_mtime_ns:x}-{status.st_size:x}",
                        size_bytes=status.st_size,
                        last_modified=datetime.fromtimestamp(status.st_mtime, UTC),
                    )

    @override
    def exists(self, key: str) -> bool:
        return (self.path / key).is_file()

    @override
    def delete(self, key: str) -> None:
        with _told_by_os("delete", self.uri(key)):
            (self.path / key).unlink(missing_ok=True)

    @override
    def under(self, prefix: str) -> FolderStore:
        return FolderStore(self.path / prefix.strip("/"))

    @override
    def uri(self, key: str = "") -> str:
        return str(self.path / key) if key else self.root


def _walk(folder: Path) -> Iterator[Path]:
    """Files below a folder in the order of S3 keys, without names that start with a dot: our own temporary files."""
    if not folder.is_dir():
        return
    with os.scandir(folder) as entries:
        found = [(entry.name + "/" * entry.is_dir(), entry.path) for entry in entries if not entry.name.startswith(".")]
    for name, path in sorted(found):
        if name.endswith("/"):
            yield from _walk(Path(path))
        else:
            yield Path(path)


def _token(data: bytes) -> str:
    return hashlib.blake2b(data, digest_size=16).hexdigest()


@contextlib.contextmanager
def _written_aside(target: Path, data: bytes) -> Iterator[Path]:
    """A complete temporary file beside the target, gone afterwards unless it was moved."""
    handle, name = tempfile.mkstemp(prefix=f".{target.name[:80]}.", dir=target.parent)
    aside = Path(name)
    try:
        with os.fdopen(handle, "wb") as stream:
            stream.write(data)
            stream.flush()
            os.fsync(stream.fileno())
        aside.chmod(0o644)  # mkstemp makes files that only their owner can read.
        yield aside
    finally:
        aside.unlink(missing_ok=True)


@contextlib.contextmanager
def _locked(target: Path) -> Iterator[None]:
    with (target.parent / f".{target.name}.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield


@contextlib.contextmanager
def _told_by_os(operation: str, uri: str) -> Iterator[None]:
    try:
        yield
    except (FileNotFoundError, NotADirectoryError, IsADirectoryError) as error:
        raise ObjectMissing(operation, uri, "there is no such file") from error
    except PermissionError as error:
        raise AccessDenied(operation, uri, "the file system refuses it to this user") from error
    except OSError as error:
        raise StorageError(operation, uri, f"{error.strerror or error} (disk full? read-only?)") from error
