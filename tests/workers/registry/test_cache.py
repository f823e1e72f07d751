"""Folders that are fetched once, and only believed when their digests are right."""

from __future__ import annotations

import hashlib
import os
import tempfile

import pytest

from workers.errors import SettingsError, StorageError
from workers.registry.cache import cached_folder, default_cache

GOOD = b"weights"
DIGESTS = {"w": hashlib.sha256(GOOD).hexdigest()}


def never() -> dict[str, bytes]:
    raise AssertionError("it should not have been downloaded again")


def test_a_folder_is_downloaded_once(tmp_path):
    """
    The second time the folder comes from the cache.
    """
    first = cached_folder(tmp_path / "c" / "m", DIGESTS, lambda: {"w": GOOD, "note": b"n"})
    second = cached_folder(tmp_path / "c" / "m", DIGESTS, never)

    assert first == second == tmp_path / "c" / "m"
    assert {"w": GOOD, "note": b"n"} == {path.name: path.read_bytes() for path in first.iterdir()}


@pytest.mark.parametrize("damage", [b"", b"weight", b"Weights"])
def test_a_damaged_folder_is_downloaded_again(tmp_path, damage):
    """
    Truncated or changed files in the cache are replaced, and nothing of them stays.
    """
    folder = cached_folder(tmp_path / "m", DIGESTS, lambda: {"w": GOOD})
    (folder / "w").write_bytes(damage)
    (folder / "strange").touch()
    cached_folder(folder, DIGESTS, lambda: {"w": GOOD})

    assert {"w": GOOD} == {path.name: path.read_bytes() for path in folder.iterdir()}
    assert [folder] == list(tmp_path.iterdir())


def test_a_failed_download_leaves_nothing(tmp_path):
    """
    The caller gets the download's own error, and the cache stays clean.
    """

    def fail() -> dict[str, bytes]:
        raise StorageError("read", "s3://b/k", "gone")

    with pytest.raises(StorageError, match="gone"):
        cached_folder(tmp_path / "m", DIGESTS, fail)

    assert [] == list(tmp_path.iterdir())


def test_a_cache_that_cannot_be_written_is_told(tmp_path):
    """
    A file where the cache should be gives a message, not a traceback.
    """
    (tmp_path / "c").touch()
    with pytest.raises(StorageError, match="cannot keep"):
        cached_folder(tmp_path / "c" / "m", DIGESTS, lambda: {"w": GOOD})


def test_the_default_cache_belongs_to_this_user_alone(tmp_path, monkeypatch):
    """
    It is made with mode 0700; one that others may write into is refused, and so is a link.
    """
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    cache = default_cache()
    mode = cache.stat().st_mode & 0o777
    cache.chmod(0o777)
    with pytest.raises(SettingsError, match="not a folder of this user alone"):
        default_cache()
    cache.rmdir()
    (tmp_path / "elsewhere").mkdir(mode=0o700)
    cache.symlink_to(tmp_path / "elsewhere")
    with pytest.raises(SettingsError, match="not a folder of this user alone"):
        default_cache()

    assert 0o700 == mode
    assert f"lga-cache-{os.getuid()}" == cache.name


@pytest.mark.skipif(os.getuid() != 0, reason="needs root, whose the volume is")
def test_a_volume_of_kubernetes_is_taken(tmp_path, monkeypatch):
    """
    It is root's, and the pod's group may write; one that everybody may write into is refused.
    """
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    monkeypatch.setattr(os, "getuid", lambda: 1000)
    volume = tmp_path / "lga-cache-1000"
    volume.mkdir()
    volume.chmod(0o2775)

    assert volume == default_cache()
    volume.chmod(0o2777)
    with pytest.raises(SettingsError, match="not a folder of this user alone"):
        default_cache()
