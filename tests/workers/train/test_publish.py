"""One version for each run, whoever ends or overlaps."""

from __future__ import annotations

import json
from concurrent.futures import ThreadPoolExecutor

import pytest

from workers.registry import Registry
from workers.settings import TrainSettings
from workers.storage import open_store
from workers.train.publish import publish_once
from workers.train.runs import read_publication


@pytest.fixture
def publish(store_uri, make_bundle):
    """Publishes what an attempt made of a checkpoint, for a run of so many epochs."""
    settings = TrainSettings(manifest="m", name="pose", registry=f"{store_uri}/models")
    store = open_store(store_uri).under("run")

    def call(checkpoint: str, epochs: int = 1):
        bundle = make_bundle()
        (bundle / "training.json").write_text(json.dumps({"checkpoint": checkpoint}))
        return publish_once(store, bundle, checkpoint, epochs, settings)

    call.store, call.registry = store, Registry(settings.registry)
    return call


def test_two_attempts_that_end_together_publish_once(publish):
    """
    Each has a checkpoint of its own: the one that comes second takes the first one's version for the run's.
    """
    with ThreadPoolExecutor(2) as pool:
        one, other = pool.map(publish, ["00000012-aa", "00000012-bb"])

    assert one == other
    assert [one] == publish.registry.versions("pose")
    assert str(one) == read_publication(publish.store).version


def test_a_version_whose_attempt_died_before_its_note_is_found(publish):
    """
    It names its checkpoint; the note is written now.
    """
    version = publish("00000012-aa")
    publish.store.delete("published.json")

    assert version == publish("00000012-aa")
    assert str(version) == read_publication(publish.store).version


def test_a_run_that_went_on_is_published_again(publish):
    """
    More epochs, another checkpoint: the next version.
    """
    assert ["pose:1", "pose:2"] == [str(publish("00000012-aa")), str(publish("00000024-aa", epochs=2))]
