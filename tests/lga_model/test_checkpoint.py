from __future__ import annotations

import hashlib
import json
from dataclasses import replace

import pytest
import torch
from safetensors.torch import load, save

from lga_model.calibration import Calibration
from lga_model.checkpoint import CheckpointError, ModelRecord, load_model, read_record, save_model
from lga_model.config import FAST, ImageConfig, ModelConfig
from lga_model.network import build_network

CONFIG = ModelConfig(
    backbone="test_resnet",
    classes=("running", "jumping", "走る"),
    image=ImageConfig(size_px=64),
    action_channels=8,
    localisation_channels=(4, 1),
)
CALIBRATION = Calibration(
    temperature=1.7,
    conformal_threshold=0.8,
    coverage=0.9,
    accept_confidence=0.95,
    precision=0.95,
    person_peak_min=0.1,
)
RECORD = ModelRecord(config=CONFIG, recipe=FAST, calibration=CALIBRATION, preprocessing="squeeze-1")


@pytest.fixture
def saved(tmp_path):
    """A directory with a checkpoint."""
    save_model(tmp_path / "model", build_network(CONFIG), RECORD)
    return tmp_path / "model"


def edit(directory, change):
    document = json.loads((directory / "model.json").read_text())
    change(document)
    (directory / "model.json").write_text(json.dumps(document))


def replace_weights(directory, change):
    """Put other weights in, with their right digest."""
    tensors = load((directory / "model.safetensors").read_bytes())
    change(tensors)
    content = save(tensors)
    (directory / "model.safetensors").write_bytes(content)
    edit(directory, lambda document: document.update(weights_sha256=hashlib.sha256(content).hexdigest()))


def test_what_was_saved_is_loaded(tmp_path):
    """
    The record is equal, the weights are equal, the network is in evaluation mode and says the same.
    """
    network = build_network(CONFIG)
    save_model(tmp_path, network, RECORD)
    loaded, record = load_model(tmp_path)
    image = torch.randint(0, 256, (1, 64, 64, 3), dtype=torch.uint8)
    with torch.no_grad():
        expected, actual = network.eval()(image), loaded(image)

    assert RECORD == record
    assert RECORD == read_record(tmp_path)
    assert not loaded.training
    assert expected.logits_BA.equal(actual.logits_BA)
    assert expected.heatmap_BHW.equal(actual.heatmap_BHW)


def test_an_uncalibrated_model_without_heatmap_makes_the_round_trip(tmp_path):
    """
    None and the bare defaults survive JSON.
    """
    config = replace(CONFIG, variant="plain", localisation=False)
    record = ModelRecord(config=config, recipe=FAST, calibration=Calibration.none(), preprocessing="squeeze-1")
    save_model(tmp_path, build_network(config), record)

    assert record == load_model(tmp_path)[1]


def test_the_same_model_gives_the_same_bytes(tmp_path):
    """
    And leaves nothing else behind, when written over itself.
    """
    network = build_network(CONFIG)
    save_model(tmp_path, network, RECORD)
    first = {path.name: path.read_bytes() for path in tmp_path.iterdir()}
    save_model(tmp_path, network, RECORD)

    assert first == {path.name: path.read_bytes() for path in tmp_path.iterdir()}
    assert {"model.json", "model.safetensors"} == first.keys()


def test_a_record_of_another_network_is_not_saved(tmp_path):
    """
    It could never be loaded.
    """
    with pytest.raises(CheckpointError, match="another network"):
        save_model(tmp_path, build_network(replace(CONFIG, classes=("one", "two"))), RECORD)

    assert [] == list(tmp_path.iterdir())


@pytest.mark.parametrize("damage", [lambda b: b[:-100], lambda b: b"", lambda b: b[:-1] + bytes([b[-1] ^ 1])])
def test_truncated_or_altered_weights_are_refused(saved, damage):
    """
    One flipped bit is enough.
    """
    path = saved / "model.safetensors"
    path.write_bytes(damage(path.read_bytes()))
    with pytest.raises(CheckpointError, match=r"model\.safetensors.*sha256"):
        load_model(saved)


def test_weights_that_are_no_safetensors_are_refused_even_with_the_right_digest(saved):
    """
    An attacker can compute a digest too. A pickle stays bytes.
    """
    content = b"\x80\x04not tensors"
    (saved / "model.safetensors").write_bytes(content)
    edit(saved, lambda document: document.update(weights_sha256=hashlib.sha256(content).hexdigest()))
    with pytest.raises(CheckpointError, match="not a safetensors file"):
        load_model(saved)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda t: t.pop("action.classifier.bias"), "'action.classifier.bias' is missing"),
        (lambda t: t.update(extra=torch.zeros(1)), "'extra' is unknown"),
        (lambda t: t.update({"action.classifier.bias": torch.zeros(4)}), r"\[4\].*\[3\]"),
        (lambda t: t.update({"action.classifier.bias": torch.zeros(3).half()}), "float16"),
    ],
)
def test_tensors_of_another_network_are_refused_by_name(saved, change, message):
    """
    Missing, surplus, of another shape, of another type.
    """
    replace_weights(saved, change)
    with pytest.raises(CheckpointError, match=message):
        load_model(saved)


@pytest.mark.parametrize(
    ("change", "field"),
    [
        (lambda d: d.update(format=2), "format: this release reads 1, not 2"),
        (lambda d: d.pop("format"), "format: this release reads 1, not None"),
        (lambda d: d.update(novelty=1), "novelty: unknown"),
        (lambda d: d["config"]["image"].update(crop="centre"), "config.image.crop: unknown"),
        (lambda d: d["config"].pop("classes"), "config.classes"),
        (lambda d: d["config"].update(classes=[]), "config: .*classes"),
        (lambda d: d["config"].update(action_channels="8"), "config.action_channels"),
        (lambda d: d["config"].update(action_channels=10**9), "config: .*action_channels"),
        (lambda d: d["config"].update(variant="other"), "config.variant"),
        (lambda d: d["calibration"].update(temperature=0), "calibration: .*temperature"),
        (lambda d: d.pop("weights_sha256"), "weights_sha256"),
        (lambda d: d.update(weights_sha256=None), "weights_sha256"),
    ],
)
def test_a_record_that_this_release_does_not_know_is_refused_by_the_field(saved, change, field):
    """
    Unknown, missing, of another type, out of range, or of a newer format.
    """
    edit(saved, change)
    with pytest.raises(CheckpointError, match=rf"model\.json: {field}"):
        read_record(saved)


def test_a_field_that_was_added_later_may_be_absent(saved):
    """
    An old checkpoint stays readable when a field with a default joins the configuration.
    """
    edit(saved, lambda document: document["config"].pop("localisation_activation"))

    assert RECORD == read_record(saved)


def test_a_backbone_that_timm_does_not_know_is_refused(saved):
    """
    It may come from another release of timm.
    """
    edit(saved, lambda document: document["config"].update(backbone="resnet_of_tomorrow"))
    with pytest.raises(CheckpointError, match=r"config\.backbone.*resnet_of_tomorrow"):
        load_model(saved)


@pytest.mark.parametrize("content", [b"", b"{", b"[]", b"null", b"\xff\xfe", b"[" * 100_000])
def test_a_damaged_record_is_refused(saved, content):
    """
    Truncated, another thing than a record, not text, or made to exhaust the parser.
    """
    (saved / "model.json").write_bytes(content)
    with pytest.raises(CheckpointError, match=r"model\.json"):
        load_model(saved)


@pytest.mark.parametrize("missing", ["model.json", "model.safetensors"])
def test_a_missing_file_is_named(saved, missing):
    """
    Weights without a record are no checkpoint, nor is a record without weights.
    """
    (saved / missing).unlink()
    with pytest.raises(CheckpointError, match=missing):
        load_model(saved)
