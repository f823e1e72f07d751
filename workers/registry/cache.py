"""Folders fetched once and kept on this machine, safe to share between processes.

A folder appears under its final name by one rename: a reader sees all of it or nothing. What is there already is
believed only when its digests are right; a damaged folder is fetched again.
"""

from __future__ import annotations

import contextlib
import errno
import hashlib
import os
import stat
import tempfile
from collections.abc import Callable, Mapping
from pathlib import Path

from workers.errors import SettingsError, StorageError

_ATTEMPTS = 5


def default_cache() -> Path:
    """This user's cache below the system's temporary folder, made when needed. Nobody else can write into it.

    A volume that is mounted there is root's, and open to the group that whoever mounted it chose: Kubernetes' fsGroup.

    Raises:
        SettingsError: If it is neither: what lies there could be anybody's.
    """
    path = Path(tempfile.gettempdir()) / f"lga-cache-{os.getuid()}"
    path.mkdir(mode=0o700, exist_ok=True)
    status = path.lstat()
    is_ours = status.st_uid == os.getuid() and not stat.S_IMODE(status.st_mode) & 0o077
    is_a_volume = status.st_uid == 0 and not stat.S_IMODE(status.st_mode) & 0o002
    if not stat.S_ISDIR(status.st_mode) or not (is_ours or is_a_volume):
        raise SettingsError(f"{path} is not a folder of this user alone (mode 0700): remove it, or set TMPDIR")
    return path


def cache_place(cache: Path | None, kind: str, *identity: str) -> Path:
    """A folder of its own for each content, in a cache; None is this user's."""
    name = hashlib.sha256("\n".join(identity).encode()).hexdigest()[:32]
    return (default_cache() if cache is None else cache) / kind / name


def cached_folder(folder: Path, digests: Mapping[str, str], download: Callable[[], Mapping[str, bytes]]) -> Path:
    """The folder, as it lies in the cache or freshly downloaded.

    Args:
        folder: Its place in the cache. The name must change with the content.
        digests: sha256, in hex, of the files that decide whether the folder is sound.
        download: Gives the content of every file by name, with its digests checked.

    Raises:
        StorageError: If the cache cannot be written. Whatever ``download`` raises comes through.
    """
    if _is_sound(folder, digests):
        return folder
    files = download()
    try:
        folder.parent.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(prefix=f".{folder.name}.", dir=folder.parent) as aside:
            fresh = Path(aside) / "fresh"
            fresh.mkdir()
            for name, data in files.items():
                (fresh / name).write_bytes(data)
            _put_in_place(fresh, folder, digests)
    except OSError as error:
        raise StorageError("keep", str(folder), f"{error.strerror or error} (disk full? read-only?)") from error
    return folder


def _put_in_place(fresh: Path, folder: Path, digests: Mapping[str, str]) -> None:
    """Give the fresh folder its final name; when another process was quicker, its folder is as good as ours."""
    for attempt in range(_ATTEMPTS):
        try:
            fresh.rename(folder)
        except OSError as error:
            if error.errno not in (errno.ENOTEMPTY, errno.EEXIST):
                raise
        else:
            return
        if _is_sound(folder, digests):
            return
        with contextlib.suppress(FileNotFoundError):
            folder.rename(fresh.with_name(f"damaged-{attempt}"))
    raise OSError(errno.EBUSY, "other processes keep putting damaged files there")


def _is_sound(folder: Path, digests: Mapping[str, str]) -> bool:
    try:
        return all(hashlib.sha256((folder / name).read_bytes()).hexdigest() == digests[name] for name in digests)
    except OSError:
        return False
