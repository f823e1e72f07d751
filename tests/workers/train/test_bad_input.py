"""`lga train` on input that is wrong: told with cause and way out, before Ray starts and an epoch is spent."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import ray

from workers.__main__ import main
from workers.registry import Registry

FIXED = {"backbone": "test_resnet", "output_stride": 16, "size_px": 64, "batch_size": 3, "epochs": 1, "run": "run"}


@pytest.fixture
def train(tmp_path, photo_manifest, monkeypatch, capsys):
    """Runs the command on changed rows of a good manifest; gives exit code and what it said to people."""

    def spent(**_):
        raise AssertionError("Ray was started")

    monkeypatch.setattr(ray, "is_initialized", lambda: False)
    monkeypatch.setattr(ray, "init", spent)

    def run(change=lambda rows: rows, **flags) -> tuple[int, str]:
        rows = [json.loads(line) for line in photo_manifest.read_text().splitlines()]
        rows = [row | {"image": str(photo_manifest.parent / row["image"])} for row in rows]
        manifest = tmp_path / "manifest.jsonl"
        manifest.write_text("\n".join(map(json.dumps, change(rows))))
        flags = FIXED | {"name": "pose", "manifest": manifest, "registry": tmp_path, "output": tmp_path} | flags
        capsys.readouterr()
        code = main(["train", *(f"--{name.replace('_', '-')}={value}" for name, value in flags.items())])
        return code, capsys.readouterr().err

    return run


def without(split: str, *, action: str | None = None):
    """Leave out the rows of a split, of one action or of all."""
    return lambda rows: [row for row in rows if row["split"] != split or action not in (None, row["action"])]


def elsewhere(rows):
    return [row | {"image": f"/nowhere{row['image']}"} if row["split"] == "train" else row for row in rows]


def in_two_splits(rows):
    return [*rows, rows[0] | {"split": "val"}]


def one_action(rows):
    return [row for row in rows if row["action"] == "cooking"]


@pytest.mark.parametrize(
    ("change", "cause", "way_out"),
    [
        (elsewhere, "3 of 9 images are not there, for example /nowhere/", "leave them out with --skip-invalid"),
        (without("train", action="cooking"), "actions that it does not train: cooking", "add training images of them"),
        (without("train"), "no rows with split 'train'", "add some"),
        (without("val"), "no rows with split 'val'", "add some"),
        (in_two_splits, "is in val, and by line 1 in train", "--skip-invalid"),
        (one_action, "one action only ('cooking')", "at least two"),
    ],
)
def test_a_manifest_that_cannot_be_trained_on(train, change, cause, way_out):
    """
    Images that are missing or in two splits, actions that nothing teaches, a split without images, a single action.
    """
    code, said = train(change)

    assert 2 == code
    assert cause in said
    assert way_out in said
    assert "Traceback" not in said


def test_a_floor_for_an_action_that_is_not_trained(train):
    """
    A misspelt name would guard nothing.
    """
    code, said = train(gate_class_floors="cookin=0.5")

    assert 2 == code
    assert "does not train: cookin; it trains" in said


def test_a_parent_of_another_architecture(train, make_bundle):
    """
    Every setting that differs is named.
    """
    code, said = train(start_from=make_bundle())

    assert 2 == code
    assert "has another architecture: action channels is 16, here 1024" in said
    assert "start without it" in said


def test_weights_beside_a_parent(train, make_bundle):
    """
    Those of the parent count. That the others do not is a warning: a shared configuration may name them.
    """
    _, said = train(start_from=make_bundle(), weights="package")

    assert "train.weights_not_used" in said


def test_a_parent_of_a_newer_format(train, make_bundle):
    """
    It says which format this release reads.
    """
    record = make_bundle() / "model.json"
    record.write_text(json.dumps(json.loads(record.read_text()) | {"format": 99}))
    code, said = train(start_from=record.parent)

    assert 2 == code
    assert "--start-from" in said
    assert "this release reads 1, not 99: use the one that wrote it" in said


def test_a_run_whose_checkpoints_are_of_another_architecture(train):
    """
    The name of the run stands for one training: another one is refused with what differs.
    """
    assert "Ray was started" in train()[1]

    code, said = train(backbone="test_convnext", output_stride=16)

    assert 2 == code
    assert 'config.backbone was "test_resnet", now "test_convnext"' in said
    assert "start a new one without --run" in said


def test_a_run_whose_checkpoint_is_of_a_newer_format(train, tmp_path):
    """
    It says which release goes on with it.
    """
    state = Path(tmp_path / "run/checkpoints/00000001-aa/state.json")
    state.parent.mkdir(parents=True)
    state.write_text('{"format": 99}')
    code, said = train()

    assert 5 == code
    assert "format 99; this release reads" in said
    assert "Continue with the release that wrote it, or start a new run without --run" in said
    assert [] == Registry(str(tmp_path)).names()
