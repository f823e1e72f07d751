"""`lga compile` from the command line: what is published, what is refused, what is told."""

from __future__ import annotations

import json
import shutil
from contextlib import closing
from pathlib import Path

import numpy as np
import onnx
import pytest

from lga_model import export
from workers.__main__ import main
from workers.compile.photographs import spread
from workers.engines import EngineRecord, open_engine, targets_for
from workers.manifest import load_manifest
from workers.registry import Registry
from workers.storage import open_store

pytestmark = pytest.mark.usefixtures("own_cache")


@pytest.fixture
def registry(tmp_path, make_bundle, photo_manifest) -> Registry:
    """A registry with one version, `pose:1`, that names the manifest it was trained on."""
    registry = Registry(str(tmp_path / "registry"))
    registry.publish("pose", make_bundle(manifest=photo_manifest))
    return registry


def compile_pose(registry: Registry, *flags: str, model: str = "pose:1", target: str = "torch") -> int:
    return main(["compile", "--registry", registry.uri, "--model", model, "--target", target, *flags])


def engines(registry: Registry) -> list[EngineRecord]:
    return registry.engines(registry.resolve("pose:1"))


def test_an_engine_is_built_proven_and_published(registry, tmp_path, capsys):
    """
    onnxruntime end to end: the record holds the proof on the validation photographs, and the engine opens.
    """
    code = compile_pose(registry, target="onnxruntime")
    (record,) = engines(registry)
    version = registry.resolve("pose:1")

    assert 0 == code
    assert ("pose", 1, "onnxruntime", 6, 1.0) == (
        record.model, record.version, record.target, record.parity.images, record.parity.top1_agreement,
    )  # fmt: skip
    assert record.parity.max_probability_difference < 1e-4
    assert record.engine_sha256 == record.onnx_sha256
    with closing(open_engine(registry.fetch_engine(version, record, tmp_path / "cache"), threads=1)) as engine:
        assert (1, 3) == engine.infer(np.zeros((1, 64, 64, 3), np.uint8)).probabilities_BA.shape
    assert "top-1 agreement" in capsys.readouterr().out


def test_compiling_again_changes_nothing(registry, capsys):
    """
    The same engine is found, said to be there, and not proven again; only the note of who builds is a new one.
    """

    def published() -> list[tuple[str, str]]:
        objects = open_store(registry.uri).list()
        return [(info.key, info.etag) for info in objects if "/building/" not in info.key]

    compile_pose(registry)
    before = published()
    capsys.readouterr()

    assert 0 == compile_pose(registry)
    assert "has this engine already: torch-fp32-" in capsys.readouterr().out
    assert before == published()


def test_a_damaged_engine_is_mended(registry):
    """
    The command that the error names works: compiling again replaces bytes that were tampered with.
    """
    compile_pose(registry)
    (record,) = engines(registry)
    store, key = open_store(registry.resolve("pose:1").uri), f"engines/{record.folder}/engine.bin"
    good = store.get(key).data
    store.put(key, good[:100])

    assert 0 == compile_pose(registry)
    assert good == store.get(key).data


@pytest.mark.parametrize("flags", [(), ("--build-only",)])
def test_only_a_compilation_that_may_publish_has_an_outcome(registry, tmp_path, flags):
    """
    What was only tried is no success of the night: a file of metrics from before stays as it is.
    """
    outcome = tmp_path / "compile.prom"
    outcome.write_text("")

    assert 0 == compile_pose(registry, "--metrics-file", str(outcome), *flags)
    assert ("" == outcome.read_text()) == bool(flags)
    assert ([] == engines(registry)) == bool(flags)


def test_an_engine_that_differs_is_refused(registry, capsys, monkeypatch):
    """
    An exporter that loses a little of the weights gets exit code 4, the numbers, and nothing in the registry.
    """
    real = export.export_onnx

    def export_badly(graph, path: Path, precision: str) -> None:
        real(graph, path, precision)
        model = onnx.load(path)
        largest = max(model.graph.initializer, key=lambda tensor: len(tensor.raw_data))
        weights = np.frombuffer(largest.raw_data, np.float32)
        noise = np.random.default_rng(0).normal(0, weights.std() / 3, weights.shape)
        largest.raw_data = (weights + noise).astype(np.float32).tobytes()
        onnx.save(model, path)

    monkeypatch.setattr(export, "export_onnx", export_badly)
    code = compile_pose(registry, target="onnxruntime")
    told = capsys.readouterr()

    assert 4 == code
    assert [] == engines(registry)
    assert "is not equal to pose:1" in told.err
    assert "Nothing was published" in told.err
    assert "largest probability difference" in told.out


def test_limits_are_settings(registry, capsys):
    """
    What is allowed is the user's choice: a limit below the noise of fp32 refuses a good engine.
    """
    code = compile_pose(registry, "--max-probability-difference", "1e-12", target="onnxruntime")

    assert 4 == code
    assert "is above 1e-12" in capsys.readouterr().err
    assert [] == engines(registry)


def test_every_target_of_the_machine_is_compiled(registry, monkeypatch, capsys):
    """
    All targets that compute in the precision here, from one export; a second time each is found to be there.
    """
    exports = []
    real = export.export_onnx
    monkeypatch.setattr(export, "export_onnx", lambda *given: exports.append(1) or real(*given))

    assert 0 == compile_pose(registry, "--all-targets-here")
    assert set(targets_for("fp32")) == {record.target for record in engines(registry)}
    assert {"onnxruntime", "torch"} <= set(targets_for("fp32"))
    assert 1 == len(exports)
    capsys.readouterr()
    assert 0 == compile_pose(registry, "--all-targets-here")
    assert len(targets_for("fp32")) == capsys.readouterr().out.count("has this engine already")


def test_one_target_that_is_refused_does_not_keep_the_others_back(registry, capsys):
    """
    PyTorch equals itself to the bit, the others by less than the noise of fp32: those are refused, with exit code 4.
    """
    code = compile_pose(registry, "--all-targets-here", "--max-probability-difference", "1e-12")

    assert 4 == code
    assert ["torch"] == [record.target for record in engines(registry)]
    assert "onnxruntime-fp32-" in capsys.readouterr().err


def test_no_target_computes_in_the_precision(registry, monkeypatch, capsys):
    """
    A message with a way out, and nothing is built.
    """
    monkeypatch.setattr("workers.compile.job.targets_for", lambda precision: ())

    assert 2 == compile_pose(registry, "--all-targets-here", "--precision", "fp16")
    assert "nothing on this machine computes in fp16" in capsys.readouterr().err


def test_a_bundle_outside_of_a_registry_can_be_compiled(make_bundle, photo_manifest, tmp_path):
    """
    A folder is a model too: the engine goes beside its weights.
    """
    bundle = make_bundle()
    registry = Registry(str(tmp_path / "unused"))
    code = compile_pose(registry, "--manifest", str(photo_manifest), model=str(bundle))

    assert 0 == code
    assert [0] == [record.version for record in registry.engines(registry.resolve(str(bundle)))]


@pytest.mark.parametrize("kind", ["photographs missing", "no validation", "no manifest", "not named"])
def test_no_proof_without_photographs(registry, make_bundle, photo_manifest, tmp_path, capsys, kind):
    """
    Whatever keeps the proof from being made is told with a way out, exit code 2, and nothing is published.
    """
    folder = shutil.copytree(photo_manifest.parent, tmp_path / "set")
    manifest = folder / photo_manifest.name
    flags, message = ["--manifest", str(manifest)], ""
    if kind == "photographs missing":
        for path in folder.glob("*.jpg"):
            path.unlink()
        message = "not one of 6 photographs"
    elif kind == "no validation":
        rows = [json.loads(line) for line in manifest.read_text().splitlines()]
        manifest.write_text("".join(json.dumps(row) + "\n" for row in rows if row["split"] != "val"))
        message = "has no validation photographs"
    elif kind == "no manifest":
        manifest.unlink()
        message = "there is no manifest"
    else:
        registry = Registry(str(tmp_path / "other"))
        registry.publish("pose", make_bundle())
        flags, message = [], "give --manifest"
    code = compile_pose(registry, *flags)

    assert 2 == code
    assert message in capsys.readouterr().err
    assert [] == engines(registry)


def test_photographs_that_a_training_skipped_are_no_obstacle(registry, photo_manifest, tmp_path, capsys):
    """
    The engine is proven on the others, and how many were left out is told with the first reason.
    """
    folder = shutil.copytree(photo_manifest.parent, tmp_path / "set")
    (folder / "cooking_1.jpg").write_bytes(b"no image")
    (folder / "running_2.jpg").unlink()

    assert 0 == compile_pose(registry, "--manifest", str(folder / photo_manifest.name))
    assert 4 == engines(registry)[0].parity.images

    (told,) = [line for line in capsys.readouterr().err.splitlines() if "compile.photographs_skipped" in line]

    assert "images=2" in told
    assert "cooking_1.jpg, which cannot be decoded" in told


def test_the_photographs_are_spread_over_the_split(registry, photo_manifest):
    """
    The manifest is sorted by action; three photographs are one of each action. As many as asked for are compared.
    """
    compile_pose(registry, "--parity-images", "3")
    (record,) = engines(registry)

    assert 3 == record.parity.images
    assert ["climbing", "cooking", "running"] == [
        row.action for row in spread(load_manifest(str(photo_manifest)).split("val"), 3)
    ]


def test_a_model_for_other_photographs_is_refused(tmp_path, make_bundle, capsys):
    """
    A model that was trained with another preprocessing cannot be compiled by this release.
    """
    bundle = make_bundle()
    document = json.loads((bundle / "model.json").read_text()) | {"preprocessing": "another"}
    (bundle / "model.json").write_text(json.dumps(document))
    code = compile_pose(Registry(str(tmp_path / "r")), model=str(bundle))

    assert 2 == code
    assert "prepared as 'another'" in capsys.readouterr().err


def test_a_model_that_cannot_be_loaded_is_told(tmp_path, make_bundle, capsys):
    """
    A record of another release is a message, not a traceback.
    """
    bundle = make_bundle()
    document = json.loads((bundle / "model.json").read_text()) | {"format": 99}
    (bundle / "model.json").write_text(json.dumps(document))
    code = compile_pose(Registry(str(tmp_path / "r")), model=str(bundle))

    assert 2 == code
    assert "cannot be loaded" in capsys.readouterr().err
