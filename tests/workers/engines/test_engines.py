"""Every backend keeps the promises of the protocol, and nothing damaged or strange reaches a runtime."""

from __future__ import annotations

import hashlib
import shutil
from contextlib import closing

import numpy as np
import pytest
import torch

from workers.compile.build import build_engine, load_source
from workers.engines import EngineError, EngineRecord, best_engine, open_engine, unfit
from workers.engines.golden import golden_images, written
from workers.engines.torch import run_graph
from workers.errors import SettingsError
from workers.registry import Version


@pytest.fixture(params=["openvino", "onnxruntime", "torch"])
def engine_folder(request):
    """A good engine of each kind."""
    return request.getfixturevalue(f"{request.param}_engine")


@pytest.fixture
def photographs():
    """Seven noisy squares with some structure, uint8 [7, 64, 64, 3]."""
    coarse = np.random.default_rng(1).integers(0, 256, (7, 8, 8, 3), dtype=np.uint8)
    return coarse.repeat(8, axis=1).repeat(8, axis=2)


def rewritten(folder, target, **changes):
    """A copy of an engine whose record says something else, as an attacker or a mistake would leave it."""
    shutil.copytree(folder, target)
    record = EngineRecord.from_json((target / "engine.json").read_bytes(), "")
    (target / "engine.json").write_bytes(record.model_copy(update=changes).to_json())
    return target


def test_an_engine_says_what_the_model_says(engine_folder, tiny_source, photographs):
    """
    Probabilities, heatmap and PAM equal those of the PyTorch graph; all float32, of the recorded shapes.
    """
    expected = run_graph(tiny_source.graph, photographs)
    with closing(open_engine(engine_folder, threads=1)) as engine:
        output = engine.infer(photographs)

    assert (7, 3) == output.probabilities_BA.shape
    assert (7, *engine.record.heatmap_hw) == output.pam_BHW.shape == output.heatmap_BHW.shape
    assert {np.dtype(np.float32)} == {array.dtype for array in output}
    for ours, theirs in zip(output, expected, strict=True):
        np.testing.assert_allclose(ours, theirs, rtol=1e-4, atol=1e-5)
    np.testing.assert_allclose(1, output.probabilities_BA.sum(axis=1), rtol=1e-5)


def test_the_probabilities_are_calibrated(engine_folder, tiny_source, photographs):
    """
    They are the softmax of the logits over the model's temperature, which is not 1 here.
    """
    with torch.no_grad():
        logits_BA = tiny_source.graph.network(torch.tensor(photographs)).logits_BA.numpy()
    exponential_BA = np.exp(logits_BA / 1.5)
    with closing(open_engine(engine_folder, threads=1)) as engine:
        output = engine.infer(photographs)

    expected = exponential_BA / exponential_BA.sum(axis=1, keepdims=True)
    np.testing.assert_allclose(output.probabilities_BA, expected, rtol=1e-3)
    assert output.probabilities_BA.max() < 0.999  # Saturated, every temperature would look alike.


def test_the_last_batch_may_be_smaller(engine_folder, photographs):
    """
    The same photograph gets the same answer whatever its company.
    """
    with closing(open_engine(engine_folder, threads=1)) as engine:
        together = engine.infer(photographs)
        alone = engine.infer(photographs[4:5])
        again = engine.infer(photographs)

    np.testing.assert_allclose(together.probabilities_BA[4:5], alone.probabilities_BA, rtol=1e-4, atol=1e-6)
    np.testing.assert_array_equal(together.probabilities_BA, again.probabilities_BA)


def test_results_are_not_overwritten_by_the_next_batch(engine_folder, photographs):
    """
    The arrays belong to the caller.
    """
    with closing(open_engine(engine_folder, threads=1)) as engine:
        first = engine.infer(photographs[:2])
        kept = first.pam_BHW.copy()
        engine.infer(photographs[2:4])

    np.testing.assert_array_equal(kept, first.pam_BHW)


def test_read_only_images_are_taken(engine_folder, photographs):
    """
    Arrays out of Ray's object store cannot be written to.
    """
    photographs.flags.writeable = False
    with closing(open_engine(engine_folder, threads=1)) as engine:
        assert (7, 3) == engine.infer(photographs).probabilities_BA.shape


@pytest.mark.parametrize(
    "images",
    [
        np.zeros((2, 32, 32, 3), np.uint8),
        np.zeros((2, 3, 64, 64), np.uint8),
        np.zeros((2, 64, 64, 3), np.float32),
        np.zeros((0, 64, 64, 3), np.uint8),
        np.zeros((64, 64, 3), np.uint8),
    ],
    ids=["size", "channels first", "float", "empty", "no batch"],
)
def test_images_that_do_not_fit_are_refused(engine_folder, images):
    """
    Another size, order, type or an empty batch is told, not computed.
    """
    with closing(open_engine(engine_folder, threads=1)) as engine, pytest.raises(EngineError, match="takes uint8"):
        engine.infer(images)


def test_a_closed_engine_says_so(engine_folder, photographs):
    """
    Closing twice is harmless; using it afterwards is an EngineError.
    """
    engine = open_engine(engine_folder, threads=1)
    engine.close()
    engine.close()
    with pytest.raises(EngineError, match="is closed"):
        engine.infer(photographs)


@pytest.mark.parametrize("damage", ["flipped", "truncated", "empty"])
def test_damaged_bytes_never_reach_a_runtime(engine_folder, tmp_path, damage):
    """
    One flipped bit, a missing end, nothing at all: the digest says so before anything is parsed.
    """
    folder = rewritten(engine_folder, tmp_path / "copy")
    data = bytearray((folder / "engine.bin").read_bytes())
    data[len(data) // 2] ^= 1
    (folder / "engine.bin").write_bytes({"flipped": data, "truncated": data[:-1], "empty": b""}[damage])
    with pytest.raises(EngineError, match=r"sha256 differs.*rebuild with: lga compile --model tiny:1"):
        open_engine(folder)


def test_bytes_that_are_no_engine_are_refused(engine_folder, tmp_path):
    """
    With a digest that fits, the runtime itself refuses what it cannot load; that too is an EngineError.
    """
    folder = rewritten(engine_folder, tmp_path / "copy", engine_sha256=hashlib.sha256(b"nonsense").hexdigest())
    (folder / "engine.bin").write_bytes(b"nonsense")
    with pytest.raises(EngineError, match=r"cannot load engine.*rebuild with"):
        open_engine(folder)


def test_an_engine_that_is_not_what_its_record_says_is_refused(onnxruntime_engine, tmp_path):
    """
    Inputs and outputs of the loaded engine are compared with the record.
    """
    record = EngineRecord.from_json((onnxruntime_engine / "engine.json").read_bytes(), "")
    swapped = (record.outputs[1], record.outputs[0], *record.outputs[2:])
    folder = rewritten(onnxruntime_engine, tmp_path / "copy", outputs=swapped)
    with pytest.raises(EngineError, match="is not what its record says"):
        open_engine(folder)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"backend_version": "0.0.1"}, "0.0.1, and this is"),
        ({"preprocessing": "another"}, "prepared as 'another'"),
    ],
)
def test_an_engine_for_another_machine_is_refused(engine_folder, tmp_path, changes, message):
    """
    The runtime's version and the preprocessing have to be those of this machine; the way out is in the message.
    """
    with pytest.raises(EngineError, match=f"{message}.*rebuild with: lga compile"):
        open_engine(rewritten(engine_folder, tmp_path / "copy", **changes))


def test_the_golden_batch_is_replayed(engine_folder, tmp_path):
    """
    An engine opens where it says what it said when it was proven, and is refused where it says something else.
    """
    with closing(open_engine(engine_folder, threads=1)) as engine:
        output = engine.infer(golden_images(64))
    elsewhere = output._replace(probabilities_BA=output.probabilities_BA[:, ::-1])

    open_engine(rewritten(engine_folder, tmp_path / "good", golden=written(output)), threads=1).close()
    for name, golden, message in (
        ("other", written(elsewhere), "when it was proven.*rebuild here: lga compile"),
        ("short", written(output)[:16], "golden batch .* is damaged"),
        ("no text", "%", "golden batch .* is damaged"),
    ):
        with pytest.raises(EngineError, match=message):
            open_engine(rewritten(engine_folder, tmp_path / name, golden=golden), threads=1)


def test_a_folder_without_engine_is_told(tmp_path):
    """
    No traceback for a folder that holds nothing.
    """
    with pytest.raises(EngineError, match=r"cannot read .*engine.json"):
        open_engine(tmp_path)


def test_a_model_without_localisation_has_no_heatmap(make_bundle, tmp_path, photographs):
    """
    Its engines give None for the heatmap, and a PAM.
    """
    bundle = make_bundle(localisation=False)
    source = load_source(Version(name="plain", number=1, uri=str(bundle)), bundle)
    for target in ("openvino", "onnxruntime", "torch"):
        (tmp_path / target).mkdir()
        build_engine(source, target, "fp32", tmp_path / target)
        with closing(open_engine(tmp_path / target, threads=1)) as engine:
            output = engine.infer(photographs)

        assert output.heatmap_BHW is None
        assert (7, *engine.record.heatmap_hw) == output.pam_BHW.shape


def records(*folders) -> list[EngineRecord]:
    return [EngineRecord.from_json((folder / "engine.json").read_bytes(), "") for folder in folders]


def test_best_is_the_fastest_that_fits(onnxruntime_engine, torch_engine):
    """
    onnxruntime goes before PyTorch, and a precision that the runtime lacks does not count; an engine
    for another version of it does not count; a target can be asked for, and one engine by its name.
    """
    on_torch, on_onnx = records(torch_engine, onnxruntime_engine)
    old = on_onnx.model_copy(update={"backend_version": "0.0.1"})

    bf16 = on_onnx.model_copy(update={"precision": "bf16"})

    assert on_onnx == best_engine([on_torch, on_onnx])
    assert on_onnx == best_engine([bf16, on_onnx])
    assert on_torch == best_engine([on_torch, old])
    assert on_torch == best_engine([on_torch, on_onnx], "torch")
    twin = on_onnx.model_copy(update={"weights_sha256": "f" * 64, "engine_sha256": "f" * 64})
    assert twin == best_engine([on_onnx, twin], twin.folder)
    assert unfit(on_onnx) is None


def test_no_fitting_engine_gives_the_command_that_makes_one(onnxruntime_engine):
    """
    The message says what there is, why it does not fit, and what to type.
    """
    (record,) = records(onnxruntime_engine)
    old = record.model_copy(update={"backend_version": "0.0.1"})
    command = "lga compile --model tiny:1 --target"
    with pytest.raises(SettingsError, match=rf"made for onnxruntime 0\.0\.1.*{command} openvino"):
        best_engine([old])
    with pytest.raises(SettingsError, match=rf"there is: onnxruntime-fp32-.*{command} torch"):
        best_engine([record], "torch")
    with pytest.raises(SettingsError, match="no engine at all"):
        best_engine([])
