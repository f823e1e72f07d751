"""Reads that can be called off, on a real S3 server and on folders."""

from __future__ import annotations

import asyncio

import pytest

from workers.downloads import Downloads, TooLarge
from workers.errors import AccessDenied, ObjectMissing, Throttled
from workers.storage import Blob, forget_client, open_store


def get(store, key: str, max_bytes: int = 1000) -> Blob:
    return asyncio.run(Downloads(store).get(key, max_bytes))


@pytest.mark.parametrize(
    "key", ["a.jpg", "below/a b.jpg", "Ünïcode ★ & <b>'\"#?%41+.jpg", "a%2Fb.jpg", "tab\there.jpg", "~tilde*'().jpg"]
)
def test_every_key_is_read_as_it_was_written(store_uri, key):
    """
    The bytes and the token are those that the other client knows, also of keys that only that one can name.
    """
    store = open_store(store_uri).under("front")
    store.put(key, b"some bytes")

    assert store.get(key) == get(store, key)


def test_what_is_not_there_is_missing(store_uri):
    """
    Here as there.
    """
    store = open_store(store_uri)
    store.put("other", b"")

    with pytest.raises(ObjectMissing):
        get(store, "nothing")


def test_what_has_grown_is_not_read(s3):
    """
    An object that is larger than its listing said is refused by its length, before its bytes come.
    """
    store = open_store(s3.bucket())
    store.put("grown", bytes(1001))

    with pytest.raises(TooLarge, match="1001 bytes; the limit is 1000"):
        get(store, "grown")


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
