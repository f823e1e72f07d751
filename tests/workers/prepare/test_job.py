from __future__ import annotations

import json

import cv2
import numpy as np
import pytest

from workers.__main__ import main
from workers.errors import SettingsError, StorageError
from workers.manifest import load_manifest
from workers.prepare.job import prepare_misleading, prepare_stanford40
from workers.settings import PrepareMisleadingSettings, PrepareStanford40Settings
from workers.storage import open_store, read_uri


def misleading(root, **changes):
    counts = {"train": 8, "val": 3, "test": 2, "size_px": 32}
    return PrepareMisleadingSettings(root=root, **(counts | changes))


@pytest.fixture
def raw_stanford40(tmp_path):
    """Two actions with two training images and a test image each; one image is missing, one box is inverted."""
    root = tmp_path / "raw"
    for folder in ("JPEGImages", "XMLAnnotations", "ImageSplits"):
        (root / folder).mkdir(parents=True)
    (root / "ImageSplits" / "actions.txt").write_text("action_name\tnumber\ncooking\t3\nrunning\t3\n")
    for action in ("cooking", "running"):
        names = [f"{action}_{number}.jpg" for number in range(3)]
        (root / "ImageSplits" / f"{action}_train.txt").write_text("\n".join(names[:2]))
        (root / "ImageSplits" / f"{action}_test.txt").write_text(names[2])
        for number, name in enumerate(names):
            (root / "JPEGImages" / name).write_bytes(b"never opened")
            x1 = 0 if number == 0 else 9
            (root / "XMLAnnotations" / f"{action}_{number}.xml").write_text(
                "<annotation><size><width>10</width><height>8</height></size><object><bndbox>"
                f"<xmax>{x1}</xmax><xmin>1</xmin><ymax>7</ymax><ymin>2</ymin></bndbox></object></annotation>"
            )
    (root / "JPEGImages" / "running_2.jpg").unlink()
    return root


def test_misleading_scenes_come_with_their_manifest(tmp_path, capsys):
    """
    Beside the images by default; each image of it is there; the counts are printed.
    """
    assert 0 == prepare_misleading(misleading(tmp_path / "scenes"))

    manifest = load_manifest(str(tmp_path / "scenes" / "manifest.parquet"))
    printed = capsys.readouterr().out.split("\n")

    assert [8, 3, 2] == [len(manifest.split(split)) for split in ("train", "val", "test")]
    assert all(read_uri(row.image).startswith(b"\xff\xd8\xff") for row in manifest.annotations)
    assert any(line.split() == ["train", "images", "8"] for line in printed)
    assert any(line.split() == ["actions", "8"] for line in printed)


def test_a_folder_and_its_manifest_can_be_moved(tmp_path):
    """
    Paths are relative when the manifest lies above or beside the images.
    """
    prepare_misleading(misleading(tmp_path / "here" / "scenes", output=str(tmp_path / "here" / "all.jsonl")))
    (tmp_path / "here").rename(tmp_path / "there")
    manifest = load_manifest(str(tmp_path / "there" / "all.jsonl"))

    assert all(open_store(row.image).root == row.image for row in manifest.annotations)
    assert b"\xff\xd8\xff" == read_uri(manifest.annotations[0].image)[:3]


def test_a_manifest_elsewhere_names_full_paths(tmp_path, s3):
    """
    In a bucket, or in another folder, it still finds images on this machine.
    """
    for output in (f"{s3.bucket()}/m.parquet", str(tmp_path / "other" / "m.parquet")):
        prepare_misleading(misleading(tmp_path / "scenes", output=output))

        assert b"\xff\xd8\xff" == read_uri(load_manifest(output).annotations[0].image)[:3]


def test_stanford40_is_read_and_its_gaps_are_told(raw_stanford40, tmp_path, capsys):
    """
    Missing images and unusable boxes are counted, not hidden.
    """
    output = str(tmp_path / "m.jsonl")
    settings = PrepareStanford40Settings(root=raw_stanford40, output=output, validation_share=0.5)

    assert 0 == prepare_stanford40(settings)

    printed = capsys.readouterr().out.split("\n")
    manifest = load_manifest(output)

    assert [2, 2, 1] == [len(manifest.split(split)) for split in ("train", "val", "test")]
    assert any(line.split() == ["missing", "images", "1"] for line in printed)
    assert any(line.split() == ["problems", "2"] for line in printed)
    assert (raw_stanford40 / "JPEGImages" / "cooking_2.jpg").samefile(manifest.split("test")[0].image)


def test_the_real_stanford40_is_prepared(stanford40, tmp_path):
    """
    The official layout: 40 actions, 4000 images to learn from, a tenth of them for validation.
    """
    output = str(tmp_path / "stanford40.parquet")
    prepare_stanford40(PrepareStanford40Settings(root=stanford40, output=output))
    manifest = load_manifest(output)

    assert 40 == len(manifest.classes)
    assert (3600, 400) == (len(manifest.split("train")), len(manifest.split("val")))


def test_a_wrong_name_is_refused_before_anything_is_rendered(tmp_path):
    """
    The format follows from the name; another ending is told at once.
    """
    with pytest.raises(SettingsError, match=r"ends in \.parquet or \.jsonl"):
        prepare_misleading(misleading(tmp_path / "scenes", output=str(tmp_path / "manifest.csv")))

    assert not (tmp_path / "scenes").exists()


def test_a_wrong_root_is_told(tmp_path):
    """
    A folder that is not the data set, and a place that cannot be written.
    """
    with pytest.raises(SettingsError, match="no folder JPEGImages; check --root"):
        prepare_stanford40(PrepareStanford40Settings(root=tmp_path, output=str(tmp_path / "m.jsonl")))
    (tmp_path / "file").write_text("")
    with pytest.raises(StorageError, match="cannot write images to"):
        prepare_misleading(misleading(tmp_path / "file" / "scenes"))


def photograph(path):
    path.parent.mkdir(parents=True, exist_ok=True)
    assert cv2.imwrite(str(path), np.full((20, 30, 3), 99, np.uint8))


def test_folders_become_a_manifest_from_the_command_line(tmp_path, capsys):
    """
    Actions, nobody, and what is no photograph are counted; the images are found from the manifest.
    """
    for name in ("running/1.jpg", "running/2.jpg", "cooking/1.jpg", "empty/1.jpg"):
        photograph(tmp_path / "photos" / name)
    (tmp_path / "photos/running/notes.txt").write_text("text")
    output = str(tmp_path / "m.jsonl")
    arguments = ["--root", str(tmp_path / "photos"), "--output", output, "--nobody", "empty"]

    assert 0 == main(["prepare", "folders", *arguments])

    printed = [line.split() for line in capsys.readouterr().out.split("\n")]
    manifest = load_manifest(output)

    assert ["images", "of", "nobody", "1"] in printed
    assert ["unusable", "images", "1"] in printed
    assert ("cooking", "running") == manifest.classes
    assert all(read_uri(row.image).startswith(b"\xff\xd8\xff") for row in manifest.annotations)


def test_coco_becomes_a_manifest_from_the_command_line(tmp_path, capsys):
    """
    Boxes become corners; a rule that was applied is counted.
    """
    photograph(tmp_path / "raw/images/1.jpg")
    document = {
        "categories": [{"id": 1, "name": "person"}],
        "images": [{"id": i, "file_name": f"{i}.jpg", "width": 30, "height": 20} for i in (1, 2)],
        "annotations": [{"id": 1, "image_id": 1, "category_id": 1, "bbox": [1, 2, 3, 4], "action": "running"}],
    }
    (tmp_path / "raw/train.json").write_text(json.dumps(document))
    output = str(tmp_path / "m.jsonl")

    assert 0 == main(["prepare", "coco", "--root", str(tmp_path / "raw"), "--output", output])
    assert ["images", "without", "an", "action", "1"] in [x.split() for x in capsys.readouterr().out.split("\n")]
    assert [((1.0, 2.0, 4.0, 6.0),)] == [row.boxes for row in load_manifest(output).annotations]


@pytest.mark.parametrize(
    ("command", "told"),
    [
        (["mpii"], "no folder images; check --root"),
        (["coco"], "train.json is missing; check --root"),
        (["coco", "--images", "../photos"], "name a folder below --root"),
        (["folders"], "no class folders"),
    ],
)
def test_what_is_not_there_is_told(tmp_path, capsys, command, told):
    """
    Exit code 2 and a sentence.
    """
    code = main(["prepare", *command, "--root", str(tmp_path), "--output", str(tmp_path / "m.jsonl")])

    assert 2 == code
    assert told in capsys.readouterr().err
