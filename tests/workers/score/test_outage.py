"""Is it the objects, or the store?"""

from __future__ import annotations

import asyncio
import errno
import threading
from datetime import UTC, datetime

import pytest
from typing_extensions import override

from workers.errors import AccessDenied, StorageError, Throttled
from workers.score import fetch, outage
from workers.score.objects import Fetched, Listed
from workers.score.outage import arrivals
from workers.storage import FolderStore

BAD, GOOD = [f"bad{number}" for number in range(20)], ["good0", "good1", "good2"]


class Source(FolderStore):
    """Counts how often it is asked something else than objects. It answers unless it has a problem with that."""

    problem: StorageError | None = None
    asked = 0

    @override
    def list(self, prefix: str = ""):
        self.asked += 1
        if self.problem:
            raise self.problem
        return super().list(prefix)


@pytest.fixture
def source(tmp_path, monkeypatch) -> Source:
    monkeypatch.setattr(fetch, "_PAUSE_S", 0.001)
    fetch.window_of.cache_clear()
    return Source(tmp_path)


@pytest.fixture
def outcomes(source, options, monkeypatch):
    """Reads keys, the bad ones by a function; gives the reason for each, None where bytes came."""

    def read_all(keys: list[str], bad) -> dict[str, str | None]:
        async def read(listed: Listed) -> Fetched:
            if listed.key.startswith("bad"):
                await bad()
            return Fetched(data=b"x", etag="e")

        monkeypatch.setattr(outage, "reader", lambda _source, _max_bytes: read)
        objects = [
            Listed(key=key, etag="e", size_bytes=1, last_modified=datetime(2026, 1, 2, tzinfo=UTC)) for key in keys
        ]
        found = list(arrivals(objects, source, options(timeout_s=0.1)))
        assert sorted(range(len(objects))) == sorted(index for index, _, _ in found)
        return {keys[index]: getattr(outcome, "reason", None) for index, outcome, _ in found}

    return read_all


def raising(error: Exception):
    async def bad() -> None:
        raise error

    return bad


def damaged_disk() -> StorageError:
    error = StorageError("read", "/photos/bad", "Input/output error")
    error.__cause__ = OSError(errno.EIO, "Input/output error")
    return error


@pytest.mark.parametrize("problem", [None, AccessDenied("list", "s3://b", "no")])
@pytest.mark.parametrize(
    ("bad", "reason"),
    [
        (raising(Throttled("read", "s3://b/bad", "busy")), "throttled"),
        (raising(damaged_disk()), "throttled"),
        (asyncio.Event().wait, "timeout"),
    ],
)
def test_what_a_store_in_good_health_does_not_deliver_is_a_row(source, outcomes, bad, reason, problem):
    """
    Objects that are never answered do not stop a run for ever: a store that answers something else, if only by
    refusing it, is up.
    """
    source.problem = problem

    assert dict.fromkeys(BAD, reason) | dict.fromkeys(GOOD) == outcomes(BAD + GOOD, bad)
    assert source.asked


@pytest.mark.parametrize("error", [StorageError("read", "s3://b/bad", "refused (400)"), RuntimeError("a bug")])
def test_a_definite_answer_is_no_outage(source, outcomes, error):
    """
    Objects that are refused for good are rows, however many, and the store is not asked anything else.
    """
    source.problem = Throttled("list", "s3://b", "busy")

    assert dict.fromkeys(BAD, "throttled") | dict.fromkeys(GOOD) == outcomes(BAD + GOOD, raising(error))
    assert 0 == source.asked


@pytest.mark.parametrize("problem", [Throttled("list", "s3://b", "busy"), damaged_disk()])
@pytest.mark.parametrize(("keys", "count"), [(BAD + GOOD, 16), (BAD[:2], 2)])
def test_an_outage_is_no_objects_fault(source, outcomes, problem, keys, count):
    """
    When the store answers nothing, be it about 16 objects in a row or about all there are, no object is to blame.
    """
    source.problem = problem

    with pytest.raises(Throttled, match=rf"{count} objects in a row did not arrive \(busy\); is the store up\?"):
        outcomes(keys, raising(Throttled("read", "s3://b/bad", "busy")))


def test_a_store_that_hangs_is_away(source, outcomes, monkeypatch):
    """
    No answer within an object's time is none.
    """
    hang = threading.Event()
    monkeypatch.setattr(source, "list", lambda: iter([hang.wait()]))
    try:
        with pytest.raises(Throttled, match="is the store up"):
            outcomes(BAD, asyncio.Event().wait)
    finally:
        hang.set()


def test_a_store_that_comes_back_costs_no_row(source, outcomes):
    """
    What it was silent about while it was away is asked for again once it answers.
    """

    async def away() -> None:
        if not source.asked:
            raise Throttled("read", "s3://b/bad", "busy")

    assert dict.fromkeys(BAD) == outcomes(BAD, away)
