"""Requests are counted by whoever makes them, and told once."""

from __future__ import annotations

import asyncio
import contextlib

import pytest

from workers.downloads import Downloads
from workers.errors import ObjectMissing, Throttled
from workers.storage import forget_client, open_store
from workers.storage.requests import Unreported


def test_both_clients_are_counted_and_each_request_is_told_once(s3):
    """
    An object that is there, one that is missing, by boto3 and by obstore: four answers, then none.
    """
    store = open_store(s3.bucket())
    store.put("a", b"bytes")
    unreported = Unreported("get")
    for key in ("a", "missing"):
        for read in (store.get, lambda key: asyncio.run(Downloads(store).get(key, 100))):
            with contextlib.suppress(ObjectMissing):
                read(key)

    assert {"answered": 4, "throttled": 0} == unreported.take()
    assert {"answered": 0, "throttled": 0} == unreported.take()


def test_a_request_without_an_answer_is_throttled(s3, monkeypatch):
    """
    Nobody listens: the one try of the fetching tasks counts as one.
    """
    store = open_store(s3.bucket())
    monkeypatch.setenv("AWS_ENDPOINT_URL_S3", "http://127.0.0.1:1")
    forget_client()
    unreported = Unreported("get")
    with pytest.raises(Throttled):
        asyncio.run(Downloads(store).get("a", 100))
    forget_client()

    assert {"answered": 0, "throttled": 1} == unreported.take()


def test_a_folder_asks_nobody(tmp_path):
    """
    Files are no requests.
    """
    store = open_store(str(tmp_path))
    store.put("a", b"bytes")
    unreported = Unreported("get")
    asyncio.run(Downloads(store).get("a", 100))

    assert {"answered": 0, "throttled": 0} == unreported.take()
