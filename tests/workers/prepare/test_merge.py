from __future__ import annotations

import dataclasses

import pytest

from lga_model.annotations import Annotation, read_manifest, write_manifest
from workers.__main__ import main
from workers.prepare.merge import merge

BOX = (1.0, 1.0, 8.0, 8.0)


def row(image: str, action: str = "running", **changes) -> Annotation:
    fields = {"split": "train", "boxes": (), "width": 9, "height": 9}
    return Annotation(image=image, action=action, **(fields | changes))


def test_a_label_corrects_the_action_and_nothing_else():
    """
    The image stays in its split, so that nothing tested is trained on; its boxes stay.
    """
    old = row("/a.jpg", "running", split="test", boxes=(BOX,))
    merged = merge([old, row("/b.jpg")], [row("/a.jpg", "climbing")])

    assert (dataclasses.replace(old, action="climbing"), row("/b.jpg")) == merged.annotations
    assert ["/a.jpg is running and climbing"] == [str(each) for each in merged.corrected]


@pytest.mark.parametrize(("side", "joints"), [(9, ((2.0, 2.0),)), (18, None)])
def test_boxes_bring_the_size_that_they_were_drawn_in(side, joints):
    """
    A photograph may have been labelled in another size: width and height are those of the boxes, and joints of the old
    size go. Without boxes the old row's size stays.
    """
    old = row("/a.jpg", split="test", boxes=(BOX,), keypoints=((2.0, 2.0),))
    drawn = row("/a.jpg", boxes=((2.0, 2.0, 9.0, 9.0),), width=side, height=side)
    (mended,) = merge([old], [drawn]).annotations
    (relabelled,) = merge([old], [dataclasses.replace(drawn, boxes=())]).annotations

    assert dataclasses.replace(drawn, split="test", keypoints=joints) == mended
    assert old == relabelled


def test_nobody_is_a_label_too():
    """
    Boxes of somebody who is not there go.
    """
    (only,) = merge([row("/a.jpg", boxes=(BOX,))], [row("/a.jpg", nobody=True)]).annotations

    assert only.nobody
    assert () == only.boxes


def test_new_images_go_last_and_doubles_are_named():
    """
    The same label twice is one row; the order is the old manifest's.
    """
    merged = merge([row("/b.jpg"), row("/b.jpg"), row("/a.jpg")], [row("/new.jpg"), row("/a.jpg")])

    assert ["/b.jpg", "/a.jpg", "/new.jpg"] == [each.image for each in merged.annotations]
    assert (("/b.jpg",), ("/new.jpg",), ()) == (merged.duplicates, merged.added, merged.corrected)


def run(folder, base, labels):
    (folder / "base.jsonl").write_bytes(write_manifest(base, "jsonl"))
    (folder / "labels.jsonl").write_bytes(write_manifest(labels, "jsonl"))
    where = ["--manifest", str(folder / "base.jsonl"), "--labels", str(folder / "labels.jsonl")]
    return main(["prepare", "merge", *where, "--output", str(folder / "new.jsonl")])


def test_a_new_version_of_the_manifest_is_written(tmp_path, capsys):
    """
    The old one is untouched; relative images have full names, so that the new one may lie anywhere.
    """
    assert 0 == run(tmp_path, [row("a.jpg")], [row("a.jpg", "climbing"), row("b.jpg")])

    told = capsys.readouterr().out

    assert "a.jpg: running -> climbing" in told
    new = read_manifest((tmp_path / "new.jsonl").read_bytes(), "new")

    assert [(str(tmp_path / "a.jpg"), "climbing"), (str(tmp_path / "b.jpg"), "running")] == [
        (each.image, each.action) for each in new.annotations
    ]


def test_the_old_manifest_is_never_replaced(tmp_path, capsys):
    """
    Not even when it is asked for, under another spelling.
    """
    assert 0 == run(tmp_path, [row("a.jpg")], [row("a.jpg", "climbing")])

    before = (tmp_path / "new.jsonl").read_bytes()
    where = ["--manifest", str(tmp_path / "new.jsonl"), "--labels", str(tmp_path / "labels.jsonl")]

    assert 2 == main(["prepare", "merge", *where, "--output", f"{tmp_path}/./new.jsonl"])
    assert "give it a name of its own" in capsys.readouterr().err
    assert before == (tmp_path / "new.jsonl").read_bytes()


@pytest.mark.parametrize("name", ["base", "labels"])
@pytest.mark.parametrize(
    ("second", "told"),
    [
        (row("./a.jpg", "climbing"), "a.jpg is running and climbing"),
        (row("./a.jpg", split="test"), "a.jpg is train and test"),
        (row("a.jpg", "climbing"), "line 2, action: 'a.jpg' is 'climbing', and by line 1 'running'"),
    ],
)
def test_two_labels_or_splits_of_one_image_are_for_a_person_to_decide(tmp_path, capsys, name, second, told):
    """
    Every such image is named with both, also under two spellings, and nothing is written.
    """
    at_odds, fine = [row("a.jpg"), second], [row("b.jpg")]
    base, labels = (at_odds, fine) if name == "base" else (fine, at_odds)

    assert 2 == run(tmp_path, base, labels)
    assert told in capsys.readouterr().err
    assert not (tmp_path / "new.jsonl").exists()
