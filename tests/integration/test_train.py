"""`lga train` from a manifest to a version in the registry, on a real Ray."""

from __future__ import annotations

import json
import shutil

import cv2
import numpy as np
import pytest

from lga_model.annotations import Annotation, write_manifest
from lga_model.checkpoint import load_model
from workers.__main__ import main
from workers.errors import SettingsError
from workers.registry import Registry
from workers.settings import TrainSettings
from workers.storage import open_store
from workers.train.job import train

SIZE = 64
PLACES = {"left": (6, 24), "right": (42, 24), "up": (24, 6)}


@pytest.fixture(scope="module")
def manifest(tmp_path_factory):
    """Noise with a green square whose place is the action: 48 images to train on, 13 to validate on."""
    root = tmp_path_factory.mktemp("data")
    random = np.random.default_rng(0)
    rows = []
    for number in range(61):
        action = list(PLACES)[number % 3]
        x, y = np.array(PLACES[action]) + random.integers(-4, 5, 2)
        image = random.integers(0, 128, (SIZE, SIZE, 3), dtype=np.uint8)
        image[y : y + 16, x : x + 16] = (30, 220, 60)
        cv2.imwrite(str(root / f"{number}.jpg"), image)
        split = "train" if number < 48 else "val"
        box = (float(x), float(y), float(x + 16), float(y + 16))
        rows.append(
            Annotation(image=f"{number}.jpg", action=action, split=split, boxes=(box,), width=SIZE, height=SIZE)
        )
    path = root / "manifest.jsonl"
    path.write_bytes(write_manifest(rows, "jsonl"))
    return path


def settings(manifest, registry, **changes) -> TrainSettings:
    fixed = {
        "manifest": str(manifest),
        "name": "squares",
        "registry": str(registry),
        "backbone": "test_resnet",
        "output_stride": 16,
        "size_px": SIZE,
        "batch_size": 8,
        "precision": "fp32",
        "epochs": 1,
        "progress": False,
        "output": f"{registry}/training",
    }
    return TrainSettings(**(fixed | changes))


def with_broken_image(manifest, folder):
    """The same manifest elsewhere, with one training image that is none."""
    (folder / "7.jpg").write_bytes(b"no image")
    rows = [json.loads(line) for line in manifest.read_text().splitlines()]
    for number, row in enumerate(rows):
        row["image"] = str((folder if number == 7 else manifest.parent) / row["image"])
    path = folder / "manifest.jsonl"
    path.write_text("\n".join(map(json.dumps, rows)))
    return path


def read(registry, version, name):
    return json.loads((registry / f"squares/versions/{version:04d}/{name}").read_text())


@pytest.fixture(scope="module")
def first(ray_local, s3, manifest, tmp_path_factory) -> TrainSettings:
    """The settings of a run of one epoch that was trained and published, with a broken image that it skipped."""
    folder = tmp_path_factory.mktemp("first")
    chosen = settings(
        with_broken_image(manifest, folder),
        folder / "registry",
        output=f"{s3.bucket()}/training",
        run="again",
        skip_invalid=True,
        nobody_share=0.25,
        class_balance=1.0,
        layer_decay=0.8,
        ema_decay=0.9,
        localisation_activation="straight_through",
    )

    assert 0 == train(chosen)
    return chosen


@pytest.fixture
def registry(first, tmp_path):
    """A copy of the registry with that run's version."""
    return shutil.copytree(first.registry, tmp_path / "registry")


def test_a_run_is_published_continued_and_published_once(first, registry, capsys):
    """
    The version loads and says what it is. The same run with more epochs continues after its last one, here with a
    second worker; asked for nothing more, it publishes nothing more. A broken image is skipped and counted. The parts
    without people of the 13 validation photographs are in the calibration's record, and in no figure of the actions.
    """
    models = Registry(str(registry))
    network, record = load_model(models.fetch(models.resolve("squares:1")))

    assert ("left", "right", "up") == record.config.classes
    assert (4, 4) == network.feature_size
    assert 0.9 == record.calibration.coverage
    assert 1 == read(registry, 1, "training.json")["unusable_images"]

    longer = first.model_copy(update={"epochs": 2, "workers": 2, "registry": str(registry)})

    assert 0 == train(longer)
    assert "squares:2" in capsys.readouterr().out

    before, after = (read(registry, version, "metrics.json") for version in (1, 2))

    assert [1, 2] == [epoch["epoch"] for epoch in after["history"]]
    assert before["history"] == after["history"][:1]
    assert {"left", "right", "up"} == set(after["validation"]["average_precision"])
    assert [13, 13] == [epoch["images"] for epoch in after["history"]]
    assert 13 == after["calibration"]["nobody_images"]
    assert 13 == sum(one["images"] for one in after["calibration"]["bins_before"])
    assert 0 <= after["calibration"]["nobody_found"] <= 1
    assert [1.0, 1 - after["validation"]["top1"]] == pytest.approx(after["calibration"]["risk_at_coverage"][-1])

    assert 0 == train(longer)
    assert "published as squares:2" in capsys.readouterr().out
    assert [1, 2] == [version.number for version in models.versions("squares")]


@pytest.fixture
def unpublished(first, tmp_path) -> dict:
    """Settings under which that run was trained and not published, beside a production model of the same weights."""
    run, copy = open_store(f"{first.output}/again"), open_store(str(tmp_path / "training/again"))
    for info in run.list():
        if info.key != "published.json":
            copy.put(info.key, run.get(info.key).data)
    source = Registry(first.registry)
    bundle = shutil.copytree(source.fetch(source.resolve("squares:1")), tmp_path / "bundle")
    (bundle / "training.json").write_text("{}")
    models = Registry(str(tmp_path / "registry"))
    models.promote(models.publish("squares", bundle), "production")
    given = first.model_dump(mode="json", include=first.model_fields_set)
    return given | {"output": str(tmp_path / "training"), "registry": models.uri}


def test_the_gate_keeps_what_does_not_beat_production(unpublished, tmp_path, capsys):
    """
    Exit code 4 with a table that says why, and no new version; another rule needs no other training.
    """
    models, config = Registry(unpublished["registry"]), tmp_path / "train.yaml"
    config.write_text(json.dumps(unpublished))

    assert 4 == main(["train", "--config", str(config), "--gate-min-gain", "0.9"])

    captured = capsys.readouterr()

    assert "gate: against squares:1, 13 validation photographs" in captured.out
    assert "more than +0.9000" in captured.out
    assert "REFUSED" in captured.out
    assert "Nothing was published" in captured.err
    assert [1] == [version.number for version in models.versions("squares")]
    assert 0 == main(["train", "--config", str(config), "--no-gate"])
    assert [1, 2] == [version.number for version in models.versions("squares")]


def test_an_error_of_a_worker_is_told_as_it_is(ray_local, manifest, tmp_path):
    """
    A broken image stops the run with its name, not with Ray's wrapping, and nothing is published.
    """
    with pytest.raises(SettingsError, match=r"^cannot use \S*7\.jpg: not_an_image.*--skip-invalid$"):
        train(settings(with_broken_image(manifest, tmp_path), tmp_path))

    assert [] == Registry(str(tmp_path)).names()


def test_what_can_be_refused_is_refused_before_ray_starts(tmp_path, manifest, capsys):
    """
    A wrong backbone, a missing manifest: exit code and message at once, no traceback.
    """
    fixed = ["train", "--name", "squares", "--registry", str(tmp_path)]

    assert 2 == main([*fixed, "--manifest", str(manifest), "--backbone", "resnet5000"])
    assert "no model 'resnet5000'" in capsys.readouterr().err
    boxless = [json.loads(line) | {"boxes": []} for line in manifest.read_text().splitlines()]
    (tmp_path / "m.jsonl").write_text("\n".join(map(json.dumps, boxless)))
    assert 2 == main([*fixed, "--manifest", str(tmp_path / "m.jsonl"), "--nobody-share", "0.1"])
    assert "nothing in" in capsys.readouterr().err
    assert 2 == main([*fixed, "--manifest", str(tmp_path / "absent.jsonl")])
    assert "absent.jsonl (there is no such file)" in capsys.readouterr().err
