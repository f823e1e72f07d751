"""``lga runs`` and ``lga tags query``."""

from __future__ import annotations

import csv
import io
import json
from datetime import UTC, datetime, timedelta

import pyarrow as pa
import pytest

from workers.__main__ import main
from workers.score.plan import Plan, plan_key
from workers.score.record import Account, Attempt, RunRecord, Work, record_key
from workers.storage import open_store
from workers.tags import ShardName, TagForm, tag_schema, write_shard

NOW = datetime(2026, 1, 2, 3, 4, 5, tzinfo=UTC)


def put_shard(output, run_id: str, keys: list[str], scored_at=NOW, classes=("dark", "bright"), index=0) -> None:
    schema = tag_schema(TagForm(classes=classes, heatmap_hw=(1, len(classes))))
    rows = [
        {
            "key": key,
            "status": "ok",
            "label": classes[0],
            "scores": [0.5] * len(classes),
            "heatmap": [255] * len(classes),
            "top_labels": list(classes),
            "run_id": run_id,
            "scored_at": scored_at,
        }
        for key in keys
    ]
    write_shard(output, ShardName(run_id=run_id, index=index), pa.Table.from_pylist(rows, schema))


def put_run(output, run_id: str, *, finished: bool) -> None:
    plan = Plan(run_id=run_id, fingerprint="f", parts="p", listed=7, skipped=2, shard_rows=3, created_at=NOW)
    output.put(plan_key(run_id), plan.model_dump_json().encode())
    account = Account(listed=7, skipped=2, ok=4, failed=1, reasons={"missing": 1})
    record = RunRecord(
        run_id=run_id,
        state="finished" if finished else "running",
        input="s3://b/[red]photos",
        model="people",
        version=7,
        engine="cafe",
        target="onnxruntime",
        precision="fp32",
        preprocessing="p",
        settings={},
        started_at=NOW,
        attempts=(Attempt(started_at=NOW, images_per_s=12.345, bottleneck="engine", work=Work(images=5)),),
        account=account if finished else None,
    )
    output.put(record_key(run_id), record.model_dump_json().encode())


def test_runs_are_listed_with_their_state(store_uri, capsys):
    """
    Finished, unfinished and merely planned runs; pointers and other files are no runs.
    """
    output = open_store(store_uri)
    put_run(output, "done", finished=True)
    put_run(output, "half", finished=False)
    put_shard(output, "half", ["a", "b", "c"])
    output.put("runs/current-1a2b3c4d.json", b"{}")
    code = main(["runs", "list", "--output", store_uri])
    lines = {line.split()[0]: line.split() for line in capsys.readouterr().out.splitlines() if line.strip()}

    assert 0 == code
    assert {"run", "done", "half"} == lines.keys()
    assert ["done", "finished", "7", "2", "4", "1", "12.3", "people:7"] == lines["done"]
    assert ["half", "1", "of", "2", "shards", "7", "2", "12.3", "people:7"] == lines["half"]


def test_a_run_is_shown_with_its_failures(store_uri, capsys):
    """
    Without a name the newest; names from outside are no markup.
    """
    put_run(open_store(store_uri), "done", finished=True)
    code = main(["runs", "show", "--output", store_uri])
    out = capsys.readouterr().out

    assert 0 == code
    assert "s3://b/[red]photos" in out
    assert {("listed", "7"), ("failed", "1"), ("missing", "1")} <= {tuple(line.split()) for line in out.splitlines()}


def test_an_unfinished_run_is_counted_from_its_shards(store_uri, capsys):
    """
    What is written so far, and no more.
    """
    output = open_store(store_uri)
    put_run(output, "half", finished=False)
    put_shard(output, "half", ["a", "b", "c"])
    main(["runs", "show", "--output", store_uri, "--run", "half"])
    lines = {tuple(line.split()) for line in capsys.readouterr().out.splitlines()}

    assert {("state", "running"), ("ok", "3"), ("failed", "0")} <= lines


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["runs", "show"], "there are no runs"),
        (["runs", "show", "--run", "nobody"], "there is no run nobody"),
        (["tags", "query", "select 1"], "there are no tags"),
    ],
)
def test_where_nothing_is_a_message_says_so(s3, capsys, arguments, message):
    """
    No traceback: what was looked for, and where.
    """
    code = main([*arguments, "--output", s3.bucket()])

    assert 2 == code
    assert message in capsys.readouterr().err


@pytest.mark.parametrize("command", [["runs", "list"], ["runs", "show"], ["tags", "query", "select 1"]])
def test_a_missing_bucket_is_an_error_of_the_world(s3, capsys, command):
    """
    Exit code 5 and the bucket's name.
    """
    code = main([*command, "--output", f"{s3.bucket()}-nobody"])

    assert 5 == code
    assert "no such bucket" in capsys.readouterr().err


def ask(store_uri: str, sql: str, capsys) -> list[dict]:
    assert 0 == main(["tags", "query", sql, "--output", store_uri, "--format", "json"])
    return [json.loads(line) for line in capsys.readouterr().out.splitlines()]


def test_a_question_sees_the_latest_row_of_each_object(store_uri, capsys):
    """
    ``tags`` has each object once, ``tags_all`` every row; runs of models with other classes live together.
    """
    output = open_store(store_uri)
    put_shard(output, "r1", ["a", "b"])
    put_shard(output, "r2", ["b", "c"], NOW + timedelta(days=1), classes=("x", "y", "z"))

    assert [
        {"key": "a", "label": "dark", "n": 2},
        {"key": "b", "label": "x", "n": 3},
        {"key": "c", "label": "x", "n": 3},
    ] == ask(store_uri, "select key, label, len(scores) as n from tags order by key", capsys)
    assert [{"n": 4}] == ask(store_uri, "select count(*) as n from tags_all", capsys)


def test_answers_keep_their_values(store_uri, capsys):
    """
    Times, lists and nulls are readable in every format.
    """
    put_shard(open_store(store_uri), "r1", ["a"])
    sql = "select key, scored_at, top_labels, reason from tags"
    asked = ["tags", "query", sql, "--output", store_uri]
    (row,) = ask(store_uri, sql, capsys)
    main([*asked, "--format", "csv"])
    (header, values) = csv.reader(io.StringIO(capsys.readouterr().out))
    main(asked)

    assert ("a", "2026-01-02 03:04:05+00:00", ["dark", "bright"], None) == tuple(row.values())
    assert ["a", "2026-01-02 03:04:05+00:00", '["dark", "bright"]', ""] == values
    assert list(row) == header
    assert "2026-01-02" in capsys.readouterr().out


@pytest.mark.parametrize("sql", ["selec", "select nothing from tags", "select * from elsewhere", "select 1/"])
def test_a_wrong_question_is_told(tmp_path, capsys, sql):
    """
    DuckDB's own words, exit code 2, no traceback.
    """
    put_shard(open_store(str(tmp_path)), "r1", ["a"])
    code = main(["tags", "query", sql, "--output", str(tmp_path)])
    told = capsys.readouterr().err

    assert 2 == code
    assert told.startswith("lga tags query: DuckDB cannot answer: ")
    assert "Traceback" not in told
