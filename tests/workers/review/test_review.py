from __future__ import annotations

import re
from datetime import UTC, datetime, timedelta
from pathlib import Path

import cv2
import numpy as np
import pyarrow as pa
import pytest

from lga_model.annotations import read_manifest
from workers.__main__ import main
from workers.review.choose import Tagged, choose
from workers.review.ranking import rank
from workers.storage import FolderStore
from workers.tags import ShardName, TagForm, local_files, tag_schema, write_shard

CLASSES = ("climbing", "running")
NOON = datetime(2026, 1, 2, 12, tzinfo=UTC)


def tagged(key: str, scores=(0.5, 0.5), heatmap=(0, 255), **changes) -> Tagged:
    fields = {"namespace": "s3://b", "etag": key, "label": "running", "confidence": 0.5, "width": 9, "height": 9}
    arrays = {"scores_A": np.array(scores), "heatmap_N": np.array(heatmap, np.uint8)}
    return Tagged(key=key, **(fields | arrays | changes))


def keys(picks) -> list[str]:
    return [pick.tagged.key for pick in picks]


DIFFERENT = [tagged(str(number), scores=(number / 10, 1 - number / 10)) for number in range(10)]


def test_reasons_take_turns():
    """
    A reason with many photographs does not crowd out the others; what two name is taken once.
    """
    picks = choose({"unsure": DIFFERENT[:6], "rare": [DIFFERENT[0], DIFFERENT[8]]}, 4)

    assert ["0", "8", "1", "2"] == keys(picks)
    assert ["unsure", "rare", "unsure", "unsure"] == [pick.reason for pick in picks]


@pytest.mark.parametrize(
    ("copy", "expected"),
    [
        (tagged("copy", etag="0", scores=(0.9, 0.1)), ["0"]),
        (tagged("copy", scores=(0.01, 0.99)), ["0"]),
        (tagged("copy", scores=(0.01, 0.99), heatmap=(255, 0)), ["0", "copy"]),
        (tagged("copy", scores=(0.2, 0.8)), ["0", "copy"]),
        (tagged("copy", scores=(), heatmap=()), ["0", "copy"]),
        (tagged("0", etag="copy", scores=(0.9, 0.1)), ["0"]),
        (tagged("0", etag="copy", scores=(0.9, 0.1), namespace="s3://c"), ["0", "0"]),
    ],
)
def test_of_copies_only_one_is_taken(copy, expected):
    """
    The same bytes, or the same to the model's eye; a person elsewhere in the picture is another picture.
    """
    assert expected == keys(choose({"unsure": [DIFFERENT[0], copy]}, 10))


def write_tags(folder, run_id, version, rows, at=NOON, *, photographs="photographs", model="pose", etag=""):
    """One shard of rows (key, probability of climbing, focus), by the one engine of a version, such as pose-1."""
    schema = tag_schema(TagForm(classes=CLASSES, heatmap_hw=(1, 1)), {"namespace": str(folder / photographs)})
    data = []
    for key, climbing, focus in rows:
        label = CLASSES[int(climbing < 0.5)]
        row = {
            "key": key,
            "etag": etag or key,
            "status": "ok",
            "label": label,
            "confidence": max(climbing, 1 - climbing),
        }
        row |= {"scores": [climbing, 1 - climbing], "heatmap": [len(data) * 20], "focus": focus, "run_id": run_id}
        row |= {"width": 9, "height": 8, "model": model, "version": version}
        row |= {"engine": f"{model}-{version}", "scored_at": at}
        data.append({name: row.get(name) for name in schema.names})
    write_shard(FolderStore(folder), ShardName(run_id=run_id, index=0), pa.Table.from_pylist(data, schema))


def test_a_manifest_and_a_sheet_come_out(tmp_path, capsys):
    """
    The photograph that two models judge differently comes first, the unsure and the unfocused follow; the sheet needs
    nothing else, and a key is no markup.
    """
    (tmp_path / "photographs").mkdir()
    cv2.imwrite(str(tmp_path / "photographs/changed.jpg"), np.full((8, 9, 3), 90, np.uint8))
    sure = [(f"sure-{number}.jpg", 0.01 + number / 100, 0.9) for number in range(5)]
    tags = [("changed.jpg", 0.9, 0.8), ("unsure.jpg", 0.52, 0.7), ("<b>.jpg", 0.8, 0.05), *sure]
    write_tags(tmp_path, "a", 1, [("changed.jpg", 0.2, 0.8), ("unsure.jpg", 0.55, 0.7)])
    write_tags(tmp_path, "b", 2, tags, NOON + timedelta(hours=1))
    where = ["--output", str(tmp_path), "--manifest", str(tmp_path / "new.jsonl"), "--html", str(tmp_path / "s.html")]

    assert 0 == main(["review", *where, "--limit", "3"])

    rows = read_manifest((tmp_path / "new.jsonl").read_bytes(), "new").annotations

    assert [str(tmp_path / "photographs" / key) for key in ("changed.jpg", "unsure.jpg", "<b>.jpg")] == [
        each.image for each in rows
    ]
    assert ("climbing", 9, 8) == (rows[0].action, rows[0].width, rows[0].height)

    page = (tmp_path / "s.html").read_text()

    assert 1 == page.count("data:image/jpeg;base64,")
    assert "&lt;b&gt;.jpg" in page
    assert "<b>.jpg" not in page
    assert "two models disagree" in capsys.readouterr().out


def disagreed(folder) -> list[str]:
    return [each.key for each in rank(local_files(FolderStore(folder), folder), 9)["two models disagree"]]


def test_models_disagree_about_the_same_bytes_alone(tmp_path):
    """
    What another model said of the photograph that lay there before is no contradiction; nor what one of the same name
    in another folder is.
    """
    write_tags(tmp_path, "a", 1, [("1.jpg", 0.9, 0.5)], etag="before")
    write_tags(tmp_path, "b", 2, [("1.jpg", 0.1, 0.5)], NOON + timedelta(hours=1), etag="now")
    write_tags(tmp_path, "c", 1, [("1.jpg", 0.9, 0.5)], etag="now", photographs="elsewhere")

    assert [] == disagreed(tmp_path)
    write_tags(tmp_path, "d", 1, [("1.jpg", 0.9, 0.5)], etag="now")
    assert ["1.jpg"] == disagreed(tmp_path)


def test_the_last_word_of_another_model_counts(tmp_path):
    """
    Not that of the highest version: versions of differently named models say nothing about each other.
    """
    write_tags(tmp_path, "a", 7, [("1.jpg", 0.9, 0.5), ("2.jpg", 0.1, 0.5)], model="old")
    write_tags(tmp_path, "b", 1, [("1.jpg", 0.1, 0.5), ("2.jpg", 0.9, 0.5)], NOON + timedelta(hours=1), model="better")
    write_tags(tmp_path, "c", 2, [("1.jpg", 0.1, 0.5), ("2.jpg", 0.1, 0.5)], NOON + timedelta(hours=2), model="better")

    assert ["2.jpg"] == disagreed(tmp_path)


def test_going_back_to_an_engine_is_reading_its_tags(tmp_path, capsys):
    """
    After a rollback the labels to mend are those of the engine that is back, beside what the other said; one that
    nobody knows is told.
    """
    write_tags(tmp_path, "a", 1, [("1.jpg", 0.9, 0.5), ("2.jpg", 0.1, 0.5)])
    write_tags(tmp_path, "b", 2, [("1.jpg", 0.2, 0.5), ("3.jpg", 0.1, 0.5)], NOON + timedelta(hours=1))
    asked = ["review", "--output", str(tmp_path), "--manifest", str(tmp_path / "new.jsonl"), "--engine"]

    assert 0 == main([*asked, "pose-1"])
    rows = read_manifest((tmp_path / "new.jsonl").read_bytes(), "new").annotations
    assert [("1.jpg", "climbing"), ("2.jpg", "running")] == [(Path(each.image).name, each.action) for each in rows]
    assert "two models disagree" in capsys.readouterr().out
    assert 2 == main([*asked, "pose-3"])
    assert "--engine pose-3: no photograph" in capsys.readouterr().err


def test_each_photograph_is_looked_for_where_it_was_scored(tmp_path, capsys):
    """
    Equal keys of two folders are two photographs, on the sheet as well; one other place cannot stand for both.
    """
    for number, place in enumerate(("dogs", "cats")):
        (tmp_path / place).mkdir()
        cv2.imwrite(str(tmp_path / place / "1.jpg"), np.full((8, 9, 3), 90 * number, np.uint8))
        write_tags(tmp_path, place, 1, [("1.jpg", 0.2 + number / 2, 0.5)], photographs=place, etag=place)
    where = ["--output", str(tmp_path), "--manifest", str(tmp_path / "new.jsonl"), "--html", str(tmp_path / "s.html")]

    assert 0 == main(["review", *where])
    rows = read_manifest((tmp_path / "new.jsonl").read_bytes(), "new").annotations
    assert {str(tmp_path / "cats" / "1.jpg"), str(tmp_path / "dogs" / "1.jpg")} == {each.image for each in rows}
    assert 2 == len(set(re.findall('data:image/jpeg;base64,[^"]+', (tmp_path / "s.html").read_text())))
    assert 2 == main(["review", *where, "--photographs", str(tmp_path / "elsewhere")])
    assert "stands for one place" in capsys.readouterr().err


def test_an_output_without_tags_is_told(tmp_path, capsys):
    """
    Nothing was scored there.
    """
    assert 2 == main(["review", "--output", str(tmp_path), "--manifest", str(tmp_path / "new.jsonl")])
    assert "run `lga score` first" in capsys.readouterr().err
