from __future__ import annotations

import dataclasses

import pytest

from lga_model.config import FAST, ModelConfig
from workers.errors import SettingsError
from workers.storage import open_store
from workers.train.plan import Plan
from workers.train.runs import Publication, open_run, read_publication, write_publication

CONFIG = ModelConfig(backbone="resnet10t", classes=("a", "b"))
PLAN = Plan(config=CONFIG, recipe=FAST, micro_batch=32, seed=0, manifest_digest="d", weights_sha256=None)


def test_a_name_continues_only_the_same_training(store_uri):
    """
    Another seed or another data set under the same name is refused, and the message says what differs.
    """
    store = open_store(store_uri).under("run")
    open_run(store, PLAN)
    open_run(store, PLAN)
    longer = dataclasses.replace(PLAN, recipe=dataclasses.replace(FAST, epochs=99))
    open_run(store, longer)
    other = dataclasses.replace(PLAN, seed=7, recipe=dataclasses.replace(FAST, batch_size=8))
    with pytest.raises(SettingsError, match=r"recipe\.batch_size was 32, now 8; seed was 0, now 7"):
        open_run(store, other)


def test_a_run_keeps_its_micro_batches_unless_they_are_too_few(store_uri):
    """
    Who asks for none gets those that the run began with; more workers than those serve get their own.
    """
    store = open_store(store_uri).under("run")
    open_run(store, dataclasses.replace(PLAN, micro_batch=8), workers=4)

    assert 8 == open_run(store, PLAN, workers=1).micro_batch
    assert 2 == open_run(store, dataclasses.replace(PLAN, micro_batch=2), workers=16).micro_batch
    with pytest.raises(SettingsError, match="micro_batch was 8, now 32"):
        open_run(store, PLAN)


def test_a_run_remembers_what_it_was_published_as(store_uri):
    """
    So that running a finished run again publishes nothing twice.
    """
    store = open_store(store_uri).under("run")

    assert read_publication(store) is None

    write_publication(store, Publication(version="model:3", epochs=5))

    assert Publication(version="model:3", epochs=5) == read_publication(store)


@pytest.mark.parametrize("content", [b"", b"[]", b"{}", b"\xff"])
def test_a_damaged_record_is_told(tmp_path, content):
    """
    Whatever stands in the file, the answer is a message.
    """
    store = open_store(str(tmp_path))
    store.put("published.json", content)
    store.put("run.json", content)
    with pytest.raises(SettingsError, match="damaged"):
        read_publication(store)
    with pytest.raises(SettingsError, match=r"damaged|trains something else"):
        open_run(store, PLAN)
