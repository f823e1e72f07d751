"""The whole path on real photographs: three actions of Stanford40, from the raw data set to measured tags."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys

import pytest

from workers.storage import open_store

ACTIONS = ("feeding_a_horse", "playing_violin", "rowing_a_boat")


@pytest.fixture
def small_stanford40(stanford40, tmp_path):
    """The official layout with three actions, forty training and ten test photographs each."""
    root = tmp_path / "Stanford40"
    for folder in ("JPEGImages", "XMLAnnotations", "ImageSplits"):
        (root / folder).mkdir(parents=True)
    (root / "ImageSplits/actions.txt").write_text("\n".join(ACTIONS))
    for action in ACTIONS:
        for split, count in (("train", 40), ("test", 10)):
            names = (stanford40 / f"ImageSplits/{action}_{split}.txt").read_text().split()[:count]
            (root / f"ImageSplits/{action}_{split}.txt").write_text("\n".join(names))
            for name in names:
                shutil.copy(stanford40 / "JPEGImages" / name, root / "JPEGImages")
                shutil.copy(stanford40 / "XMLAnnotations" / name.replace(".jpg", ".xml"), root / "XMLAnnotations")
    return root


def lga(folder, *arguments):
    """Run one command as a user would, in a process of its own."""
    done = subprocess.run(
        [sys.executable, "-m", "workers", *map(str, arguments)],
        cwd=folder,
        env=os.environ
        | {"LGA_REGISTRY": str(folder / "registry"), "PYTHONPATH": os.pathsep.join(sys.path)}
        | {"RAY_ADDRESS": "127.0.0.1:1"},  # Left by another program: a command without --ray-address starts its own.
        capture_output=True,
        text=True,
        timeout=280,
        check=False,
    )

    assert 0 == done.returncode, done.stderr[-3000:]
    return done


@pytest.mark.timeout(600)
def test_from_raw_photographs_to_measured_tags(s3, small_stanford40, tmp_path):
    """
    Prepare, train from ImageNet weights, compile, promote, tag a bucket, measure the tags: far better than guessing.
    """
    lga(tmp_path, "prepare", "stanford40", "--root", small_stanford40, "--output", "small.parquet")
    lga(
        tmp_path, "train", "--manifest", "small.parquet", "--name", "small", "--backbone", "tf_efficientnet_lite0",
        "--weights", "package", "--size-px", 96, "--epochs", 5, "--batch-size", 12,
    )  # fmt: skip
    lga(tmp_path, "compile", "--model", "small:1")
    lga(tmp_path, "models", "promote", "--model", "small:1")
    bucket, output = s3.bucket(), s3.bucket()
    for action in ACTIONS:
        for name in (small_stanford40 / f"ImageSplits/{action}_test.txt").read_text().split():
            open_store(bucket).put(f"2026/{name}", (small_stanford40 / "JPEGImages" / name).read_bytes())
    lga(tmp_path, "score", "--input", f"{bucket}/2026", "--output", output, "--model", "small@production")
    lga(
        tmp_path, "tags", "evaluate", "--output", output, "--manifest", "small.parquet",
        "--json-output", tmp_path / "quality.json",
    )  # fmt: skip
    quality = json.loads((tmp_path / "quality.json").read_text())
    asked = lga(tmp_path, "tags", "query", "--output", output, "--format", "csv", "select count(*) as n from tags")

    assert (30, 30) == (quality["photographs"], quality["tagged"])
    assert quality["mean_average_precision"] > 0.7  # Guessing gives a third.
    assert "n\n30\n" == asked.stdout
