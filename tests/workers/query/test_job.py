"""``lga tags query``."""

from __future__ import annotations

import csv
import io
import json
from datetime import UTC, datetime, timedelta

import pytest

from workers.__main__ import main
from workers.storage import open_store

NOW = datetime(2026, 1, 2, 3, 4, 5, tzinfo=UTC)


def ask(store_uri: str, sql: str, capsys) -> list[dict]:
    assert 0 == main(["tags", "query", sql, "--output", store_uri, "--format", "json"])
    return [json.loads(line) for line in capsys.readouterr().out.splitlines()]


def test_a_question_sees_the_latest_row_of_each_object(store_uri, put_shard, capsys):
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


def test_equal_keys_of_two_inputs_are_two_objects(store_uri, put_shard, capsys):
    """
    ``tags`` shows both; ``namespaces`` says which is which.
    """
    output = open_store(store_uri)
    put_shard(output, "r1", ["a"], namespace="s3://cats")
    put_shard(output, "r2", ["a"], NOW + timedelta(days=1), namespace="s3://dogs")
    sql = "select namespace, key, run_id from tags join namespaces using (run_id) order by 1"

    assert [
        {"namespace": "s3://cats", "key": "a", "run_id": "r1"},
        {"namespace": "s3://dogs", "key": "a", "run_id": "r2"},
    ] == ask(store_uri, sql, capsys)


def test_an_output_is_no_pattern(tmp_path, put_shard, capsys):
    """
    A folder with brackets in its name is itself, and not the neighbour that a shell would find.
    """
    put_shard(open_store(str(tmp_path / "o 1")), "r1", ["neighbour"])
    put_shard(open_store(str(tmp_path / "o [12]")), "r1", ["mine"])

    assert [{"key": "mine"}] == ask(str(tmp_path / "o [12]"), "select key from tags", capsys)


def test_answers_keep_their_values(store_uri, put_shard, capsys):
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
def test_a_wrong_question_is_told(tmp_path, put_shard, capsys, sql):
    """
    DuckDB's own words, exit code 2, no traceback.
    """
    put_shard(open_store(str(tmp_path)), "r1", ["a"])
    code = main(["tags", "query", sql, "--output", str(tmp_path)])
    told = capsys.readouterr().err

    assert 2 == code
    assert told.startswith("lga tags query: DuckDB cannot answer: ")
    assert "Traceback" not in told


def test_where_nothing_is_a_message_says_so(s3, capsys):
    """
    No tags is a wrong setting, a missing bucket an error of the world; each says what was looked for, and where.
    """
    bucket = s3.bucket()

    assert 2 == main(["tags", "query", "select 1", "--output", bucket])
    assert "there are no tags" in capsys.readouterr().err
    assert 5 == main(["tags", "query", "select 1", "--output", f"{bucket}-nobody"])
    assert "no such bucket" in capsys.readouterr().err
