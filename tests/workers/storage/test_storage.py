"""Folder and bucket keep the same promises."""

from __future__ import annotations

import os
import pickle
import shutil
import threading
from pathlib import Path

import pytest

from workers.errors import AccessDenied, ConditionFailed, ObjectMissing, SettingsError, StorageError
from workers.storage import FolderStore, S3Store, forget_client, open_store, read_uri


def test_what_is_written_is_read_back(store_uri):
    """
    An object comes back byte for byte, by key and by its full name.
    """
    store = open_store(store_uri)
    store.put("a/b c/ünï#?.bin", bytes(range(256)))

    assert bytes(range(256)) == store.get("a/b c/ünï#?.bin").data
    assert bytes(range(256)) == read_uri(store.uri("a/b c/ünï#?.bin"))


def test_a_create_only_write_never_replaces(store_uri):
    """
    The first writer wins; the second is told and changes nothing.
    """
    store = open_store(store_uri)
    store.put("shard", b"first", if_absent=True)
    with pytest.raises(ConditionFailed):
        store.put("shard", b"second", if_absent=True)

    assert b"first" == store.get("shard").data


def test_a_write_with_an_old_token_is_refused(store_uri):
    """
    Compare and swap: only who has read the present version may replace it.
    """
    store = open_store(store_uri)
    store.put("alias", b"1")
    token = store.get("alias").token
    new_token = store.put("alias", b"2", if_token=token)
    with pytest.raises(ConditionFailed):
        store.put("alias", b"3", if_token=token)

    assert b"2" == store.get("alias").data
    assert new_token == store.get("alias").token


def test_of_many_simultaneous_creations_one_wins(store_uri):
    """
    Eight threads create the same object; exactly one succeeds, and its bytes are the ones that stay.
    """
    store = open_store(store_uri)
    winners = []
    start = threading.Barrier(8)

    def create(number):
        start.wait()
        try:
            store.put("one", str(number).encode() * 1000, if_absent=True)
        except ConditionFailed:
            return
        winners.append(number)

    threads = [threading.Thread(target=create, args=(number,)) for number in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()

    assert 1 == len(winners)
    assert str(winners[0]).encode() * 1000 == store.get("one").data


def test_a_listing_is_complete_and_relative(store_uri):
    """
    Keys come relative to the root, with sizes; a prefix need not end at a slash.
    """
    store = open_store(store_uri)
    keys = ["a-b/1", "a/1", "a/2/3", "a0", "b"]
    for key in keys:
        store.put(key, key.encode())
    infos = list(store.list())

    assert sorted(keys) == sorted(info.key for info in infos)
    assert {key: len(key) for key in keys} == {info.key: info.size_bytes for info in infos}
    assert ["a/1", "a/2/3"] == [info.key for info in store.list("a/")]
    assert ["2/3"] == [info.key for info in store.under("a").list("2")]
    assert all(info.etag for info in infos)


def test_a_listing_longer_than_a_page_is_whole(s3):
    """
    S3 answers a thousand keys at a time; the listing goes on.
    """
    store = open_store(s3.bucket())
    for number in range(1005):
        store.put(f"{number:05d}", b"")

    assert [f"{number:05d}" for number in range(1005)] == sorted(info.key for info in store.list())


def test_what_is_absent_is_told_apart(store_uri):
    """
    Reading what is not there is ``ObjectMissing``; looking and deleting are no errors. A slash at the end is part of a
    key.
    """
    store = open_store(store_uri)
    store.put("there", b"")
    for key in ("not-there", "there/"):
        with pytest.raises(ObjectMissing, match="no such"):
            store.get(key)
    store.delete("not-there")

    assert store.exists("there")
    assert not store.exists("not-there")
    assert not store.exists("there/")


def test_a_missing_bucket_is_named(s3):
    """
    The message says that the bucket is missing, not the object.
    """
    with pytest.raises(ObjectMissing, match="no such bucket"):
        list(open_store("s3://nobody-made-this").list())


def test_a_missing_folder_is_named(tmp_path):
    """
    Listing a folder that does not exist is an error, not an empty answer.
    """
    with pytest.raises(ObjectMissing, match="no such folder"):
        list(open_store(str(tmp_path / "nowhere")).list())


def test_a_listing_leaves_out_what_is_no_file(tmp_path):
    """
    Links to nowhere or in a circle, links back to a folder above, pipes: the files beside them are listed all the same.
    """
    store = open_store(str(tmp_path))
    store.put("a/1.jpg", b"x")
    store.put("b.jpg", b"x")
    (tmp_path / "a" / "back").symlink_to(tmp_path)
    (tmp_path / "a" / "nowhere.jpg").symlink_to("/nowhere/at/all.jpg")
    (tmp_path / "a" / "behind-a-file").symlink_to("1.jpg/x")
    (tmp_path / "a" / "circle").symlink_to("circle")
    (tmp_path / "linked").symlink_to("a")
    os.mkfifo(tmp_path / "a" / "pipe")

    assert ["a/1.jpg", "b.jpg", "linked/1.jpg"] == [info.key for info in store.list()]


def test_a_listing_passes_over_what_goes_away_meanwhile(tmp_path):
    """
    Files and folders that are removed while a folder is listed do not end the listing; nor does it say that nothing is
    there.
    """
    store = open_store(str(tmp_path))
    for key in ("a", "b", "c/1", "d/2", "e"):
        store.put(key, b"x")
    found = store.list()
    first = next(found)
    store.delete("b")
    shutil.rmtree(tmp_path / "c")
    shutil.rmtree(tmp_path / "d")
    (tmp_path / "d").write_bytes(b"a file now")

    assert ["a", "e"] == [first.key, *(info.key for info in found)]


@pytest.mark.parametrize("key", ["../secret/s.jpg", "a/../../secret/s.jpg", "{absolute}", "a\0b"])
def test_a_key_cannot_leave_the_folder(tmp_path, key):
    """
    Keys come from lists and tags: one that names a file outside is refused, whatever is to be done with it.
    """
    (tmp_path / "secret").mkdir()
    (tmp_path / "secret" / "s.jpg").write_bytes(b"private")
    key = key.format(absolute=tmp_path / "secret" / "s.jpg")
    store = FolderStore(tmp_path / "photographs")
    store.put("a/1.jpg", b"x")
    uses = [
        lambda: store.get(key),
        lambda: store.get_range(key, 0, 1),
        lambda: store.put(key, b"mine"),
        lambda: store.put_file(key, Path(__file__)),
        lambda: store.exists(key),
        lambda: store.delete(key),
        lambda: list(store.list(f"{key}/")),
    ]
    for use in uses:
        with pytest.raises(AccessDenied, match="no name inside of"):
            use()

    assert b"private" == (tmp_path / "secret" / "s.jpg").read_bytes()


def test_a_name_that_no_file_can_have_is_told(tmp_path):
    """
    One of more than 255 bytes is an error of the store's, whoever asks for it.
    """
    store = FolderStore(tmp_path)
    for use in (store.exists, store.get, store.delete):
        with pytest.raises(StorageError, match="name too long"):
            use("x" * 300)


def test_wrong_credentials_are_denied(s3, monkeypatch):
    """
    A wrong secret is told as such, with what to look at.
    """
    uri = s3.bucket()
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "not-the-secret")
    forget_client()
    try:
        with pytest.raises(AccessDenied, match="AWS_"):
            list(open_store(uri).list())
    finally:
        monkeypatch.undo()
        forget_client()


def test_a_server_that_is_not_there_is_told(monkeypatch):
    """
    No server at the endpoint: the message names the endpoint and asks whether it is up.
    """
    monkeypatch.setenv("AWS_ENDPOINT_URL_S3", "http://127.0.0.1:1")
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "x")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "x")
    forget_client()
    try:
        with pytest.raises(StorageError, match=r"127\.0\.0\.1:1.*endpoint"):
            open_store("s3://bucket").get("key")
    finally:
        monkeypatch.undo()
        forget_client()


def test_a_store_travels_between_processes(store_uri):
    """
    Ray pickles stores; the copy reads what the original wrote.
    """
    store = open_store(store_uri)
    store.put("key", b"value")

    assert b"value" == pickle.loads(pickle.dumps(store)).get("key").data


@pytest.mark.parametrize("error", [ObjectMissing("read", "s3://b/k", "gone"), ConditionFailed("write", "x", "lost")])
def test_storage_errors_survive_pickling(error):
    """
    An error raised in a Ray worker arrives whole at the driver.
    """
    copy = pickle.loads(pickle.dumps(error))

    assert str(error) == str(copy)
    assert type(error) is type(copy)


@pytest.mark.parametrize("uri", ["gs://bucket/x", "s3://", "", "http://host/x", "s3://[x]/y", "file://[x"])
def test_a_uri_that_cannot_be_used_is_refused(uri):
    """
    Other schemes, empty names and what is no URI at all are wrong settings.
    """
    with pytest.raises(SettingsError):
        open_store(uri)


def test_uris_open_the_right_store(tmp_path):
    """
    Paths and file:// are folders; s3:// is a bucket with a prefix.
    """
    assert isinstance(open_store(f"file://{tmp_path}"), FolderStore)
    assert str(tmp_path) == open_store(str(tmp_path)).root
    assert "s3://bucket/some/prefix" == open_store("s3://bucket/some/prefix/").root
    assert isinstance(open_store("s3://bucket"), S3Store)


def test_a_full_disk_leaves_no_half_object(tmp_path, monkeypatch):
    """
    When the write fails the old content stays, and nothing half-written lies about.
    """
    store = open_store(str(tmp_path))
    store.put("key", b"old")

    def full(_):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("workers.storage.folder.os.fsync", full)
    with pytest.raises(StorageError, match="No space left"):
        store.put("key", b"new" * 1000)

    assert b"old" == store.get("key").data
    assert [Path("key")] == [path.relative_to(tmp_path) for path in tmp_path.iterdir()]
