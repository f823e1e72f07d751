"""Pixels to rows: what an engine cannot take never takes the others along."""

from __future__ import annotations

import numpy as np
import pytest

from workers.engines import EngineOutput
from workers.score.predict import STAGE_COLUMNS, EngineBroken, infer_each
from workers.storage import FolderStore
from workers.tags import TagForm, tag_schema


def images(*levels: int) -> np.ndarray:
    return np.stack([np.full((32, 32, 3), level, dtype=np.uint8) for level in levels])


@pytest.fixture
def picky_engine(mean_engine):
    """Raises for a batch with a black image, and gives a NaN for a white one."""
    infer = mean_engine.infer

    def picky(images_BHWC) -> EngineOutput:
        levels = images_BHWC.reshape(len(images_BHWC), -1).max(axis=1)
        if (levels == 0).any():
            raise RuntimeError("CUDA error: something")
        said = infer(images_BHWC)
        said.pam_BHW[levels == 255, 0, 0] = np.nan
        return said

    mean_engine.infer = picky
    return mean_engine


def test_a_good_batch_is_one_call(mean_engine):
    """
    Nothing is repeated when nothing fails.
    """
    output, errors = infer_each(mean_engine, images(51, 102, 204))

    assert ([3], {}) == (mean_engine.batches, errors)
    np.testing.assert_allclose([0.2, 0.4, 0.8], output.probabilities_BA[:, 1], rtol=1e-6)


def test_a_bad_image_costs_itself_alone(picky_engine):
    """
    The batch is tried again one by one: the image that fails has its error, the others their answers, in their order.
    """
    output, errors = infer_each(picky_engine, images(51, 0, 255, 204))

    assert [1, 2] == list(errors)
    assert "CUDA error" in errors[1]
    assert "not finite" in errors[2]
    np.testing.assert_allclose([0.2, 0.8], output.probabilities_BA[:, 1], rtol=1e-6)
    assert 2 == len(output.heatmap_BHW) == len(output.pam_BHW)


def test_when_all_fail_there_is_no_output(picky_engine):
    """
    Every image has its error.
    """
    for levels, failing in (((0, 0), [0, 1]), ((255, 255), [0, 1]), ((0,), [0])):
        output, errors = infer_each(picky_engine, images(*levels))
        assert (None, failing) == (output, list(errors))
    assert (None, {}) == infer_each(picky_engine, images(1)[:0])


@pytest.mark.parametrize("levels", [(51, 102, 204), (51,)])
@pytest.mark.parametrize("gives_nan", [False, True])
def test_a_broken_engine_is_no_photographs_fault(mean_engine, monkeypatch, levels, gives_nan):
    """
    An engine that fails on the golden images as well, by raising or by numbers that are none, ends the actor.
    """
    infer = mean_engine.infer

    def broken(images_BHWC) -> EngineOutput:
        if not gives_nan:
            raise RuntimeError("CUDA error: an illegal memory access was encountered\nmore of it")
        said = infer(images_BHWC)
        return said._replace(pam_BHW=said.pam_BHW * np.nan)

    monkeypatch.setattr(mean_engine, "infer", broken)

    with pytest.raises(EngineBroken, match=r"fails on every image, its golden ones too: .*; look at that machine"):
        infer_each(mean_engine, images(*levels))


def test_rows_keep_their_object(tmp_path, photograph, make_plan, score_here, picky_engine):
    """
    Good, unreadable, and refused by the engine, mixed: each row has its own object's answer.
    """
    source, output = FolderStore(tmp_path / "photos"), FolderStore(tmp_path / "output")
    contents = {"a": photograph(51), "b": b"no image", "c": photograph(0), "d": photograph(204), "e": photograph(255)}
    for key, data in contents.items():
        source.put(key, data)
    plan = make_plan(output, source, shard_rows=5)
    tables = score_here(output, source, plan, 0, picky_engine)
    found = {row["key"]: row for table in tables for row in table.to_pylist()}

    assert {"a": None, "b": "not_an_image", "c": "engine_error", "d": None, "e": "engine_error"} == {
        key: row["reason"] for key, row in found.items()
    }
    assert ["dark", None, None, "bright", None] == [found[key]["label"] for key in "abcde"]
    assert pytest.approx(0.8, abs=1e-6) == found["d"]["confidence"]
    assert (16, 12) == (found["c"]["width"], found["c"]["height"])
    form = TagForm(classes=("dark", "bright"), heatmap_hw=(2, 2))
    assert [*tag_schema(form).names, *STAGE_COLUMNS] == tables[0].schema.names
