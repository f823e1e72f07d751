"""A cluster of two nodes, photographs in a bucket, and a training that nobody disturbed."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from ray.cluster_utils import Cluster
from training import MEMORY_BYTES, Place, write_photographs

HEAD = {"num_cpus": 1, "object_store_memory": MEMORY_BYTES, "include_dashboard": False}


@pytest.fixture(scope="module")
def place(server, tmp_path_factory) -> Iterator[Place]:
    """The cluster starts after the S3 server, so that its workers inherit the way there."""
    write_photographs()
    cluster = Cluster(initialize_head=True, head_node_args=HEAD)
    place = Place(cluster, tmp_path_factory.mktemp("logs"))
    place.add_node()
    yield place
    for run in place.runs:
        run.end()
    cluster.shutdown()


@pytest.fixture(scope="module")
def undisturbed(place) -> dict:
    """What comes out of a run of one worker that nobody disturbed."""
    return outcome_of(place, workers=1)


@pytest.fixture(scope="module")
def undisturbed_by_two(place) -> dict:
    """The same, of two workers: the last bits of a sum depend on how it is shared out."""
    return outcome_of(place, workers=2)


def outcome_of(place: Place, workers: int) -> dict:
    run = place.run(workers=workers)
    run.finish(tries=1)
    return run.outcome()
