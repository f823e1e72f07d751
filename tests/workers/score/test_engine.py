"""The engine is chosen, or made, where it will run."""

from __future__ import annotations

import os

import pytest

from workers.engines import fastest_target
from workers.errors import ClusterError, SettingsError
from workers.registry import Registry
from workers.score import engine
from workers.score.engine import choose_engine, compile_missing, find_candidates


@pytest.fixture
def published(tmp_path, make_bundle, photo_manifest) -> str:
    """A registry with one version that has no engine."""
    uri = str(tmp_path / "registry")
    Registry(uri).publish("tiny", make_bundle(manifest=photo_manifest))
    return uri


@pytest.mark.timeout(200)
def test_an_engine_that_is_missing_is_compiled_once(ray_local, published):
    """
    Without an engine the refusal names the command; with the flag that command is run, and not again when one fits.
    """
    candidates = find_candidates(published, "tiny:1")
    with pytest.raises(SettingsError, match=r"lga compile --model"):
        choose_engine(candidates, "best")
    made = compile_missing(published, candidates, "best")
    again = compile_missing(published, made, "best")

    assert fastest_target() == choose_engine(made, "best").target
    assert [record.folder for record in made.engines] == [record.folder for record in again.engines]


def test_what_cannot_be_compiled_is_told_with_its_reason(ray_local, tmp_path, make_bundle):
    """
    A version that does not say what it was trained on has no photographs to prove an engine on.
    """
    registry = str(tmp_path / "registry")
    Registry(registry).publish("tiny", make_bundle())

    with pytest.raises(SettingsError, match=r"tiny:1.*give --manifest"):
        compile_missing(registry, find_candidates(registry, "tiny:1"), "torch")


@pytest.mark.timeout(200)
def test_a_worker_that_dies_is_told(ray_local, published, monkeypatch):
    """
    A builder that the system kills for its memory ends the run with a readable line, and so does one who only looks.
    """
    candidates = find_candidates(published, "tiny:1")
    for name in ("_compile_if_missing", "best_engine"):
        monkeypatch.setattr(engine, name, lambda *_: os._exit(9))

    with pytest.raises(ClusterError, match=r"compile tiny:1 \(WorkerCrashedError"):
        compile_missing(published, candidates, "best")
    with pytest.raises(ClusterError, match=r"choose an engine of tiny:1 \(WorkerCrashedError"):
        choose_engine(candidates, "best")
