"""The official layout is read; what is wrong in it is named by file and field."""

from __future__ import annotations

from collections import Counter

import pytest

from lga_model.annotations import read_manifest, write_manifest
from lga_model.datasets.raw import DatasetError
from lga_model.datasets.stanford40 import read_stanford40

XML = """<annotation><filename>{name}</filename><object><name>person</name><action>running</action>
<bndbox><xmax>90</xmax><xmin>10</xmin><ymax>80</ymax><ymin>20</ymin></bndbox></object>
<size><depth>3</depth><height>100</height><width>120</width></size></annotation>"""


@pytest.fixture
def root(tmp_path):
    """Two actions with ten training and two test images each, in the official layout."""
    for folder in ("JPEGImages", "XMLAnnotations", "ImageSplits"):
        (tmp_path / folder).mkdir()
    (tmp_path / "ImageSplits/actions.txt").write_text("action_name\t\tnumber_of_images\nrunning\t\t12\ncooking\t\t12\n")
    for action in ("running", "cooking"):
        names = [f"{action}_{number:03d}.jpg" for number in range(12)]
        for name in names:
            (tmp_path / "JPEGImages" / name).write_bytes(b"\xff\xd8\xff")
            (tmp_path / "XMLAnnotations" / name.replace(".jpg", ".xml")).write_text(XML.format(name=name))
        (tmp_path / f"ImageSplits/{action}_train.txt").write_text("\n".join(names[:10]) + "\n")
        (tmp_path / f"ImageSplits/{action}_test.txt").write_text("\n".join(names[10:]) + "\n")
    return tmp_path


def test_the_official_layout_is_read(root):
    """
    Splits, boxes (their fields in the data set's own order) and sizes; one in five of each class for validation.
    """
    found = read_stanford40(root, validation_share=0.2)
    first = found.annotations[0]

    assert {"train": 16, "val": 4, "test": 4} == Counter(each.split for each in found.annotations)
    assert {"running": 2, "cooking": 2} == Counter(each.action for each in found.annotations if each.split == "val")
    assert ((10.0, 20.0, 90.0, 80.0),) == first.boxes
    assert (120, 100) == (first.width, first.height)
    assert () == found.missing


def test_the_validation_split_is_always_the_same(root):
    """
    The seed decides, and nothing else; another seed gives another split.
    """
    splits = [
        {
            each.image
            for each in read_stanford40(root, validation_share=0.5, seed=seed).annotations
            if each.split == "val"
        }
        for seed in (0, 0, 1)
    ]

    assert splits[0] == splits[1]
    assert splits[0] != splits[2]


def test_absent_images_are_counted(root):
    """
    The official lists may name images that were not copied: they are left out and reported.
    """
    (root / "JPEGImages/running_011.jpg").unlink()
    found = read_stanford40(root)

    assert ("running_011.jpg",) == found.missing
    assert 23 == len(found.annotations)


@pytest.mark.parametrize(
    ("content", "told"),
    [
        ("<annotation>", "not a usable XML"),
        ('<?xml version="1.0" encoding="foo"?><annotation/>', "unknown encoding: foo"),
        ('<!DOCTYPE a [<!ENTITY b "c">]><annotation/>', "not a usable XML"),
        (XML.replace("<xmax>90</xmax>", "<xmax>far</xmax>"), "bndbox/xmax is 'far'"),
        (XML.replace("<xmax>90</xmax>", "<xmax>nan</xmax>"), "bndbox/xmax"),
        (XML.replace("<width>120", "<width>2147483648"), "size/width is '2147483648', which is no number of pixels"),
        (XML.replace("<width>120</width>", ""), "size/width is None"),
    ],
)
def test_a_bad_annotation_is_named(root, content, told):
    """
    The message names the file and the field.
    """
    (root / "XMLAnnotations/running_003.xml").write_text(content)
    with pytest.raises(DatasetError, match=told) as caught:
        read_stanford40(root)

    assert "running_003.xml" in str(caught.value)


@pytest.mark.parametrize("absent", ["JPEGImages", "ImageSplits/cooking_train.txt", "XMLAnnotations/cooking_001.xml"])
def test_what_is_missing_is_named(root, absent):
    """
    A folder, a list, an annotation: the message names it.
    """
    path = root / absent
    path.rename(root / "elsewhere")
    with pytest.raises(DatasetError, match=path.name):
        read_stanford40(root)


@pytest.mark.parametrize("name", ["../../secret", "running\0"])
def test_names_cannot_lead_out_of_the_data_set(root, name):
    """
    A list is untrusted: it may not name files elsewhere, nor what no file can be called.
    """
    (root / "ImageSplits/running_test.txt").write_text(f"{name}\n")
    with pytest.raises(DatasetError, match="not the name of an image"):
        read_stanford40(root)

    (root / "ImageSplits/actions.txt").write_text(f"running\n{name}\n")
    with pytest.raises(DatasetError, match="not the name of an action"):
        read_stanford40(root)


def test_the_real_data_set(stanford40):
    """
    4000 training images of 40 actions, and every box inside its image.
    """
    found = read_stanford40(stanford40)
    manifest = read_manifest(write_manifest(found.annotations, "parquet"), "stanford40")
    splits = Counter(each.split for each in manifest.annotations)

    assert 4000 == splits["train"] + splits["val"]
    assert 400 == splits["val"]
    assert 40 == len(manifest.classes)
    assert () == manifest.problems
    assert all(1 == len(each.boxes) for each in manifest.annotations)
