"""Which photographs prove an engine, and in what batches."""

from __future__ import annotations

import pytest

from workers.compile.photographs import Photographs
from workers.engines import EngineRecord, Gpu
from workers.engines.record import RECORD_FILE
from workers.settings import CompileSettings


@pytest.fixture
def record(onnxruntime_engine) -> EngineRecord:
    return EngineRecord.from_json((onnxruntime_engine / RECORD_FILE).read_bytes(), RECORD_FILE)


@pytest.mark.parametrize(
    ("contexts", "engine_batch", "batches"),
    [(None, 2, [3]), (1, 2, [3]), (2, 1, [3]), (1, 4, [5]), (2, 2, [5])],
    ids=["CPU", "one context", "two contexts", "more than asked for", "two contexts, more"],
)
def test_the_proof_takes_every_path_through_an_engine(
    tiny_source, photo_manifest, record, contexts, engine_batch, batches
):
    """
    A batch for every context of a GPU, and one image that no whole batch is left for, even where fewer were asked for.
    """
    gpu = None if contexts is None else Gpu(name=None, compute_capabilities=("9.0",), contexts=contexts)
    settings = CompileSettings(
        model="tiny:1", registry=".", manifest=str(photo_manifest), parity_images=3, engine_batch=engine_batch
    )
    proof = Photographs(tiny_source, settings).to_prove(record.model_copy(update={"gpu": gpu}))

    assert batches == [len(images_BHWC) for _, images_BHWC in proof]
