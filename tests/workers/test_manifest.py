"""Manifests from a folder and from a bucket, and the photographs that they name."""

from __future__ import annotations

import dataclasses
import json
import re
import shutil
from contextlib import closing
from pathlib import Path

import numpy as np
import pytest

from lga_model.images import decode_image
from workers.errors import SettingsError
from workers.manifest import load_manifest, read_batches, refuse_bad_rows
from workers.storage import open_store


def row(image: str, **changes) -> dict:
    return {
        "image": image, "action": "running", "split": "val", "boxes": [[1, 1, 5, 5]], "width": 96, "height": 72,
    } | changes  # fmt: skip


def written(uri: str, *rows: dict) -> str:
    open_store(uri).put("sets/manifest.jsonl", "".join(json.dumps(each) + "\n" for each in rows).encode())
    return f"{uri}/sets/manifest.jsonl"


def test_images_get_their_full_names(store_uri):
    """
    Relative paths start from the manifest's folder; URIs and absolute paths stay.
    """
    names = ["a.jpg", "in/b.jpg", "../c.jpg", "/data/d.jpg", "s3://other/e.jpg"]
    uri = written(store_uri, *(row(name) for name in names))

    assert [
        f"{store_uri}/sets/a.jpg",
        f"{store_uri}/sets/in/b.jpg",
        f"{store_uri}/c.jpg",
        "/data/d.jpg",
        "s3://other/e.jpg",
    ] == [annotation.image for annotation in load_manifest(uri).annotations]


def test_a_manifest_beside_the_user_is_found(photo_manifest, monkeypatch):
    """
    A bare file name is a path in the present folder.
    """
    monkeypatch.chdir(photo_manifest.parent)

    assert str(photo_manifest.parent / "climbing_0.jpg") == load_manifest(photo_manifest.name).annotations[0].image


@pytest.mark.parametrize("content", [b"", b"\x00\x01", b"PAR1 cut short", b"no json"])
def test_what_is_no_manifest_is_told(tmp_path, content):
    """
    A file that is none is the user's mistake, with the command that writes one.
    """
    (tmp_path / "m.jsonl").write_bytes(content)
    with pytest.raises(SettingsError, match="lga prepare"):
        load_manifest(str(tmp_path / "m.jsonl"))


def test_a_missing_manifest_is_told(store_uri):
    """
    So is one that is not there.
    """
    with pytest.raises(SettingsError, match=r"there is no manifest .*nowhere.jsonl"):
        load_manifest(f"{store_uri}/nowhere.jsonl")


def test_bad_rows_are_refused_by_line_and_reason(tmp_path):
    """
    The first five are named, the rest counted; a good manifest passes.
    """
    bad = written(str(tmp_path), row("a.jpg"), *(row("b.jpg", split="none") for _ in range(7)))
    with pytest.raises(SettingsError, match=r"7 bad rows: line 2, split: 'none'.*line 6.*and 2 more.*--skip-invalid"):
        refuse_bad_rows(load_manifest(bad), bad)

    refuse_bad_rows(load_manifest(written(str(tmp_path), row("a.jpg"))), "good")


def test_photographs_come_in_order_and_in_batches(photo_manifest):
    """
    Every row once, in its order, decoded as scoring decodes it; the last batch is smaller.
    """
    annotations = load_manifest(str(photo_manifest)).annotations[:7]
    batches = list(read_batches(annotations, 32, 3))
    images = np.concatenate([images_BHWC for _, images_BHWC in batches])

    assert [3, 3, 1] == [len(rows) for rows, _ in batches]
    assert list(annotations) == [each for rows, _ in batches for each in rows]
    for annotation, image in zip(annotations, images, strict=True):
        expected = decode_image(Path(annotation.image).read_bytes(), 32).pixels_HWC
        np.testing.assert_array_equal(expected, image)


def test_photographs_are_read_from_a_bucket(s3, photo_manifest):
    """
    Manifest and photographs in a bucket give the same pixels as in a folder.
    """
    bucket = s3.bucket()
    for path in photo_manifest.parent.iterdir():
        open_store(bucket).put(f"set/{path.name}", path.read_bytes())
    there = load_manifest(f"{bucket}/set/{photo_manifest.name}").annotations[:4]
    here = load_manifest(str(photo_manifest)).annotations[:4]

    ((_, expected),) = read_batches(here, 32, 4)
    ((_, actual),) = read_batches(there, 32, 4)
    np.testing.assert_array_equal(expected, actual)


@pytest.mark.parametrize(("content", "message"), [(None, "there is no such file"), (b"no image", "not_an_image")])
def test_a_photograph_that_cannot_be_used_is_named(tmp_path, photo_manifest, content, message):
    """
    A missing or broken photograph ends the reading with its name and the reason, in later batches too.
    """
    folder = shutil.copytree(photo_manifest.parent, tmp_path / "set")
    (folder / "climbing_4.jpg").unlink()
    if content is not None:
        (folder / "climbing_4.jpg").write_bytes(content)
    annotations = load_manifest(str(folder / photo_manifest.name)).annotations
    with pytest.raises(SettingsError, match=f"climbing_4.jpg.*{message}"):
        list(read_batches(annotations, 32, 2))


def test_photographs_that_cannot_be_used_may_be_left_out(tmp_path, photo_manifest):
    """
    The others come in their order, each with its own row; a batch of nothing is none.
    """
    folder = shutil.copytree(photo_manifest.parent, tmp_path / "set")
    annotations = load_manifest(str(folder / photo_manifest.name)).annotations[:6]
    for number in (2, 3, 5):
        Path(annotations[number].image).write_bytes(b"no image")
    left_out = []
    batches = list(read_batches(annotations, 32, 2, left_out=left_out))

    assert [annotations[:2], annotations[4:5]] == [rows for rows, _ in batches]
    assert [2, 1] == [len(images_BHWC) for _, images_BHWC in batches]
    assert ["climbing_2", "climbing_3", "climbing_5"] == [re.search(r"climbing_\d", each)[0] for each in left_out]


def test_a_photograph_of_another_size_is_named(photo_manifest):
    """
    Its boxes were drawn in another picture, or before it was turned upright; without boxes its size does not matter.
    """
    with_boxes, without = (load_manifest(str(photo_manifest)).annotations[number] for number in (1, 0))
    turned = [dataclasses.replace(each, width=72, height=96) for each in (with_boxes, without)]
    with pytest.raises(SettingsError, match=r"climbing_1.jpg do not fit: the file is 96 x 72, the manifest says 72 x"):
        list(read_batches(turned[:1], 32, 2))

    assert 1 == len(list(read_batches(turned[1:], 32, 2)))


def test_a_reader_may_stop_early(photo_manifest):
    """
    Closing the generator ends its threads; nothing is read for nobody.
    """
    annotations = load_manifest(str(photo_manifest)).annotations
    with closing(read_batches(annotations, 32, 2)) as batches:
        rows, _ = next(batches)

    assert 2 == len(rows)
    assert [] == list(batches)
