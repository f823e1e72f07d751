"""A bucket, a model, and a run that nobody disturbed."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterator

import pytest
from dirty_corpus import corpus
from disturbance import Scoring, Server, kill_all, photograph, written_rows
from faulty_proxy import FaultyProxy

from workers.storage import Store, forget_client, make_bucket, open_store

PHOTOGRAPHS = 150


@pytest.fixture(scope="module")
def server(tmp_path_factory) -> Iterator[Server]:
    """The server; the environment of this process, and so of its children, points at its proxy."""
    before = dict(os.environ)
    with FaultyProxy("") as proxy, contextlib.ExitStack() as running:
        server = Server(tmp_path_factory.mktemp("s3"), proxy, running)
        server.start()
        os.environ.update(server.now.environment() | {"AWS_ENDPOINT_URL_S3": proxy.endpoint})
        forget_client()
        yield server
        os.environ.clear()
        os.environ.update(before)
        forget_client()


@pytest.fixture(scope="module")
def bucket(server) -> Store:
    """Photographs, and everything that is wrong."""
    make_bucket("s3://photographs")
    store = open_store("s3://photographs")
    for number in range(PHOTOGRAPHS):
        store.put(f"photos/{number:04d}.jpg", photograph(number))
    for name, (data, _) in corpus().items():
        store.put(f"dirty/{name}", data)
    return store


@pytest.fixture(scope="module")
def scoring(server, bucket, registry, tmp_path_factory) -> Iterator[Scoring]:
    """Starts runs; what a failed test leaves behind is ended."""
    scoring = Scoring(registry, tmp_path_factory.mktemp("logs") / "score.log")
    yield scoring
    for process in scoring.started:
        kill_all(process)


@pytest.fixture(scope="module")
def undisturbed(scoring) -> list[dict]:
    """The rows of a run that nobody disturbed."""
    output = scoring.output()
    scoring.finish(output, tries=1)
    return written_rows(output)
