from __future__ import annotations

import pytest

from workers.models.lineage import lineage
from workers.settings import TrainSettings

SETTINGS = TrainSettings(manifest="s3://sets/m.parquet", name="pose", epochs=5, seed=7, gpu=True)
CHECK = {"name": "mAP", "production": 0.5, "candidate": 0.625, "wanted": "more than +0.0000; it is +0.1250"}
TRAINING = {
    "manifest": {"uri": "s3://sets/m.parquet", "digest": "abc", "train_rows": 48, "val_rows": 13},
    "parent": {"model": "pose:3", "uri": "s3://models/pose/versions/0003"},
    "pretrained": {"source": None, "sha256": "def"},
    "run": "pose-again",
    "checkpoint": "s3://runs/pose-again/checkpoints/00000018-aa",
    "seed": 7,
    "settings": SETTINGS.model_dump(mode="json"),
    "versions": {"lga-tagger": "0.1.0"},
    "commit": {"sha1": "0123456789", "dirty": True},
    "method_sha256": "fedcba9876543210",
    "gate": {"against": "pose:3", "images": 13, "checks": [CHECK], "passed": True},
}


def test_everything_that_a_version_depends_on_is_told():
    """
    Data, parent, settings that somebody gave, seed, code and its commit, and why the gate let it pass.
    """
    rows = dict(lineage(TRAINING))

    assert "abc" == rows["manifest"]
    assert "48 to learn from, 13 to choose by" == rows["photographs"]
    assert "pose:3 (s3://models/pose/versions/0003)" == rows["parent"]
    assert "-" == rows["pretrained weights"]
    assert "pose-again (s3://runs/pose-again/checkpoints/00000018-aa)" == rows["run"]
    assert "epochs=5, gpu=True" == rows["settings"]
    assert "7" == rows["seed"]
    assert "0.1.0, commit 0123456789, changed since, method fedcba987654" == rows["code"]
    assert "passed, against pose:3, 13 photographs" == rows["gate"]
    assert "0.5000 -> 0.6250; wanted: more than +0.0000; it is +0.1250" == rows["  mAP"]


@pytest.mark.parametrize(
    "training",
    [{}, [], None, {"gate": 3, "settings": [], "manifest": "x", "commit": 1}, {"gate": {"checks": [None, {}]}}],
)
def test_what_is_not_known_is_a_dash(training):
    """
    A version of another release, or one that somebody made by hand: no crash.
    """
    rows = dict(lineage(training))

    assert "-" == rows["manifest"]
    assert "-" == rows["parent"]


def test_a_gate_that_was_off_is_told():
    """
    Nobody takes a version for one that had to beat another.
    """
    assert "off" == dict(lineage({"gate": {"against": None, "images": 0, "checks": [], "passed": True}}))["gate"]
