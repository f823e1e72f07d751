"""The official MATLAB structure is read, with all its irregularities; what is wrong in it is named by field."""

from __future__ import annotations

from collections import Counter

import numpy as np
import pytest
from scipy.io import savemat

from lga_model.datasets import mpii
from lga_model.datasets.mpii import ANNOTATIONS_FILE, read_mpii
from lga_model.datasets.raw import DatasetError

WITHHELD = {"cat_name": [], "act_name": [], "act_id": -1}


def person(*joints):
    """An annorect with joints (x, y), and the box of the head that the original has."""
    points = [{"x": x, "y": y, "id": index, "is_visible": []} for index, (x, y) in enumerate(joints)]
    return {"x1": 1, "y1": 1, "x2": 9, "y2": 9, "annopoints": {"point": points}, "scale": 1.5, "objpos": []}


def photograph(name, people, video=()):
    return {"image": {"name": name}, "annorect": people, "frame_sec": [], "vididx": video}


def activity(category, name, number):
    return {"cat_name": category, "act_name": name, "act_id": number}


def release(**changes):
    """Five photographs: two people, one person, nobody annotated, joints without coordinates, and a test image."""
    fields = {
        "annolist": [
            photograph("1.jpg", [person((20, 10), (60, 50)), person((80, 20), (100, 60))]),
            photograph("2.jpg", person((20, 10), (60, 50))),  # a single person is no list
            photograph("3.jpg", []),
            photograph("4.jpg", [{"x1": 1, "annopoints": []}, person((30, 30), ([], []))]),
            photograph("5.jpg", {"objpos": {"x": 3, "y": 4}}),
        ],
        "img_train": [1, 1, 1, 1, 0],
        "act": [
            activity("sports", "curling", 1),
            activity("sports", "general", 2),
            activity("dancing", "general", 3),
            activity("sports", "curling", 1),
            WITHHELD,
        ],
        "version": "12",
    }
    return fields | changes


@pytest.fixture
def root(tmp_path, write_photograph):
    """The official layout."""
    for number in range(1, 5):
        write_photograph(tmp_path / "images" / f"{number}.jpg")
    write(tmp_path, release())
    return tmp_path


def write(root, structure, **options):
    lists = {name: np.array(structure[name], dtype=object) for name in ("annolist", "act") if name in structure}
    savemat(root / ANNOTATIONS_FILE, {"RELEASE": structure | lists}, **options)


def test_the_official_structure_is_read(root):
    """
    Training images with an activity; one name for two activities is told apart by the category; sizes are measured.
    """
    found = read_mpii(root, validation_share=0)

    assert [
        ("images/1.jpg", "curling"),
        ("images/2.jpg", "sports: general"),
        ("images/3.jpg", "dancing: general"),
        ("images/4.jpg", "curling"),
    ] == [(row.image, row.action) for row in found.annotations]
    assert {(120, 80)} == {(row.width, row.height) for row in found.annotations}
    assert {"images without a published activity": 1} == found.remarks


def test_boxes_are_the_joints_expanded_by_half(root):
    """
    From (20, 10)-(60, 50) a quarter of 40 to each side. Without people, or with joints that span nothing, no box.
    """
    two, one, none, point = read_mpii(root).annotations

    assert ((10.0, 0.0, 70.0, 60.0), (75.0, 10.0, 105.0, 70.0)) == two.boxes
    assert ((10.0, 0.0, 70.0, 60.0),) == one.boxes
    assert () == none.boxes == point.boxes
    assert ((20.0, 10.0), (60.0, 50.0)) == one.keypoints
    assert ((30.0, 30.0),) == point.keypoints


def test_a_published_split_goes_before_a_share(root):
    """
    The images of the list validate, all others train; without a list a share of each activity does.
    """
    (root / "val.txt").write_text("2.jpg\n\n3.jpg\n")
    listed = read_mpii(root, validation_images=root / "val.txt")
    shared = read_mpii(root, validation_share=0.5)

    assert ["train", "val", "val", "train"] == [row.split for row in listed.annotations]
    assert {"curling": 1, "sports: general": 1, "dancing: general": 1} == Counter(
        row.action for row in shared.annotations if row.split == "val"
    )


def test_a_video_is_in_one_split(tmp_path, write_photograph):
    """
    Frames of one video differ too little to judge by: of eight videos of three frames two validate, as a whole.
    """
    names = [f"{number}.jpg" for number in range(24)]
    for name in names:
        write_photograph(tmp_path / "images" / name)
    entries = [photograph(name, [], video=1 + number % 8) for number, name in enumerate(names)]
    write(tmp_path, {"annolist": entries, "img_train": [1] * 24, "act": [activity("sports", "curling", 1)] * 24})
    splits = [row.split for row in read_mpii(tmp_path, validation_share=0.25).annotations]

    assert splits == splits[:8] * 3
    assert 2 == splits[:8].count("val")


def test_absent_and_broken_images_are_counted(root):
    """
    They are left out by name, with the reason.
    """
    (root / "images/1.jpg").unlink()
    (root / "images/2.jpg").write_bytes(b"no image")
    found = read_mpii(root)

    assert ("1.jpg",) == found.missing
    assert 1 == len(found.unusable)
    assert found.unusable[0].startswith("2.jpg: not_an_image")


@pytest.mark.parametrize(
    ("changes", "told"),
    [
        ({"img_train": [1, 1]}, "img_train 2"),
        ({"annolist": [photograph("1.jpg", [])]}, "annolist has 1 entries"),
        ({"act": [WITHHELD] * 5}, r"RELEASE\.act\.act_name"),
        ({"annolist": [photograph("../1.jpg", [])] * 5}, r"annolist\(1\)\.image\.name .* leads out"),
        ({"annolist": [photograph(7, [])] * 5}, r"annolist\(1\)\.image\.name is 7"),
        ({"annolist": [{"annorect": []}] * 5}, r"annolist\(1\)\.image is missing"),
        ({"annolist": [photograph("1.jpg", [person((1, 2), ("left", 3))])] * 5}, r"annorect\(1\).*point\(2\)\.x"),
        ({"annolist": [photograph("1.jpg", [], video="one")] * 5}, r"annolist\(1\)\.vididx is 'one'"),
        ({"annolist": [photograph("1.jpg", [person(*[(1, 2)] * 17)])] * 5}, "17 joints"),
        ({"annolist": [photograph("1.jpg", [1.0, 2.0])] * 5}, r"annorect\(1\) is .*structure"),
    ],
)
def test_what_is_wrong_is_named(root, changes, told):
    """
    The message names the file and the field.
    """
    write(root, release(**changes))
    with pytest.raises(DatasetError, match=told) as caught:
        read_mpii(root)

    assert ANNOTATIONS_FILE in str(caught.value)


@pytest.mark.parametrize(
    "content", [None, b"", b"not a matrix", b"MATLAB 5.0 MAT-file".ljust(128, b" ") + b"\xff" * 64]
)
def test_a_file_that_is_no_such_structure_is_refused(root, content):
    """
    Missing, empty, text, or damaged: named, without a traceback.
    """
    path = root / ANNOTATIONS_FILE
    path.unlink() if content is None else path.write_bytes(content)
    with pytest.raises(DatasetError, match=ANNOTATIONS_FILE):
        read_mpii(root)


def test_a_file_that_unpacks_to_too_much_is_refused(root, monkeypatch):
    """
    Four MiB of zeros in some KiB are told before anything is unpacked to memory; a packed file is read as any other.
    """
    monkeypatch.setattr(mpii, "_MAX_BYTES", 1 << 20)
    write(root, release(), do_compression=True)

    assert 4 == len(read_mpii(root).annotations)

    write(root, release(version=np.zeros(1 << 22, np.uint8)), do_compression=True)

    assert (root / ANNOTATIONS_FILE).stat().st_size < 1 << 14
    with pytest.raises(DatasetError, match=rf"{ANNOTATIONS_FILE} is or unpacks to more than 1 MiB"):
        read_mpii(root)


def test_every_cut_of_the_file_is_refused(root):
    """
    A download that broke off anywhere is told, and never read in part.
    """
    path = root / ANNOTATIONS_FILE
    whole = path.read_bytes()
    for size in range(0, len(whole) - 8, max(1, len(whole) // 60)):
        path.write_bytes(whole[:size])
        with pytest.raises(DatasetError):
            read_mpii(root)


def test_other_lists_and_folders_are_checked(root, tmp_path):
    """
    A list that names another image, no list, no folder.
    """
    (root / "val.txt").write_text("9.jpg\n")
    with pytest.raises(DatasetError, match=r"val\.txt names '9\.jpg'"):
        read_mpii(root, validation_images=root / "val.txt")
    with pytest.raises(DatasetError, match="cannot be read"):
        read_mpii(root, validation_images=root / "none.txt")
    (root / "images").rename(root / "elsewhere")
    with pytest.raises(DatasetError, match="no folder images"):
        read_mpii(root)
