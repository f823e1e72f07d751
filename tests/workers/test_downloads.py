"""Reads that can be called off, on a real S3 server and on folders."""

from __future__ import annotations

import asyncio

import pytest

from workers.downloads import Downloads, TooLarge
from workers.errors import AccessDenied, ObjectMissing, Throttled
from workers.storage import Blob, FolderStore, forget_client, open_store


def get(store, key: str, max_bytes: int = 1000) -> Blob:
    return asyncio.run(Downloads(store).get(key, max_bytes))


@pytest.mark.parametrize(
    "key", ["a.jpg", "below/a b.jpg", "Ünïcode ★ & <b>'\"#?%41+.jpg", "a%2Fb.jpg", "tab\there.jpg", "~tilde*'().jpg"]
)
def test_every_key_is_read_as_it_was_written(store_uri, key):
    """
    The bytes and the token of a bucket's object are those that the other client knows, also of keys that only that one
    can name. A file's bytes have no token.
    """
    store = open_store(store_uri).under("front")
    store.put(key, b"some bytes")

    there = store.get(key)
    token = "" if isinstance(store, FolderStore) else there.token

    assert Blob(data=there.data, token=token) == get(store, key)


def test_what_is_not_there_is_missing(store_uri):
    """
    Here as there.
    """
    store = open_store(store_uri)
    store.put("other", b"")

    with pytest.raises(ObjectMissing):
        get(store, "nothing")


@pytest.mark.parametrize("key", ["grown", "odd//grown"])
def test_what_has_grown_is_not_read(store_uri, key, monkeypatch):
    """
    An object that is larger than its listing said is refused by its length, before its bytes come.
    """
    store = open_store(store_uri)
    store.put(key, bytes(1001))
    monkeypatch.setattr(store, "get", None)  # It would read all of it.

    with pytest.raises(TooLarge, match="1001 bytes; the limit is 1000"):
        get(store, key)
    assert bytes(1001) == get(open_store(store_uri), key, 1001).data


def test_a_file_without_end_is_not_read(tmp_path):
    """
    A link to a device says that it has no bytes: no more are read than are allowed.
    """
    (tmp_path / "zero.jpg").symlink_to("/dev/zero")

    with pytest.raises(TooLarge, match="at least 1001 bytes"):
        get(open_store(str(tmp_path)), "zero.jpg")


def test_a_key_that_ends_in_a_slash_is_no_other_key(store_uri):
    """
    Some tools mark folders by such objects: the photograph beside one keeps its bytes to itself.
    """
    store = open_store(store_uri)
    store.put("a.jpg", b"a photograph")

    with pytest.raises(ObjectMissing):
        get(store, "a.jpg/")


def test_wrong_credentials_are_denied(s3, monkeypatch):
    """
    A key that the server does not know is a refusal, and not worth trying again.
    """
    store = open_store(s3.bucket())
    store.put("a", b"")
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "nobody")
    forget_client()
    try:
        with pytest.raises(AccessDenied):
            get(store, "a")
    finally:
        monkeypatch.undo()
        forget_client()


def test_a_server_that_is_not_there_may_come_back(s3, monkeypatch):
    """
    A refused connection is worth trying again.
    """
    store = open_store(s3.bucket())
    monkeypatch.setenv("AWS_ENDPOINT_URL_S3", "http://127.0.0.1:9")
    forget_client()
    try:
        with pytest.raises(Throttled):
            get(store, "a")
    finally:
        monkeypatch.undo()
        forget_client()
