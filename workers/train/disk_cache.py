"""Photographs from object storage, kept on this machine's disk: an epoch after the first asks the store for nothing.

    <cache>/images/ab/cd01...      one image: the sha256 of its bytes, then the bytes
    <cache>/images/held            how many bytes all of them have, read and written under a lock

All workers of a machine share it. An image appears by one rename, so that nobody reads half of one, and is believed
only when its digest is right: whatever a killed process or a crashed machine left, costs a request and no more.
"""

from __future__ import annotations

import contextlib
import fcntl
import hashlib
import os
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path

from workers.logs import get_log

_DIGEST_BYTES = hashlib.sha256().digest_size
_ROOM = 0.05
"""Share of the limit that making room frees at least: looking through all files is not for every image."""


class DiskCache:
    """Images of one run on this machine's disk, within a limit for all runs together.

    What was used longest ago goes first, but never what this run has used itself: in the new order of each epoch the
    oldest is just what comes next. When nothing else is left to go, the images that fit stay and the others are asked
    for in each epoch.
    """

    def __init__(self, folder: Path, limit_bytes: int, run: str, read: Callable[[str], bytes]) -> None:
        """Use a folder, which is made when needed.

        Args:
            folder: Of this user alone: what lies there is taken for images.
            limit_bytes: Of all files in it together.
            run: Whose images: an image that was replaced under its old name is another one to the next run.
            read: Gives the bytes of a URI that is not here.
        """
        self._folder, self._limit_bytes, self._run, self._read = folder, limit_bytes, run, read
        self._began_at = time.time()
        self._full = False

    def read(self, uri: str) -> bytes:
        """The bytes of an image, from here or from where it lies. Raises what ``read`` of the constructor raises."""
        name = hashlib.sha256(f"{self._run}\n{uri}".encode()).hexdigest()
        path = self._folder / name[:2] / name[2:]
        if (kept := _sound(path)) is not None:
            return kept
        data = self._read(uri)
        if not self._full:
            try:
                self._keep(path, data)
            except OSError as error:  # A full disk is no reason to stop: the images are where they always were.
                self._full = True
                get_log().warning("train.disk_cache_failed", folder=str(self._folder), reason=str(error))
        return data

    def _keep(self, path: Path, data: bytes) -> None:
        path.parent.mkdir(parents=True, exist_ok=True)
        aside = path.with_name(f".{path.name}.{os.getpid()}.{threading.get_ident()}")
        if not self._reserved(aside, _DIGEST_BYTES + len(data)):
            return
        try:
            with aside.open("r+b") as file:
                file.write(hashlib.sha256(data).digest() + data)
            aside.replace(path)
        except FileNotFoundError:
            return  # Another process needed the room.
        except OSError:
            aside.unlink(missing_ok=True)
            raise

    def _reserved(self, aside: Path, size_bytes: int) -> bool:
        """Whether there is room for some bytes, or some could be made; then they are counted, and a file has them.

        The file comes before the lock goes: who looks through all files meanwhile, counts what is yet to be written.
        """
        with _counted(self._folder / "held") as held:
            if held.bytes + size_bytes > self._limit_bytes:
                held.bytes = self._make_room(self._limit_bytes - max(size_bytes, int(_ROOM * self._limit_bytes)))
                self._full = held.bytes + size_bytes > self._limit_bytes
            if not self._full:
                held.bytes += size_bytes
                aside.touch()
                os.truncate(aside, size_bytes)
        return not self._full

    def _make_room(self, most_bytes: int) -> int:
        """Delete what was used longest ago until no more than that is left, or nothing may go; what is left."""
        files = []
        for path in self._folder.glob("??/*"):
            with contextlib.suppress(FileNotFoundError):  # Another worker has renamed it.
                status = path.stat()
                files.append((status.st_mtime, status.st_size, path))
        held_bytes = sum(size_bytes for _, size_bytes, _ in files)
        for used_at, size_bytes, path in sorted(files):
            if held_bytes <= most_bytes or used_at >= self._began_at:
                break
            path.unlink(missing_ok=True)
            held_bytes -= size_bytes
        return held_bytes


def _sound(path: Path) -> bytes | None:
    """An image as it was kept; None when it is not there, or damaged."""
    try:
        content = path.read_bytes()
        data = content[_DIGEST_BYTES:]
        if hashlib.sha256(data).digest() != content[:_DIGEST_BYTES]:
            return None
        os.utime(path)  # Used now; the time of access is switched off on many machines.
    except OSError:
        return None
    return data


class _Held:
    """How many bytes are kept; to be changed in place."""

    def __init__(self, text: str) -> None:
        self.bytes = int(text) if text.isdigit() else 0


@contextlib.contextmanager
def _counted(path: Path) -> Iterator[_Held]:
    """The count, for this process alone until the end of the block."""
    with path.open("a+") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        file.seek(0)
        held = _Held(file.read())
        yield held
        file.seek(0)
        file.truncate()
        file.write(str(held.bytes))
