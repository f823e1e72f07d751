"""A bucket, a model, and a run that nobody disturbed."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from dirty_corpus import corpus
from disturbance import Scoring, kill_all, photograph, written_rows

from workers.storage import Store, make_bucket, open_store

PHOTOGRAPHS = 150


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
