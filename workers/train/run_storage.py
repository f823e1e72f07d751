"""Where Ray Train keeps a run: its file system interface on top of our own stores.

Ray writes through pyarrow, whose S3 client knows neither AWS_ENDPOINT_URL_S3 nor profiles nor web identity. Through
this adapter a run's checkpoints go the same way as everything else: the same credentials, retries and errors.
"""

from __future__ import annotations

import io
from collections.abc import Callable
from typing import Any

import pyarrow as pa
from pyarrow.fs import FileInfo, FileSelector, FileSystemHandler, FileType, PyFileSystem

from workers.errors import ObjectMissing
from workers.storage import FolderStore, Store, open_store


def run_storage(output: str) -> tuple[str, PyFileSystem | None]:
    """The storage path and file system that a run below ``output`` is given; None is Ray's own local one."""
    store = open_store(output)
    if isinstance(store, FolderStore):
        return store.root, None
    return "runs", PyFileSystem(_Handler(store))


class _Handler(FileSystemHandler):  # type: ignore[misc]  # pyarrow has no types
    """A store as a pyarrow file system. Folders are what keys have in common; paths start with ``runs/``."""

    def __init__(self, store: Store) -> None:
        self.store = store

    def __eq__(self, other: object) -> bool:
        return isinstance(other, _Handler) and self.store.root == other.store.root

    def __hash__(self) -> int:
        return hash(self.store.root)

    def get_type_name(self) -> str:
        return "lga"

    def normalize_path(self, path: str) -> str:
        return path

    def get_file_info(self, paths: list[str]) -> list[FileInfo]:
        return [self._info(path) for path in paths]

    def get_file_info_selector(self, selector: FileSelector) -> list[FileInfo]:
        base = f"{_key(selector.base_dir)}/".lstrip("/")
        found: dict[str, FileInfo] = {}
        for entry in self.store.list(base):
            head, *rest = entry.key[len(base) :].split("/")
            if selector.recursive or not rest:
                found[entry.key] = FileInfo(f"runs/{entry.key}", type=FileType.File, size=entry.size_bytes)
            folders = (
                ["/".join((head, *rest)[:depth]) for depth in range(1, len(rest) + 1)] if selector.recursive else [head]
            )
            for folder in folders if rest else ():
                found[base + folder] = FileInfo(f"runs/{base}{folder}", type=FileType.Directory)
        if not found and not selector.allow_not_found:
            raise FileNotFoundError(selector.base_dir)
        return list(found.values())

    def create_dir(self, path: str, recursive: bool) -> None:
        """An object store has no folders to make."""

    def delete_dir(self, path: str) -> None:
        self.delete_dir_contents(path)

    def delete_dir_contents(self, path: str, missing_dir_ok: bool = False) -> None:  # noqa: ARG002 - pyarrow's
        for entry in list(self.store.list(f"{_key(path)}/")):
            self.store.delete(entry.key)

    def delete_root_dir_contents(self) -> None:
        raise NotImplementedError("a run never empties the whole store")

    def delete_file(self, path: str) -> None:
        self.store.delete(_key(path))

    def move(self, src: str, dest: str) -> None:
        self.copy_file(src, dest)
        self.delete_file(src)

    def copy_file(self, src: str, dest: str) -> None:
        self.store.put(_key(dest), self._read(src))

    def open_input_stream(self, path: str) -> pa.NativeFile:
        return pa.PythonFile(io.BytesIO(self._read(path)), mode="r")

    def open_input_file(self, path: str) -> pa.NativeFile:
        return pa.PythonFile(io.BytesIO(self._read(path)), mode="r")

    def open_output_stream(self, path: str, metadata: dict[str, Any] | None) -> pa.NativeFile:  # noqa: ARG002 - pyarrow's
        return pa.PythonFile(_WrittenAtClose(lambda data: self.store.put(_key(path), data)), mode="w")

    def open_append_stream(self, path: str, metadata: dict[str, Any] | None) -> pa.NativeFile:
        raise NotImplementedError("objects are written whole")

    def _info(self, path: str) -> FileInfo:
        key = _key(path)
        for entry in self.store.list(key):
            if entry.key == key:
                return FileInfo(path, type=FileType.File, size=entry.size_bytes)
            if entry.key.startswith(f"{key}/".lstrip("/")):
                return FileInfo(path, type=FileType.Directory)
        return FileInfo(path, type=FileType.NotFound)

    def _read(self, path: str) -> bytes:
        try:
            return self.store.get(_key(path)).data
        except ObjectMissing as error:
            raise FileNotFoundError(path) from error


class _WrittenAtClose(io.BytesIO):
    """Collects what is written and stores it as one object when it is closed."""

    def __init__(self, store: Callable[[bytes], object]) -> None:
        super().__init__()
        self._store = store

    def close(self) -> None:
        if not self.closed:
            self._store(self.getvalue())
        super().close()


def _key(path: str) -> str:
    return path.strip("/").removeprefix("runs").strip("/")
