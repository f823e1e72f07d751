"""What an engine says about itself, and how little of it is believed."""

from __future__ import annotations

import dataclasses
import json

import pytest

from workers.engines import EngineError, EngineRecord, Gpu


@pytest.fixture
def record(torch_engine) -> EngineRecord:
    return EngineRecord.from_json((torch_engine / "engine.json").read_bytes(), "engine.json")


def test_a_record_survives_its_file(record):
    """
    Written and read again it is the same, with everything that the design asks for in the file.
    """
    document = json.loads(record.to_json())

    assert record == EngineRecord.from_json(record.to_json(), "engine.json")
    assert ("torch", "fp32", ["climbing", "cooking", "running"]) == (
        document["target"], document["precision"], document["config"]["classes"],
    )  # fmt: skip
    assert (record.fingerprint, record.key) == (document["fingerprint"], document["key"])
    assert {"name": "images", "dtype": "uint8", "shape": [None, 64, 64, 3]} == document["inputs"][0]
    assert ["probabilities", "heatmap", "pam"] == [output["name"] for output in document["outputs"]]


def test_the_fingerprint_names_what_changes_rows(record):
    """
    Engine bytes, preprocessing or calibration give another fingerprint; runtime version and proof do not.
    """
    cooler = dataclasses.replace(record.calibration, temperature=2.0)
    changed = [
        record.model_copy(update={"engine_sha256": "0" * 64}),
        record.model_copy(update={"preprocessing": "other"}),
        record.model_copy(update={"calibration": cooler}),
    ]
    same = [record.model_copy(update={"backend_version": "0.0"}), record.model_copy(update={"parity": None})]

    assert 4 == len({record.fingerprint, *(other.fingerprint for other in changed)})
    assert {record.fingerprint} == {other.fingerprint for other in same}
    assert 16 == len(record.fingerprint)


def test_the_folder_names_what_an_engine_is_bound_to(record):
    """
    The same engine for another runtime version, another GPU or another way to use it lies in another folder.
    """
    gpu = Gpu(name="H100", compute_capabilities=("9.0",))
    two = gpu.model_copy(update={"contexts": 2, "cuda_graphs": True})
    others = [record.model_copy(update=each) for each in ({"backend_version": "0.0"}, {"gpu": gpu}, {"gpu": two})]

    assert 4 == len({record.folder, *(other.folder for other in others)})
    assert record.folder.startswith("torch-fp32-")
    assert others[-1].rebuild.endswith(" --precision fp32 --contexts 2 --cuda-graphs")


def test_what_could_not_be_chosen_before_changes_no_record(record):
    """
    An engine that is used as those of earlier releases were has their record to the letter: its key is theirs, and
    either release reads the other's.
    """
    plain = record.model_copy(update={"gpu": Gpu(name=None, compute_capabilities=("8.6",))})
    other = record.model_copy(update={"gpu": Gpu(name=None, compute_capabilities=("8.6",), batch=16, modelopt=True)})

    assert {"name": None, "compute_capabilities": ["8.6"], "and_newer": False} == json.loads(plain.to_json())["gpu"]
    assert other == EngineRecord.from_json(other.to_json(), "engine.json")
    assert other.rebuild.endswith(" --engine-batch 16 --modelopt PYTHON")


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"format": 3}, "format"),
        ({"target": "quantum"}, "target"),
        ({"surprise": 1}, "surprise"),
        ({"engine_sha256": "zz"}, "engine_sha256"),
        ({"version": "1"}, "version"),
        ({"fingerprint": "0" * 16}, "fingerprint"),
        ({"key": "../../elsewhere"}, "key"),
        ({"calibration": None}, "calibration"),
        ({"heatmap_hw": [0, 4]}, "heatmap_hw"),
    ],
)
def test_a_record_that_says_something_strange_is_refused(record, change, message):
    """
    Unknown values, unknown fields and digests that contradict the rest are named.
    """
    document = json.loads(record.to_json()) | change
    with pytest.raises(EngineError, match=f"^e.json: {message}"):
        EngineRecord.from_json(json.dumps(document).encode(), "e.json")


def test_an_unknown_field_deep_inside_is_refused(record):
    """
    A newer release's model configuration is not silently cut down to what this one knows.
    """
    document = json.loads(record.to_json())
    document["config"]["image"]["gamma"] = 2.2
    with pytest.raises(EngineError, match=r"config\.image\.gamma"):
        EngineRecord.from_json(json.dumps(document).encode(), "e.json")


@pytest.mark.parametrize("data", [b"", b"{", b"[]", b"null", b"\xff\xfe", b"[" * 100_000, b'{"format": 2}'])
def test_what_is_no_record_is_refused(data):
    """
    Any bytes give a record or the documented error.
    """
    with pytest.raises(EngineError):
        EngineRecord.from_json(data, "e.json")
