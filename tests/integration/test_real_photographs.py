"""The whole path on real photographs: three actions of Stanford40, from the raw data set to measured tags."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys

import pytest

from workers.__main__ import main
from workers.storage import open_store

TRAIN = "train --backbone tf_efficientnet_lite0 --weights package"
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


def score_elsewhere(*arguments: str) -> None:
    """Run `lga score` as a user would, in a process of its own, with a Ray of its own."""
    done = subprocess.run(
        [sys.executable, "-m", "workers", "score", *arguments],
        # RAY_ADDRESS as another program may have left it: a command without --ray-address starts its own.
        env=os.environ | {"PYTHONPATH": os.pathsep.join(sys.path), "RAY_ADDRESS": "127.0.0.1:1"},
        capture_output=True,
        text=True,
        timeout=280,
        check=False,
    )

    assert 0 == done.returncode, done.stderr[-3000:]


@pytest.mark.timeout(600)
def test_from_raw_photographs_to_measured_tags(s3, ray_local, small_stanford40, tmp_path, monkeypatch, capsys):
    """
    Prepare, train from ImageNet weights, compile, promote, tag a bucket, measure the tags: far better than guessing.
    """
    monkeypatch.chdir(tmp_path)
    bucket, output = s3.bucket(), s3.bucket()
    for action in ACTIONS:
        for name in (small_stanford40 / f"ImageSplits/{action}_test.txt").read_text().split():
            open_store(bucket).put(f"2026/{name}", (small_stanford40 / "JPEGImages" / name).read_bytes())
    monkeypatch.setenv("LGA_REGISTRY", str(tmp_path / "registry"))
    for command in (
        f"prepare stanford40 --root {small_stanford40} --output small.parquet",
        f"{TRAIN} --manifest small.parquet --name small --size-px 96 --epochs 5 --batch-size 12 --action-channels 64",
        "compile --model small:1",
        "models promote --model small:1",
    ):
        assert 0 == main(command.split()), capsys.readouterr().err
    score_elsewhere("--input", f"{bucket}/2026", "--output", output, "--model", "small@production")
    quality_of = ["tags", "evaluate", "--output", output, "--manifest", "small.parquet"]

    assert 0 == main([*quality_of, "--json-output", "quality.json"])

    quality = json.loads((tmp_path / "quality.json").read_text())
    capsys.readouterr()

    assert (30, 30) == (quality["photographs"], quality["tagged"])
    assert quality["mean_average_precision"] > 0.7  # Guessing gives a third.
    assert 0 == main(["tags", "query", "--output", output, "--format", "csv", "select count(*) as n from tags"])
    assert "n\n30\n" == capsys.readouterr().out
