"""`lga look`: one photograph, any registered model, the answer and a picture of it."""

from __future__ import annotations

import io
import json
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from lga_model.images import DecodedImage
from workers.__main__ import main
from workers.look.overlay import overlay
from workers.registry import Registry


@pytest.fixture
def registry(tmp_path, tiny_source, onnxruntime_engine, own_cache) -> Registry:
    """One model, twice: version 1 with an engine, version 2 without."""
    registry = Registry(str(tmp_path / "registry"))
    bundle = Path(tiny_source.version.uri)
    first = registry.publish("tiny", bundle)
    registry.add_engine(first, onnxruntime_engine)
    registry.publish("tiny", bundle)
    return registry


@pytest.fixture
def photograph(photo_manifest) -> Path:
    return photo_manifest.parent / "running_1.jpg"


def look(registry: Registry, capsys, *arguments: object) -> list[dict]:
    code = main(["look", *map(str, arguments), "--registry", registry.uri, "--format", "json"])
    out, err = capsys.readouterr()

    assert 0 == code, err

    return [json.loads(line) for line in out.splitlines()]


def test_an_engine_and_the_model_itself_say_the_same(registry, photograph, tmp_path, capsys):
    """
    Label, confidence and focus, from the engine of one version and from the weights of the other.
    """
    answers = []
    for version in (1, 2):
        answers += look(registry, capsys, photograph, "--model", f"tiny:{version}", "--overlay", tmp_path / "out")
    engine, model = answers

    assert engine["label"] == model["label"] == next(iter(engine["labels"]))
    assert model["confidence"] == pytest.approx(engine["confidence"], abs=2e-4)
    assert model["focus"] == pytest.approx(engine["focus"], abs=2e-4)
    assert engine["label"] in engine["label_set"]
    assert 1 == pytest.approx(sum(engine["labels"].values()), abs=2e-3)


def test_an_engine_needs_neither_torch_nor_ray(registry, photograph, tmp_path):
    """
    A look is short: the seconds that either takes to load would be most of it.
    """
    asked = ["look", str(photograph), "--model", "tiny:1", "--registry", registry.uri, "--overlay", str(tmp_path)]
    program = f"import sys; from workers.__main__ import main; main({asked}); print(sorted({{'torch', 'ray'}} & set(sys.modules)))"  # noqa: E501
    done = subprocess.run(
        [sys.executable, "-c", program],
        env=os.environ | {"PYTHONPATH": os.pathsep.join(sys.path)},
        capture_output=True,
        text=True,
        check=True,
    )

    assert "running_1.look.png" in done.stdout
    assert "[]" == done.stdout.splitlines()[-1]


def test_every_photograph_gets_its_overlay(registry, photograph, tmp_path, capsys):
    """
    PNG files with the three pictures side by side; two photographs of one name do not share a file.
    """
    out = tmp_path / "out"
    (tmp_path / "other").mkdir()
    other = tmp_path / "other" / photograph.name
    other.write_bytes(photograph.read_bytes())
    answers = look(registry, capsys, photograph, other, "--model", "tiny:1", "--overlay", out)

    assert [str(out / "running_1.look.png"), str(out / "running_1-2.look.png")] == [each["overlay"] for each in answers]
    for answer in answers:
        with Image.open(answer["overlay"]) as picture:
            assert picture.width > 3 * 384


def test_the_table_is_for_people(registry, photograph, tmp_path, capsys):
    """
    The model, what computed, the label and where the overlay is.
    """
    code = main(
        ["look", str(photograph), "--model", "tiny:1", "--registry", registry.uri, "--overlay", str(tmp_path / "out")]
    )
    out = capsys.readouterr().out

    assert 0 == code
    assert "tiny:1, onnxruntime fp32 on cpu" in out
    assert "running_1.look.png" in out


@pytest.mark.parametrize(
    ("image", "message"),
    [("missing.jpg", "there is no photograph"), ("note.txt", "cannot be looked at: not_an_image")],
)
def test_what_cannot_be_looked_at_is_told(registry, tmp_path, capsys, image, message):
    """
    Exit code 2 and a sentence with the file's name.
    """
    (tmp_path / "note.txt").write_text("these are not pixels")
    code = main(["look", str(tmp_path / image), "--model", "tiny:1", "--registry", registry.uri])
    err = capsys.readouterr().err

    assert 2 == code
    assert message in err
    assert image in err


def test_an_overlay_is_coloured_where_the_map_is():
    """
    The photograph stays as it is where the maps are zero, and turns to the map's colour where they are one.
    """
    grey = DecodedImage(pixels_HWC=np.full((64, 64, 3), 128, np.uint8), width_px=64, height_px=64)
    left = np.zeros((8, 8), np.float32)
    left[:, :4] = 1
    sheet = np.asarray(Image.open(io.BytesIO(overlay(grey, left, left, ["label"]))))
    middle = sheet[200, [10 + 394 * panel + offset for panel in (0, 1, 2) for offset in (20, 360)]].astype(int)

    assert (128, 128, 128) == tuple(middle[0]) == tuple(middle[1]) == tuple(middle[3]) == tuple(middle[5])
    assert middle[2][2] > middle[2][0] + 50
    assert middle[4][0] > middle[4][2] + 50


def test_the_words_below_a_narrow_photograph_are_not_cut_off():
    """
    The paper is as wide as its longest line.
    """
    tower = DecodedImage(pixels_HWC=np.full((64, 64, 3), 128, np.uint8), width_px=8, height_px=64)
    evidence = np.ones((8, 8), np.float32)
    short, long = (Image.open(io.BytesIO(overlay(tower, None, evidence, [label]))) for label in ("i", "label " * 40))

    assert short.width < 150
    assert long.width > 1000
