"""A cluster of two nodes, photographs in a bucket, and a training that nobody disturbed."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from alone import Mailbox, without_a_cluster
from ray.cluster_utils import Cluster
from training import MEMORY_BYTES, SETTINGS, Place, write_photographs

from workers.settings import TrainSettings
from workers.storage import open_store
from workers.train.checkpoints import STATE_FILE, read_progress
from workers.train.preparation import prepare
from workers.train.shelf import Shelf
from workers.train.worker import Assignment, _Worker

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
def undisturbed(place, tmp_path_factory) -> list[dict]:
    """The figures of each epoch of one worker that nobody disturbed; it needs no cluster."""
    folder = str(tmp_path_factory.mktemp("alone"))
    prepared = prepare(TrainSettings(**SETTINGS))
    assignment = Assignment(
        plan=prepared.plan,
        splits=prepared.splits,
        initial_weights=prepared.initial_weights,
        mailbox=Mailbox(),
        threads=1,
        run_uri=folder,
        cache_bytes=1 << 30,
        disk_cache_bytes=0,
        skip_invalid=False,
        checkpoint_steps=SETTINGS["checkpoint_steps"],
        keep_best=1,
        patience_s=0.0,
        log_format="json",
        log_level="error",
    )
    with without_a_cluster():
        _Worker(assignment).run()
    _, files = Shelf(open_store(folder), keep_best=1).load_newest()
    return list(read_progress(files[STATE_FILE]).history)


@pytest.fixture(scope="module")
def undisturbed_by_two(place) -> dict:
    """What comes out of a run of two workers that nobody disturbed."""
    run = place.run(workers=2)
    run.finish(tries=1)
    return run.outcome()
