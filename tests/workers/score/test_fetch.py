"""Objects to bytes, within their time."""

from __future__ import annotations

import asyncio
import os
import threading
import time
from collections import Counter
from datetime import UTC, datetime

import pytest

from lga_model.images import ImageLimits
from workers.errors import AccessDenied, ObjectMissing, StorageError, Throttled
from workers.score import fetch
from workers.score.fetch import Window, fetch_all, reader
from workers.score.objects import Failure, Fetched, Listed, Unanswered
from workers.storage import FolderStore, open_store

NOW = datetime(2026, 1, 2, tzinfo=UTC)


@pytest.fixture(autouse=True)
def short_pauses(monkeypatch):
    monkeypatch.setattr(fetch, "_PAUSE_S", 0.01)


def listed(*keys: str, size_bytes: int = 1) -> list[Listed]:
    return [Listed(key=key, etag="e", size_bytes=size_bytes, last_modified=NOW) for key in keys]


def outcomes(objects, read, options) -> dict[str, Fetched | Failure]:
    return {objects[index].key: outcome for index, outcome, _ in fetch_all(objects, read, options)}


async def good(one: Listed) -> Fetched:
    return Fetched(data=one.key.encode(), etag=one.etag)


def test_every_object_comes_once(options):
    """
    More objects than requests in flight: each is read once, and each has its own bytes.
    """
    objects = listed(*(f"k{number}" for number in range(50)))
    found = list(fetch_all(objects, good, options()))

    assert list(range(50)) == sorted(index for index, _, _ in found)
    assert all(outcome.data.decode() == objects[index].key for index, outcome, _ in found)


@pytest.mark.parametrize(
    ("error", "reason"),
    [
        (ObjectMissing("read", "s3://b/k", "gone"), "missing"),
        (AccessDenied("read", "s3://b/k", "no"), "denied"),
        (Throttled("read", "s3://b/k", "busy"), "throttled"),
        (StorageError("read", "s3://b/k", "disk"), "throttled"),
        (RuntimeError("a bug in a library"), "throttled"),
        (BaseException("a panic in a library"), "throttled"),
        (asyncio.CancelledError("by a library"), "throttled"),
    ],
)
def test_errors_become_reasons(options, error, reason):
    """
    Whatever reading one object raises, it is that object's failure and no other's.
    """

    async def read(one: Listed) -> Fetched:
        if one.key == "bad":
            raise error
        return await good(one)

    found = outcomes(listed("a", "bad", "b"), read, options())

    assert reason == found["bad"].reason
    assert (b"a", b"b") == (found["a"].data, found["b"].data)


def test_a_busy_store_is_asked_again(options):
    """
    Throttling that passes leaves no trace; that lasts, it ends with the object's time.
    """
    tries: Counter[str] = Counter()

    async def read(one: Listed) -> Fetched:
        tries[one.key] += 1
        if one.key == "always" or tries[one.key] < 3:
            raise Throttled("read", one.key, "busy")
        return await good(one)

    found = outcomes(listed("once", "always"), read, options(timeout_s=0.3))

    assert b"once" == found["once"].data
    assert Unanswered(reason="throttled", detail="busy") == found["always"]
    assert 3 == tries["once"]
    assert tries["always"] > 4


def test_what_will_not_change_is_not_asked_again(options):
    """
    A missing object is asked for once.
    """
    tries = Counter()

    async def read(one: Listed) -> Fetched:
        tries[one.key] += 1
        raise ObjectMissing("read", one.key, "gone")

    outcomes(listed("a"), read, options())

    assert {"a": 1} == tries


def test_requests_that_hang_are_given_up(options):
    """
    Even when every slot hangs, the others get their turn, and the requests are called off.
    """
    called_off = []

    async def read(one: Listed) -> Fetched:
        if one.key.startswith("hang"):
            try:
                await asyncio.Event().wait()
            finally:
                called_off.append(one.key)
        return await good(one)

    objects = listed(*(f"hang{number}" for number in range(4)), "a", "b")
    found = outcomes(objects, read, options(concurrency=2, timeout_s=0.2))

    assert ["timeout"] * 4 == [found[f"hang{number}"].reason for number in range(4)]
    assert (b"a", b"b") == (found["a"].data, found["b"].data)
    assert [f"hang{number}" for number in range(4)] == sorted(called_off)


def test_a_folder_that_hangs_holds_up_no_other(options, tmp_path):
    """
    No thread can be ended: the one that reads from a dead disk is left behind, with its object.
    """
    os.mkfifo(tmp_path / "dead-disk")
    store = FolderStore(tmp_path)
    store.put("a", b"a")
    found = outcomes(listed("dead-disk", "a"), reader(store, 9), options(concurrency=1, timeout_s=0.2))

    assert "timeout" == found["dead-disk"].reason
    assert b"a" == found["a"].data


def test_a_store_that_complains_is_asked_less():
    """
    Complaints about one round halve the window once; rounds that go well widen it by one, up to the setting.
    """
    window = Window(8)
    asked_at = time.monotonic()
    for _ in range(8):
        window.refused(asked_at)
    halved = window.size
    for _ in range(5):
        window.succeeded()
    widened = window.size
    for _ in range(1000):
        window.succeeded()

    assert (8, 4, 5) == (Window(8).size, halved, widened)
    assert 8 == window.size
    for number in range(10):
        window.refused(time.monotonic() + number)
    assert 1 == window.size


def test_what_is_listed_as_too_large_is_not_fetched(options):
    """
    Its size is known before: no request is made.
    """
    objects = [*listed("huge", size_bytes=1001), *listed("small", size_bytes=1000)]
    asked = []

    async def read(one: Listed) -> Fetched:
        asked.append(one.key)
        return await good(one)

    found = outcomes(objects, read, options(limits=ImageLimits(max_bytes=1000)))

    assert Failure(reason="too_large", detail="1001 bytes; the limit is 1000") == found["huge"]
    assert ["small"] == asked


def test_bytes_in_flight_are_bounded(options, monkeypatch):
    """
    Large objects do not all come at once; one that is larger than the bound comes alone.
    """
    monkeypatch.setattr(fetch, "_IN_FLIGHT_BYTES", 100)
    lock, running, most = threading.Lock(), [], []

    async def read(one: Listed) -> Fetched:
        with lock:
            running.append(one.size_bytes)
            most.append(sum(running))
        await asyncio.sleep(0.02)
        with lock:
            running.remove(one.size_bytes)
        return await good(one)

    objects = [*listed("a", "b", "c", "d", size_bytes=50), *listed("huge", size_bytes=300)]
    found = outcomes(objects, read, options())

    assert 5 == len(found)
    assert {50, 100, 300} >= set(most)


def test_a_row_names_the_version_that_was_read(s3):
    """
    An object of a bucket that changed since the listing is told with the ETag of its new bytes.
    """
    store = open_store(s3.bucket())
    store.put("a", b"old")
    (before,) = store.list()
    store.put("a", b"new bytes")
    (after,) = store.list()
    fetched = asyncio.run(reader(store, 100)(Listed(**vars(before))))

    assert (b"new bytes", after.etag) == (fetched.data, fetched.etag)
    assert before.etag != after.etag


def test_a_row_of_a_folder_names_the_listed_version(tmp_path):
    """
    A folder gives no version with the bytes: the listed one stays, so a changed file is scored again next time.
    """
    store = FolderStore(tmp_path)
    store.put("a", b"old")
    (before,) = store.list()

    assert Fetched(data=b"old", etag=before.etag) == asyncio.run(reader(store, 9)(Listed(**vars(before))))
