"""Plain folders become a data set without boxes."""

from __future__ import annotations

import os
from collections import Counter

import pytest

from lga_model.datasets.folders import read_folders
from lga_model.datasets.raw import DatasetError


@pytest.fixture
def classes(tmp_path, write_photograph):
    """Ten photographs of running and cooking each, four of nobody, and what file managers leave behind."""
    for folder, count in (("running", 10), ("cooking", 10), ("empty", 4)):
        for number in range(count):
            write_photograph(tmp_path / folder / f"{number}.jpg")
    (tmp_path / "running" / ".DS_Store").write_bytes(b"x")
    (tmp_path / "readme.txt").write_text("not a class")
    return tmp_path


def counted(found):
    return Counter((row.split, row.action) for row in found.annotations)


def test_a_folder_is_an_action(classes):
    """
    Without boxes, in the size of the file; shares of each class are set aside.
    """
    found = read_folders(classes, validation_share=0.25, test_share=0.2)

    assert {("train", "running"): 6, ("val", "running"): 2, ("test", "running"): 2} == {
        key: count for key, count in counted(found).items() if key[1] == "running"
    }
    assert {((), 120, 80)} == {(row.boxes, row.width, row.height) for row in found.annotations}
    assert () == found.unusable


def test_one_folder_may_show_nobody(classes):
    """
    Its photographs have no action.
    """
    found = read_folders(classes, nobody="empty")

    assert {"running", "cooking", ""} == {row.action for row in found.annotations}
    assert 4 == sum(row.nobody for row in found.annotations)


def test_folders_of_splits_are_kept(tmp_path, write_photograph):
    """
    The split that has no folder takes its share of the training images; the others stay as they are.
    """
    for split, count in (("train", 8), ("test", 3)):
        for number in range(count):
            write_photograph(tmp_path / split / "running" / f"{number}.jpg")
    found = read_folders(tmp_path, validation_share=0.25, test_share=0.5)

    assert {("train", "running"): 6, ("val", "running"): 2, ("test", "running"): 3} == counted(found)


def test_another_image_moves_no_other(classes, write_photograph):
    """
    The split of an image follows from its name and the seed.
    """
    before = {row.image: row.split for row in read_folders(classes, validation_share=0.2, seed=1).annotations}
    write_photograph(classes / "running" / "another.jpg")
    after = {row.image: row.split for row in read_folders(classes, validation_share=0.2, seed=1).annotations}
    moved = [image for image in before if before[image] != after[image]]

    assert len(moved) <= 1
    assert before != {row.image: row.split for row in read_folders(classes, validation_share=0.2, seed=2).annotations}


def test_what_is_no_photograph_is_named(classes):
    """
    It is left out, with the reason.
    """
    (classes / "running" / "notes.txt").write_text("see you at eight")
    found = read_folders(classes)

    assert 24 == len(found.annotations)
    assert found.unusable[0].startswith("running/notes.txt: not_an_image")


def test_a_name_that_is_no_text_is_told(classes):
    """
    No manifest can hold it: the file is left out, with its name spelt out.
    """
    (classes / "running" / os.fsdecode(b"caf\xe9.jpg")).write_bytes((classes / "running" / "0.jpg").read_bytes())
    found = read_folders(classes)

    assert 24 == len(found.annotations)
    assert (r"running/caf\udce9.jpg: its name is no UTF-8",) == found.unusable


def test_what_is_no_such_folder_is_refused(tmp_path, classes, write_photograph):
    """
    Nothing there, nothing in it, a test split alone, no folder of nobody.
    """
    with pytest.raises(DatasetError, match="nowhere cannot be read"):
        read_folders(tmp_path / "nowhere")
    (tmp_path / "bare").mkdir()
    with pytest.raises(DatasetError, match="no class folders"):
        read_folders(tmp_path / "bare")
    with pytest.raises(DatasetError, match="no photographs in a folder nobody"):
        read_folders(classes, nobody="nobody")
    write_photograph(tmp_path / "half" / "test" / "running" / "1.jpg")
    with pytest.raises(DatasetError, match="no folder train"):
        read_folders(tmp_path / "half")
    (tmp_path / "text" / "running").mkdir(parents=True)
    (tmp_path / "text" / "running" / "a.jpg").write_text("text")
    with pytest.raises(DatasetError, match=r"running/a\.jpg: not_an_image"):
        read_folders(tmp_path / "text")
