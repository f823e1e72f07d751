"""COCO's own layout with an action field is read; what is wrong in it is named by file and field."""

from __future__ import annotations

import copy
import json

import pytest

from lga_model.datasets.coco import read_coco
from lga_model.datasets.raw import DatasetError

PERSON, DOG = 1, 18


def person(number, image, bbox, **fields):
    return {"id": number, "image_id": image, "category_id": PERSON, "bbox": bbox, "iscrowd": 0, **fields}


def image(number, **fields):
    return {"id": number, "file_name": f"{number:03d}.jpg", "width": 120, "height": 80, **fields}


DOCUMENT = {
    "info": {"year": 2017},
    "categories": [{"id": PERSON, "name": "person", "supercategory": "person"}, {"id": DOG, "name": "dog"}],
    "images": [image(1), image(2), image(3, action="jumping"), image(4), image(5)],
    "annotations": [
        person(11, 1, [10, 20, 30, 40], action="running", keypoints=[12, 22, 2, 0, 0, 0, 15, 30, 1]),
        person(12, 1, [50, 20, 10, 40]),
        {"id": 13, "image_id": 1, "category_id": DOG, "bbox": [0, 0, 5, 5]},
        person(14, 2, [0, 0, 10, 10], action="running"),
        person(15, 2, [0, 0, 50, 60], action="cooking", iscrowd=1),
        person(16, 4, [0, 0, 10, 10]),
    ],
}


@pytest.fixture
def root(tmp_path, write_photograph):
    for number in range(1, 6):
        write_photograph(tmp_path / "images" / f"{number:03d}.jpg")
    (tmp_path / "train.json").write_text(json.dumps(DOCUMENT))
    return tmp_path


def read(root, **settings):
    files = settings.pop("files", {"train": root / "train.json"})
    return read_coco(root, files, images=root / "images", validation_share=0, **settings)


def test_boxes_actions_and_joints_are_read(root):
    """
    All people are boxed, dogs are not; [x, y, width, height] becomes corners; joints without a label are left out.
    """
    first, _, third = read(root).annotations

    assert ((10.0, 20.0, 40.0, 60.0), (50.0, 20.0, 60.0, 60.0)) == first.boxes
    assert ((12.0, 22.0), (15.0, 30.0)) == first.keypoints
    assert ("images/001.jpg", "running", 120, 80) == (first.image, first.action, first.width, first.height)
    assert ("jumping", ()) == (third.action, third.boxes)  # of the image itself


def test_the_largest_person_decides(root):
    """
    Two people who do different things: the image is the larger one's, and that is told. No action: left out, told.
    """
    found = read(root)

    assert "cooking" == found.annotations[1].action
    assert {
        "images of several actions (the largest person's counts)": 1,
        "images without an action": 2,
    } == found.remarks


def test_an_image_without_people_shows_nobody_only_when_that_is_declared(root):
    """
    Image 5 has no person and no action. Image 4 has a person without an action and never shows nobody.
    """
    found = read(root, empty_is_nobody=True)

    assert ["images/005.jpg"] == [row.image for row in found.annotations if row.nobody]
    assert 4 == len(found.annotations)
    assert not any(row.nobody for row in read(root).annotations)


def test_each_split_has_its_file(root):
    """
    Where there is none for the validation, a share of the training images becomes it.
    """
    (root / "test.json").write_text(json.dumps(DOCUMENT))
    files = {"train": root / "train.json", "test": root / "test.json"}
    found = read_coco(root, files, images=root / "images", validation_share=1.0)

    assert [*["val"] * 3, *["test"] * 3] == [row.split for row in found.annotations]


def test_the_names_of_field_and_category_are_free(root):
    """
    As other tools call them.
    """
    text = json.dumps(DOCUMENT).replace('"action"', '"verb"').replace('"name": "person"', '"name": "human"')
    (root / "train.json").write_text(text)

    assert 3 == len(read(root, action_field="verb", person="human").annotations)


def test_absent_images_are_counted(root):
    """
    They are left out, by name.
    """
    (root / "images/002.jpg").unlink()
    found = read(root)

    assert ("002.jpg",) == found.missing
    assert 2 == len(found.annotations)


@pytest.mark.parametrize(
    ("place", "value", "told"),
    [
        (("images",), None, "images is missing"),
        (("images", 0), 3, r"images\[0\] is 3"),
        (("images", 1, "id"), 1, "share an id"),
        (("images", 1, "id"), None, r"images\[1\]\.id is None"),
        (("images", 0, "file_name"), "../secret.jpg", r"images\[0\]\.file_name .* leads out"),
        (("images", 0, "file_name"), "/etc/passwd", r"images\[0\]\.file_name .* leads out"),
        (("images", 0, "file_name"), None, r"images\[0\]\.file_name is None"),
        (("images", 0, "width"), "wide", r"images\[0\]\.width is 'wide'"),
        (("images", 0, "height"), 0, r"images\[0\]\.height is 0"),
        (("annotations", 3, "image_id"), 99, r"annotations\[3\]\.image_id is 99"),
        (("annotations", 0, "bbox"), [1, 2, 3], r"annotations\[0\]\.bbox"),
        (("annotations", 0, "bbox", 2), float("nan"), r"annotations\[0\]\.bbox\[2\]"),
        (("annotations", 0, "bbox", 2), 10**400, r"annotations\[0\]\.bbox\[2\]"),
        (("annotations", 0, "action"), 7, r"annotations\[0\]\.action is 7"),
        (("annotations", 0, "keypoints"), [1, 2], r"annotations\[0\]\.keypoints"),
        (("categories", 0, "name"), "cat", "none is called 'person'"),
    ],
)
def test_what_is_wrong_is_named(root, place, value, told):
    """
    The message names the file and the field.
    """
    document = copy.deepcopy(DOCUMENT)
    inner = document
    for step in place[:-1]:
        inner = inner[step]
    inner[place[-1]] = value
    (root / "train.json").write_text(json.dumps(document))
    with pytest.raises(DatasetError, match=told) as caught:
        read(root)

    assert "train.json" in str(caught.value)


@pytest.mark.parametrize(
    "content", [None, b"", b"[1]", b"{", b"[" * 100_000, b"\xff\xfe", b'{"images": ' + b"9" * 5000]
)
def test_a_file_that_is_no_such_json_is_refused(root, content):
    """
    Named, without a traceback.
    """
    path = root / "train.json"
    path.unlink() if content is None else path.write_bytes(content)
    with pytest.raises(DatasetError, match=r"train\.json"):
        read(root)
