"""Every command that the documentation shows is run, as it stands and in the order of the text.

The world is small, not the commands: what the text names (a data set, an archive, buckets, an inventory) is there with
a dozen rendered scenes in it, a settings file makes the training short, and the published model is swapped for one that
is exported in a moment. A line that cannot run here is named below with its reason; one that is neither run nor named
fails the test.
"""

from __future__ import annotations

import json
import os
import re
import runpy
import shlex
import shutil
import sys
from dataclasses import replace
from pathlib import Path

import pytest
import simplejpeg
import yaml

from lga_model.checkpoint import read_record, save_model
from lga_model.datasets.misleading import MisleadingConfig, Scene, render_scene
from lga_model.network import build_network
from workers.__main__ import main
from workers.registry import METRICS_FILE, TRAINING_FILE, Registry
from workers.settings import COMMANDS, read_settings
from workers.storage import make_bucket, open_store

ROOT = Path(__file__).resolve().parents[2]
PAGES = [
    ROOT / "README.md",
    *sorted(ROOT.glob("docs/*.md")),
    *sorted(ROOT.glob("deploy/**/*.md")),
    *sorted(ROOT.glob("benchmarks/*.md")),
    *(ROOT / name for name in ("CONTRIBUTING.md", "SECURITY.md")),
]
ELSEWHERE = {
    "make ": "installs the project or runs all of it; tests/test_docs.py knows the targets",
    "lga submit ": "needs the cluster at that address; tests/integration/test_submit.py submits to one of its own",
    "helm ": "needs a cluster; tests/deploy/test_chart.py renders the chart",
    "kubectl ": "needs a cluster; tests/deploy/test_launcher.py has a stand-in for it",
    "mmdebstrap ": "builds a base image, as root",
    "export STORAGE_DRIVER": "of that build",
    "base=$(": "of that build",
    "buildah ": "of that build",
    "box=$(": "of that build",
    "python benchmarks/": "measures for minutes; its flags are checked below",
    "python deploy/picture.py ": "needs that Prometheus; tests/deploy/test_dashboards.py runs the queries",
    "docker ": "needs Docker and the image",
    "python deploy/audit.py ": "needs a database of vulnerabilities; tests/deploy has a small one",
    "python deploy/sbom.py /opt/lga": "needs the image's own environment",
    "python -m venv modelopt ": "gigabytes; tests/workers/engines/test_modelopt.py takes MODELOPT_PYTHON",
    "lga compile --model stanford40:1 --target tensorrt ": "needs a GPU; tests/gpu",
}
"""Beginnings of lines that are not run here, and why."""
PROGRAMS = (
    *(
        "lga",
        "make",
        "python",
        "python3",
        "pip",
        "uv",
        "docker",
        "helm",
        "kubectl",
        "mmdebstrap",
        "buildah",
        "promtool",
    ),
    "export",
)
BLOCK = re.compile(r"^```(?:bash|sh|shell|console)?\n(.*?)^```|((?:^(?: {4}|\t).*\n)+)", re.MULTILINE | re.DOTALL)
SMALL = {
    "progress": False,
    "train": {"epochs": 1, "batch_size": 8, "size_px": 64, "output_stride": 16, "action_channels": 16, "gate": False},
    "evaluate": {"resamples": 100},
    # A model that has learnt nothing is as sure of one action as of another, and eight bits may change any label: what
    # an engine may differ by is for other tests.
    "compile": {
        "parity_images": 4,
        "calibration_images": 4,
        "min_top1_agreement": 0,
        **dict.fromkeys(("max_probability_difference", "max_map_difference", "max_focus_difference"), 1),
        **dict.fromkeys(("max_heatmap_difference", "max_pam_difference"), 100),
    },
    "shadow": {"sample_size": 4},
}
ACTIONS = ("kicking a ball", "reading", "waving")
TRAIN, TEST = 6, 4
BOX = "<annotation><size><width>160</width><height>160</height></size><object><bndbox>{}</bndbox></object></annotation>"


def shown(page: Path) -> list[str]:
    """The lines of the page's blocks that start a program, continued lines joined, comments cut off."""
    found = []
    for fenced, indented in BLOCK.findall(page.read_text(encoding="utf-8")):
        text = (fenced or indented).replace("\\\n", " ")
        lines = (" ".join(line.split("  #")[0].split()).removeprefix(".venv/bin/") for line in text.splitlines())
        found += [line for line in lines if line.split(" ")[0] in PROGRAMS or re.match(r"\w+=\$\(", line)]
    return found


SHOWN: dict[str, str] = {}
"""Each line once, in the order of the text, and the page that shows it first."""
for page in PAGES:
    for line in shown(page):
        SHOWN.setdefault(line, page.relative_to(ROOT).as_posix())
FIRST_MODEL = next(line for line in SHOWN if line.startswith("lga train --manifest stanford40.parquet"))


def scene(split: str, number: int) -> Scene:
    return render_scene(MisleadingConfig(size_px=160), split, number)


def jpeg(split: str, number: int) -> bytes:
    return simplejpeg.encode_jpeg(scene(split, number).pixels_HWC, quality=90)


def make_stanford40(root: Path) -> None:
    """The official layout: three actions, six photographs of each to train with and four to test."""
    for folder in ("JPEGImages", "XMLAnnotations", "ImageSplits"):
        (root / folder).mkdir(parents=True)
    names = [action.replace(" ", "_") for action in ACTIONS]
    (root / "ImageSplits/actions.txt").write_text("\n".join(names))
    for index, action in enumerate(names):
        for split, count in (("train", TRAIN), ("test", TEST)):
            files = [f"{action}_{split}_{number}" for number in range(count)]
            (root / f"ImageSplits/{action}_{split}.txt").write_text("\n".join(f"{file}.jpg" for file in files))
            for number, file in enumerate(files):
                made = scene(split, 8 * number + index)
                sides = zip(("xmin", "ymin", "xmax", "ymax"), made.boxes[0], strict=True)
                (root / f"JPEGImages/{file}.jpg").write_bytes(jpeg(split, 8 * number + index))
                (root / f"XMLAnnotations/{file}.xml").write_text(
                    BOX.format("".join(f"<{side}>{value:.0f}</{side}>" for side, value in sides))
                )


def make_archive(folder: Path) -> None:
    """`labelled/ACTION/photograph.jpg`, and `archive/` without labels."""
    for index, action in enumerate(ACTIONS):
        (folder / "labelled" / action).mkdir(parents=True)
        for number in range(TRAIN):
            (folder / "labelled" / action / f"{number}.jpg").write_bytes(jpeg("train", 8 * number + index))
    (folder / "archive").mkdir()
    for number in range(TEST):
        (folder / "archive" / f"{number}.jpg").write_bytes(jpeg("test", number))
    (folder / "photograph.jpg").write_bytes(jpeg("test", 0))


def fill_buckets(photographs: list[Path]) -> None:
    """The test photographs under `2026/`, with something that is none; a day's S3 Inventory of them."""
    for bucket in ("s3://photographs", "s3://tags", "s3://lists"):
        make_bucket(bucket)
    objects = {f"2026/{path.name}": path.read_bytes() for path in photographs} | {"2026/notes.txt": b"of Tuesday"}
    for key, data in objects.items():
        open_store("s3://photographs").put(key, data)
    lists = open_store("s3://lists")
    lists.put("photographs/daily/0.csv", "\n".join(f'"photographs","{key}"' for key in objects).encode())
    files = [{"key": "photographs/daily/0.csv", "size": 0}]
    manifest = {"sourceBucket": "photographs", "fileFormat": "CSV", "fileSchema": "Bucket, Key", "files": files}
    lists.put("photographs/daily/manifest.json", json.dumps(manifest).encode())


def publish_smaller(registry: Registry, name: str) -> None:
    """Put a small network in the place of the trained one; again as version 2, since the text leaves "a later training"
    to the reader."""
    trained = registry.fetch(registry.resolve(f"{name}:1"))
    record = read_record(trained)
    config = replace(record.config, backbone="test_resnet", localisation_channels=(8, 1))
    bundle = Path("smaller")
    save_model(bundle, build_network(config), replace(record, config=config))
    for file in (METRICS_FILE, TRAINING_FILE):
        shutil.copy(trained / file, bundle)
    shutil.rmtree(Path(registry.uri) / name)
    for _ in range(2):
        registry.publish(name, bundle)


@pytest.fixture
def world(s3, ray_local, tmp_path, monkeypatch) -> None:
    """A folder and buckets that hold what the text names; the process stands in the folder."""
    for name in [name for name in os.environ if name.startswith("LGA_")]:
        monkeypatch.delenv(name)
    monkeypatch.chdir(tmp_path)
    make_stanford40(tmp_path / "Stanford40")
    make_archive(tmp_path)
    fill_buckets(sorted((tmp_path / "Stanford40/JPEGImages").glob("*_test_*")))
    (tmp_path / "small.yaml").write_text(yaml.safe_dump(SMALL))
    monkeypatch.setenv("LGA_CONFIG", str(tmp_path / "small.yaml"))
    monkeypatch.setenv("LGA_LOG_LEVEL", "warning")


@pytest.mark.timeout(1200)
def test_every_command_that_is_shown_ends_well(world, capfd):
    """
    Exit code 0 of each, in the order of the text: later ones find what earlier ones made.
    """
    failed = {}
    for line in (line for line in SHOWN if not line.startswith(tuple(ELSEWHERE))):
        try:
            code = main(shlex.split(line)[1:])
        except SystemExit as ended:
            code = ended.code
        if line == FIRST_MODEL:
            publish_smaller(Registry("registry"), "stanford40")
        said = capfd.readouterr()
        if code:
            failed[f"{SHOWN[line]}: {line}"] = f"exit code {code}: {said.err[-500:]}"

    assert {} == failed


def test_what_is_not_run_is_understood():
    """
    The program's own settings reader takes each line of `lga` as it stands.
    """
    for line in (line for line in SHOWN if line.startswith("lga ") and line.startswith(tuple(ELSEWHERE))):
        _, command, *rest = shlex.split(line)
        read_settings(COMMANDS[command], command, rest)


def test_every_reason_belongs_to_a_line():
    """
    No reason outlives the line that it was for.
    """
    assert [] == [beginning for beginning in ELSEWHERE if not any(line.startswith(beginning) for line in SHOWN)]


BENCHMARKS = [line for line in SHOWN if line.startswith("python benchmarks/")]


@pytest.mark.parametrize("line", BENCHMARKS)
def test_every_flag_of_a_benchmark_is_one(line, monkeypatch, capsys):
    """
    Its own help knows it.
    """
    _, program, *rest = shlex.split(line)
    monkeypatch.setattr(sys, "path", [str((ROOT / program).parent), *sys.path])
    monkeypatch.setattr(sys, "argv", [program, "--help"])
    with pytest.raises(SystemExit) as ended:
        runpy.run_path(str(ROOT / program), run_name="__main__")
    known = set(re.findall(r"--[a-z0-9-]+", capsys.readouterr().out))

    assert 0 == ended.value.code
    assert [] == [word for word in rest if word.startswith("--") and word not in known]
