"""Which photographs prove an engine, and in what batches."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from workers.compile.photographs import Photographs, spread
from workers.engines import EngineRecord, Gpu
from workers.engines.record import RECORD_FILE
from workers.manifest import load_manifest
from workers.settings import CompileSettings


@pytest.fixture
def record(onnxruntime_engine) -> EngineRecord:
    return EngineRecord.from_json((onnxruntime_engine / RECORD_FILE).read_bytes(), RECORD_FILE)


@pytest.fixture
def proof(tiny_source, record):
    """The sizes of the batches that prove an engine for some contexts of a GPU, None for a CPU."""

    def sizes(manifest: Path, contexts: int | None, engine_batch: int) -> list[int]:
        gpu = None
        if contexts is not None:
            gpu = Gpu(name=None, compute_capabilities=("9.0",), contexts=contexts, batch=engine_batch)
        settings = CompileSettings(model="tiny:1", registry=".", manifest=str(manifest), parity_images=3)
        batches = Photographs(tiny_source, settings).to_prove(record.model_copy(update={"gpu": gpu}))
        return [len(images_BHWC) for rows, images_BHWC in batches if len(rows) == len(images_BHWC)]

    return sizes


@pytest.mark.parametrize(
    ("contexts", "engine_batch", "batches"),
    [(None, 2, [3]), (1, 1, [2, 1]), (1, 2, [3]), (2, 1, [3]), (1, 4, [5]), (2, 2, [5]), (2, 16, [33])],
    ids=["CPU", "a small batch", "one context", "two", "more than asked for", "two, more", "more than there are"],
)
def test_the_proof_takes_every_path_through_an_engine(proof, photo_manifest, contexts, engine_batch, batches):
    """
    A batch for every context of a GPU, and one image that no whole batch is left for, even where fewer were asked for.
    Six photographs there are: where they are not enough they come again.
    """
    assert batches == proof(photo_manifest, contexts, engine_batch)


def test_photographs_that_cannot_be_used_make_no_batch_smaller(proof, photo_manifest, tmp_path):
    """
    One of six is damaged; five make a whole batch for two contexts of two, and nothing is left.
    """
    folder = shutil.copytree(photo_manifest.parent, tmp_path / "photographs")
    damaged = spread(load_manifest(str(folder / photo_manifest.name)).split("val"), 5)[1].image
    Path(damaged).write_bytes(b"no photograph")

    assert [5] == proof(folder / photo_manifest.name, 2, 2)
