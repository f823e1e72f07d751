"""``lga tags export``: one file for other programs, as things are or as they were."""

from __future__ import annotations

import csv
import json
from datetime import UTC, datetime, timedelta

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from workers.__main__ import main
from workers.query.export import person_box
from workers.storage import open_store, read_uri
from workers.tags import ShardName, TagForm, tag_schema, write_shard

MONDAY = datetime(2026, 1, 5, 3, tzinfo=UTC)


@pytest.fixture
def output(store_uri) -> str:
    """Two runs: a and b tagged on Monday with one engine, b and c on Tuesday with another; d failed."""
    for number, (run_id, keys) in enumerate({"monday": "ab", "tuesday": "bcd"}.items()):
        schema = tag_schema(TagForm(classes=("run", "swim"), heatmap_hw=(2, 2)))
        rows = [
            {
                "key": f"{key}.jpg",
                "etag": "e",
                "status": "failed" if key == "d" else "ok",
                "reason": "missing" if key == "d" else None,
                "width": 200,
                "height": 100,
                "label": None if key == "d" else ("run", "swim")[number],
                "confidence": None if key == "d" else 0.75,
                "heatmap": None if key == "d" else [0, 200, 0, 0] if key == "c" else [0] * 4,
                "top_labels": ["run", "swim"],
                "engine": ("cafe", "beef")[number],
                "run_id": run_id,
                "scored_at": MONDAY + timedelta(days=number),
            }
            for key in keys
        ]
        write_shard(open_store(store_uri), ShardName(run_id=run_id, index=0), pa.Table.from_pylist(rows, schema))
    return store_uri


def export(output: str, to: str, *more: str) -> str:
    assert 0 == main(["tags", "export", "--output", output, "--to", to, *more])
    return read_uri(to).decode()


def test_json_lines_and_csv_hold_the_latest_row_of_each_object(output, tmp_path):
    """
    All columns but the long ones; lists, times and nulls are readable.
    """
    lines = [json.loads(line) for line in export(output, str(tmp_path / "t.jsonl")).splitlines()]
    rows = list(csv.DictReader(export(output, str(tmp_path / "t.csv")).splitlines()))

    assert [("a.jpg", "run"), ("b.jpg", "swim"), ("c.jpg", "swim"), ("d.jpg", None)] == [
        (line["key"], line["label"]) for line in lines
    ]
    assert ["run", "swim"] == lines[0]["top_labels"]
    assert ["a.jpg", "b.jpg", "c.jpg", "d.jpg"] == [row["key"] for row in rows]
    assert "heatmap" not in rows[0]
    assert rows[0].keys() == lines[0].keys()


def test_columns_and_rows_can_be_chosen(output, tmp_path):
    """
    By name, and by a condition in SQL; also as Parquet, which keeps the types.
    """
    to = str(tmp_path / "t.parquet")
    assert 0 == main(
        ["tags", "export", "--output", output, "--to", to, "--columns", "key", "--columns", "heatmap", "--where",
         "label = 'swim'"]
    )  # fmt: skip
    table = pq.read_table(to)

    assert ["key", "heatmap"] == table.column_names
    assert ["b.jpg", "c.jpg"] == table["key"].to_pylist()


@pytest.mark.parametrize(
    "earlier",
    [["--as-of", "2026-01-05"], ["--as-of", "2026-01-05T23:00+01:00"], ["--as-of", "monday"], ["--engine", "cafe"]],
)
def test_going_back_is_reading_what_was(output, tmp_path, earlier):
    """
    As of a day, a moment, a run, or by the engine: what came later does not exist.
    """
    lines = [json.loads(line) for line in export(output, str(tmp_path / "t.jsonl"), *earlier).splitlines()]

    assert [("a.jpg", "run"), ("b.jpg", "run")] == [(line["key"], line["label"]) for line in lines]


def test_a_coco_data_set(output, tmp_path):
    """
    Good objects are images with their label; the box is the person's where the heatmap shows one.
    """
    coco = json.loads(export(output, str(tmp_path / "t.json")))
    a, b, c = coco["annotations"]

    assert ["a.jpg", "b.jpg", "c.jpg"] == [image["file_name"] for image in coco["images"]]
    assert {"run", "swim"} == {category["name"] for category in coco["categories"]}
    assert [1, 2, 2] == [annotation["category_id"] for annotation in (a, b, c)]
    assert ("image", [0.0, 0.0, 200.0, 100.0]) == (a["bbox_from"], a["bbox"])
    assert ("heatmap", [100.0, 0.0, 100.0, 50.0], 5000.0, 0.75) == (c["bbox_from"], c["bbox"], c["area"], c["score"])


def test_a_run_may_be_called_like_a_day(tmp_path, put_shard):
    """
    All of its rows count, though it went on after midnight; without such a run a day is a day.
    """
    tagged = str(tmp_path / "tagged")
    put_shard(open_store(tagged), "2026-01-05", ["a"], MONDAY + timedelta(days=1))
    put_shard(open_store(tagged), "later", ["b"], MONDAY + timedelta(days=2))

    assert 1 == export(tagged, str(tmp_path / "t.jsonl"), "--as-of", "2026-01-05").count("\n")
    assert "" == export(tagged, str(tmp_path / "t.jsonl"), "--as-of", "2026-01-04")


def test_a_coco_data_set_is_of_one_input(tmp_path, put_shard, capsys):
    """
    Its file names are keys, which two inputs may share: it says so, and how to choose.
    """
    tagged, to = str(tmp_path / "tagged"), str(tmp_path / "t.json")
    for namespace in ("s3://cats", "s3://dogs"):
        put_shard(open_store(tagged), namespace[5:], ["a"], namespace=namespace)
    one = "run_id in (from namespaces select run_id where namespace = 's3://dogs')"

    assert 2 == main(["tags", "export", "--output", tagged, "--to", to])
    assert "several inputs (s3://cats, s3://dogs); choose one: --where" in capsys.readouterr().err
    assert [{"run_id": "dogs"}] == [
        json.loads(line)
        for line in export(tagged, str(tmp_path / "t.jsonl"), "--where", one, "--columns", "run_id").splitlines()
    ]
    assert 2 == export(tagged, str(tmp_path / "t.csv"), "--columns", "key").count("a")


def test_an_empty_coco_data_set(output, tmp_path):
    """
    Nothing that is wanted is still a data set.
    """
    coco = json.loads(export(output, str(tmp_path / "t.json"), "--where", "false"))

    assert ([], [], []) == (coco["images"], coco["annotations"], coco["categories"])


def test_the_box_of_a_person_is_in_pixels():
    """
    Around all cells that show somebody; none where nobody is.
    """
    assert person_box([0] * 9, (90, 30)) is None
    assert (30.0, 10.0, 60.0, 20.0) == person_box([0, 0, 0, 0, 128, 0, 0, 0, 255], (90, 30))


@pytest.mark.parametrize(
    ("more", "message"),
    [
        (["--to", "tags.xml"], "its name does not tell the form"),
        (["--to", "t.csv", "--as-of", "yesterday"], "neither a time"),
        (["--to", "t.csv", "--as-of", "9999-12-31T23:59-05:00"], "neither a time"),
        (["--to", "t.csv", "--where", "labl = 1"], "DuckDB cannot answer"),
        (["--to", "t.csv", "--columns", "colour"], "DuckDB cannot answer"),
    ],
)
def test_what_cannot_be_exported_is_told(tmp_path, put_shard, capsys, monkeypatch, more, message):
    """
    Exit code 2, what was wrong, and no file.
    """
    monkeypatch.chdir(tmp_path)
    put_shard(open_store("tagged"), "r1", ["a"])

    assert 2 == main(["tags", "export", "--output", "tagged", *more])
    assert message in capsys.readouterr().err
    assert ["tagged"] == [path.name for path in tmp_path.iterdir()]
