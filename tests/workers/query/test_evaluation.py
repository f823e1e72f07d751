"""The figures of written tags, against cases that can be counted by hand."""

from __future__ import annotations

import json
from datetime import UTC, datetime, timedelta

import pyarrow as pa
import pytest

from lga_model.annotations import Annotation, write_manifest
from workers.__main__ import main
from workers.storage import FolderStore
from workers.tags import ShardName, TagForm, tag_schema, write_shard

CLASSES = ("climbing", "running")
NOON = datetime(2026, 1, 2, 12, tzinfo=UTC)


def write_tags(folder, run_id, rows, at=NOON, *, scores=True, namespace="s3://b"):
    """One shard of rows (key, probability of climbing, verdict); None as probability is a failure."""
    schema = tag_schema(TagForm(classes=CLASSES, heatmap_hw=(1, 1), scores=scores), {"namespace": namespace})
    data = []
    for key, climbing, verdict in rows:
        row = {"key": key, "scored_at": at, "run_id": run_id, "status": "failed"}
        if climbing is not None:
            label = CLASSES[int(climbing < 0.5)]
            row |= {"status": "ok", "label": label, "confidence": max(climbing, 1 - climbing), "verdict": verdict}
            row |= {"scores": [climbing, 1 - climbing], "label_set": [label], "focus": 0.5}
        data.append({name: row.get(name) for name in schema.names})
    write_shard(FolderStore(folder), ShardName(run_id=run_id, index=0), pa.Table.from_pylist(data, schema))


def write_truth(folder, actions):
    """A manifest of photographs 0.jpg, 1.jpg, ... with these actions."""
    annotations = [
        Annotation(image=f"elsewhere/{number}.jpg", action=action, split="test", boxes=(), width=9, height=9)
        for number, action in enumerate(actions)
    ]
    (folder / "truth.jsonl").write_bytes(write_manifest(annotations, "jsonl"))


def evaluate(folder, *more):
    """Exit code and figures of the command."""
    where = [
        "--output",
        str(folder),
        "--manifest",
        str(folder / "truth.jsonl"),
        "--json-output",
        str(folder / "q.json"),
    ]
    code = main(["tags", "evaluate", *where, *more])
    path = folder / "q.json"
    return code, json.loads(path.read_text()) if path.exists() else None


def test_the_figures_can_be_counted_by_hand(tmp_path):
    """
    Of four tagged photographs three are right; of two accepted one is; one more was never tagged, one failed.
    """
    write_truth(tmp_path, ["climbing", "climbing", "running", "running", "climbing", "climbing"])
    write_tags(
        tmp_path,
        "r1",
        [
            ("a/0.jpg", 0.9, "accept"),
            ("a/1.jpg", 0.7, "unsure"),
            ("a/2.jpg", 0.8, "accept"),
            ("a/3.jpg", 0.25, "unsure"),
            ("a/4.jpg", None, None),
            ("a/stranger.jpg", 0.9, "accept"),
        ],
    )
    code, figures = evaluate(tmp_path)

    assert 0 == code
    assert (6, 4) == (figures["photographs"], figures["tagged"])
    assert 0.75 == figures["top1"]
    # climbing: ranks 1 and 3 of (0.9, 0.8 wrong, 0.7): (1 + 2/3) / 2; running: ranks 1 and 3: the same.
    assert pytest.approx((1 + 2 / 3) / 2) == figures["mean_average_precision"]
    assert (0.5, 0.5) == (figures["accepted"], figures["accepted_precision"])
    assert (0.75, 1.0) == (figures["label_set_coverage"], figures["label_set_size"])
    assert 0.5 == figures["mean_focus"]


def test_the_latest_tag_counts(tmp_path):
    """
    A photograph that was scored again is judged by its newest row, or by the run that was asked for.
    """
    write_truth(tmp_path, ["climbing"])
    write_tags(tmp_path, "r2", [("0.jpg", 0.9, "accept")], NOON)
    write_tags(tmp_path, "r1", [("0.jpg", 0.1, "accept")], NOON - timedelta(days=1))

    assert 1.0 == evaluate(tmp_path)[1]["top1"]
    assert 0.0 == evaluate(tmp_path, "--run", "r1")[1]["top1"]


def test_equal_names_that_the_manifest_does_not_have_do_no_harm(tmp_path):
    """
    A camera starts counting in every folder anew; only photographs of the manifest have to be told apart.
    """
    write_truth(tmp_path, ["climbing"])
    strangers = [("2024/IMG_1.jpg", 0.1, "accept"), ("2025/IMG_1.jpg", 0.1, "accept")]
    write_tags(tmp_path, "r1", [("0.jpg", 0.9, "accept"), *strangers])

    assert 1 == evaluate(tmp_path)[1]["tagged"]


def test_equal_keys_of_two_inputs_hide_nothing(tmp_path, capsys):
    """
    The later one may be another photograph: both are known, and it is asked which run is meant.
    """
    write_truth(tmp_path, ["climbing"])
    write_tags(tmp_path, "r1", [("0.jpg", 0.9, "accept")], namespace="s3://cats")
    write_tags(tmp_path, "r2", [("0.jpg", 0.1, "accept")], NOON + timedelta(days=1), namespace="s3://dogs")

    assert 2 == evaluate(tmp_path)[0]
    assert "several photographs called 0.jpg" in capsys.readouterr().err
    assert 1.0 == evaluate(tmp_path, "--run", "r1")[1]["top1"]


@pytest.mark.parametrize(
    ("rows", "scores", "told"),
    [
        ([("unknown.jpg", 0.9, "accept")], True, "none of the manifest's photographs"),
        ([("a/0.jpg", 0.9, "accept"), ("b/0.jpg", 0.9, "accept")], True, "several photographs called 0.jpg"),
        ([("0.jpg", 0.9, "accept")], False, "--no-scores"),
        ([], True, "none of the manifest's photographs"),
    ],
)
def test_what_cannot_be_compared_is_told(tmp_path, capsys, rows, scores, told):
    """
    Nothing in common, doubled names, tags without probabilities: exit code 2 and why.
    """
    write_truth(tmp_path, ["climbing"])
    write_tags(tmp_path, "r1", rows, scores=scores)
    code, _ = evaluate(tmp_path)

    assert 2 == code
    assert told in capsys.readouterr().err


def test_no_tags_and_foreign_labels_are_told(tmp_path, capsys):
    """
    An empty output, then a manifest with an action that the tags do not know.
    """
    write_truth(tmp_path, ["sleeping"])

    assert 2 == evaluate(tmp_path)[0]
    assert "there are no tags" in capsys.readouterr().err
    write_tags(tmp_path, "r1", [("0.jpg", 0.9, "accept")])
    assert 2 == evaluate(tmp_path)[0]
    assert "know no sleeping" in capsys.readouterr().err
