"""A folder of the local file system as an object store."""

from __future__ import annotations

import contextlib
import errno
import fcntl
import hashlib
import os
import shutil
import stat
import tempfile
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path

from typing_extensions import override

from workers.errors import AccessDenied, ConditionFailed, ObjectMissing, StorageError
from workers.storage.protocol import Blob, ObjectInfo, Part, Store

_NOTHING = {errno.ENOENT, errno.ENOTDIR, errno.ELOOP}


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
            data = self._file(key).read_bytes()
        return Blob(data=data, token=_token(data))

    @override
    def get_range(self, key: str, start: int, length: int) -> Part:
        path = self._file(key)
        with _told_by_os("read", self.uri(key)), path.open("rb") as stream:
            size = path.stat().st_size
            stream.seek(max(0, size + start) if start < 0 else start)
            return Part(data=stream.read(size if start < 0 else length), size_bytes=size)

    @override
    def put(self, key: str, data: bytes, *, if_absent: bool = False, if_token: str | None = None) -> str:
        target = self._path("write", key)
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
        target = self._path("write", key)
        with _told_by_os("write", self.uri(key)):
            target.parent.mkdir(parents=True, exist_ok=True)
            with _written_aside(target, b"") as aside:
                shutil.copyfile(path, aside)
                aside.replace(target)

    @override
    def list(self, prefix: str = "") -> Iterator[ObjectInfo]:
        # Start at the deepest folder that the prefix names, not at the root.
        start = self._path("list", prefix.rpartition("/")[0])
        with _told_by_os("list", str(start)):
            if not self.path.is_dir():
                raise ObjectMissing("list", self.root, "there is no such folder")
            for path, status in _walk(start):
                key = path.relative_to(self.path).as_posix()
                if key.startswith(prefix):
                    yield ObjectInfo(
                        key=key,
                        etag=f"{status.st_mtime_ns:x}-{status.st_size:x}",
                        size_bytes=status.st_size,
                        last_modified=datetime.fromtimestamp(status.st_mtime, UTC),
                    )

    @override
    def exists(self, key: str) -> bool:
        with _told_by_os("look at", self.uri(key)):
            return self._path("look at", key).is_file() and not key.endswith("/")

    @override
    def delete(self, key: str) -> None:
        with _told_by_os("delete", self.uri(key)):
            self._path("delete", key).unlink(missing_ok=True)

    @override
    def under(self, prefix: str) -> FolderStore:
        return FolderStore(self.path / prefix.strip("/"))

    @override
    def uri(self, key: str = "") -> str:
        return str(self.path / key) if key else self.root

    def _file(self, key: str) -> Path:
        """The file to read. A path forgets the slash that a key ends with, and the key "x/" is not the key "x"."""
        path = self._path("read", key)
        if key.endswith("/"):
            raise ObjectMissing("read", f"{self.uri(key)}/", "there is no such file")
        return path

    def _path(self, operation: str, key: str) -> Path:
        """Where an object lies: always inside of the folder. Keys come from lists and tags, and are not trusted."""
        if key.startswith("/") or ".." in key.split("/") or "\0" in key:
            raise AccessDenied(operation, self.uri(key), f"this is no name inside of {self.root}")
        return self.path / key


def _walk(folder: Path, above: frozenset[tuple[int, int]] = frozenset()) -> Iterator[tuple[Path, os.stat_result]]:
    """Files below a folder with their status, in the order of S3 keys.

    Left out are names that start with a dot, as our own temporary files do; pipes and devices; links that lead nowhere
    or back to a folder that they lie in (``above``: device and number of each); and what goes away meanwhile.
    """
    status = _status(folder)
    if status is None or not stat.S_ISDIR(status.st_mode) or (status.st_dev, status.st_ino) in above:
        return
    try:
        with os.scandir(folder) as entries:
            found = sorted(
                (entry.name + "/" * _is_folder(entry), entry.path)
                for entry in entries
                if not entry.name.startswith(".")
            )
    except (FileNotFoundError, NotADirectoryError):
        return
    for name, path in found:
        if name.endswith("/"):
            yield from _walk(Path(path), above | {(status.st_dev, status.st_ino)})
        elif (file := _status(Path(path))) is not None and stat.S_ISREG(file.st_mode):
            yield Path(path), file


def _is_folder(entry: os.DirEntry[str]) -> bool:
    # An entry's own is_dir() raises at a link that leads round in a circle.
    return entry.is_dir(follow_symlinks=False) or (entry.is_symlink() and Path(entry.path).is_dir())


def _status(path: Path) -> os.stat_result | None:
    """None when there is nothing, or a link to nothing."""
    try:
        return path.stat()
    except OSError as error:
        if error.errno in _NOTHING:
            return None
        raise


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
