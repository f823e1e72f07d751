from __future__ import annotations

import json

import pytest

from lga_model.annotations import read_manifest
from lga_model.losses import NOBODY
from workers.errors import SettingsError
from workers.train import dataset
from workers.train.dataset import check_images, choose_splits

GOOD = (("cook", "train"), ("run", "train"), ("run", "val"))


def manifest(rows=GOOD, *, bad_rows: int = 0):
    lines = [
        {
            "image": f"/nowhere/{number}.jpg",
            "action": action,
            "split": split,
            "boxes": [[1, 2, 3, 4]],
            "width": 9,
            "height": 9,
        }
        for number, (action, split) in enumerate(rows)
    ]
    text = "\n".join([*map(json.dumps, lines), *["{}"] * bad_rows])
    return read_manifest(text.encode(), "m.jsonl")


def test_a_manifest_becomes_samples():
    """
    Classes are in alphabetical order; each sample knows its class and its boxes.
    """
    splits = choose_splits(manifest(), "m.jsonl", skip_invalid=False)

    assert ("cook", "run") == splits.classes
    assert [0, 1] == [sample.action for sample in splits.train]
    assert [[1, 2, 3, 4]] == splits.val[0].boxes_N4.tolist()


@pytest.mark.parametrize(
    ("rows", "message"),
    [
        ((("cook", "val"), ("run", "val")), "no rows with split 'train'"),
        ((("cook", "train"), ("run", "train")), "no rows with split 'val'"),
        ((("cook", "train"), ("cook", "val")), "one action only"),
        ((*GOOD, ("swim", "val")), "validates actions that it does not train: swim"),
    ],
)
def test_what_cannot_be_trained_is_refused(rows, message):
    """
    Before the first epoch, by name, as wrong settings.
    """
    with pytest.raises(SettingsError, match=message):
        choose_splits(manifest(rows), "m.jsonl", skip_invalid=False)


def test_what_shows_nobody_is_kept_apart():
    """
    The part of each photograph beside its box, and rows that say so; none of them is an action.
    """
    row = {"image": "/nowhere/sky.jpg", "split": "val", "boxes": [], "width": 9, "height": 9, "nobody": True}
    boxed = {"action": "run", "boxes": [[0, 0, 4, 9]], "width": 9, "height": 9}
    rows = [boxed | {"image": f"/nowhere/{split}.jpg", "split": split} for split in ("train", "val")]
    rows += [boxed | {"image": "/nowhere/c.jpg", "split": "train", "action": "cook"}, row]
    text = "\n".join(map(json.dumps, rows))
    splits = choose_splits(read_manifest(text.encode(), "m.jsonl"), "m.jsonl", skip_invalid=False)

    assert ("cook", "run") == splits.classes
    assert (2, 1) == (len(splits.train), len(splits.val))
    assert [(NOBODY, (4.2, 0, 9, 9))] * 2 == [(each.action, each.window) for each in splits.nobody_train]
    assert [None, (4.2, 0, 9, 9)] == [each.window for each in splits.nobody_val]


def test_a_large_validation_split_is_not_validated_twice(monkeypatch):
    """
    Of many parts without people an even choice is enough to fit one threshold.
    """
    monkeypatch.setattr(dataset, "NOBODY_VALIDATED", 3)
    boxed = {"action": "run", "boxes": [[0, 0, 4, 9]], "width": 9, "height": 9}
    rows = [boxed | {"image": f"/nowhere/{i}.jpg", "split": "val" if i > 1 else "train"} for i in range(9)]
    rows[0]["action"] = "cook"
    text = "\n".join(map(json.dumps, rows))
    splits = choose_splits(read_manifest(text.encode(), "m.jsonl"), "m.jsonl", skip_invalid=False)

    assert ["/nowhere/2.jpg", "/nowhere/5.jpg", "/nowhere/8.jpg"] == [each.uri for each in splits.nobody_val]


def test_bad_rows_are_refused_or_counted():
    """
    Without --skip-invalid the message names line and reason and the way out; with it they are counted.
    """
    with pytest.raises(SettingsError, match=r"2 bad rows: line 4.*--skip-invalid"):
        choose_splits(manifest(bad_rows=2), "m.jsonl", skip_invalid=False)

    assert 2 == choose_splits(manifest(bad_rows=2), "m.jsonl", skip_invalid=True).invalid_rows


def test_missing_images_are_named_before_the_training():
    """
    The message counts them and names one.
    """
    samples = choose_splits(manifest(), "m.jsonl", skip_invalid=False).train
    with pytest.raises(SettingsError, match=r"2 of 2 images are not there, for example /nowhere/0.jpg"):
        check_images(samples, skip_invalid=False)

    check_images(samples, skip_invalid=True)
