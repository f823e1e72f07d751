"""``lga runs quarantine``."""

from __future__ import annotations

import json
import re
from datetime import UTC, datetime, timedelta

import duckdb
import pyarrow as pa
import pytest

from workers.__main__ import main
from workers.history import quarantine
from workers.storage import FolderStore
from workers.tags import ShardName, TagForm, tag_schema, write_shard

NOW = datetime(2026, 1, 2, 3, 4, 5, tzinfo=UTC)


def put(folder, run_id: str, reasons: dict[str, str | None], day: int, namespace: str, engine: str = "cafe") -> None:
    """One shard of objects by key; None as reason is a good one."""
    schema = tag_schema(TagForm(classes=("run",), heatmap_hw=(1, 1)), {"namespace": namespace})
    rows = [
        {"key": key, "status": "failed" if reason else "ok", "reason": reason, "run_id": run_id}
        | {"scored_at": NOW + timedelta(days=day), "engine": engine}
        for key, reason in reasons.items()
    ]
    write_shard(FolderStore(folder), ShardName(run_id=run_id, index=0), pa.Table.from_pylist(rows, schema))


@pytest.fixture
def output(tmp_path) -> str:
    """Two buckets that share a key; what failed in the first one is good in the second."""
    put(tmp_path, "r1", {"a": "missing", "b": "timeout", "c": "timeout"}, 0, "s3://cats")
    put(tmp_path, "r2", {"b": None}, 1, "s3://cats")
    put(tmp_path, "r3", {"a": None, "d": "denied"}, 2, "s3://dogs")
    return str(tmp_path)


def test_another_input_mends_nothing(output, capsys):
    """
    What failed and was scored since is gone from the list; an equal key of another bucket does not count as scored.
    """
    assert 0 == main(["runs", "quarantine", "--output", output, "--format", "json"])
    rows = [json.loads(line) for line in capsys.readouterr().out.splitlines()]

    assert [("d", "denied"), ("a", "missing"), ("c", "timeout")] == [(row["key"], row["reason"]) for row in rows]
    assert "namespace" not in rows[0]


def test_going_back_to_an_engine_is_reading_its_rows(output, tmp_path, capsys):
    """
    What a later engine scored, or could not, does not count; an engine that nobody knows is told, since its empty list
    would say that all is well.
    """
    put(tmp_path, "r4", {"c": None, "e": "engine_error"}, 3, "s3://cats", engine="beef")
    asked = ["runs", "quarantine", "--output", output, "--format", "json", "--engine"]
    listed = {}
    for engine in ("cafe", "beef"):
        assert 0 == main([*asked, engine])
        listed[engine] = [json.loads(line)["key"] for line in capsys.readouterr().out.splitlines()]

    assert {"cafe": ["d", "a", "c"], "beef": ["e"]} == listed
    assert 2 == main([*asked, "dead"])
    assert "--engine dead: no row" in capsys.readouterr().err


def test_a_file_of_keys_is_of_one_input(output, tmp_path, capsys):
    """
    It is read together with one ``--input``: those of several are refused, and a run is of one.
    """
    asked = ["runs", "quarantine", "--output", output, "--export", str(tmp_path / "bad.csv")]

    assert 2 == main(asked)
    assert "several inputs (s3://cats, s3://dogs); choose with --run" in capsys.readouterr().err
    assert 0 == main([*asked, "--reason", "missing"])
    assert 0 == main([*asked, "--reason", "denied"])
    assert re.search("^d,", (tmp_path / "bad.csv").read_text(), re.MULTILINE)


def test_rows_that_do_not_fit_are_told(output, capsys, monkeypatch):
    """
    DuckDB's own words and a way out, exit code 5, no traceback.
    """

    def full(*_args) -> None:
        raise duckdb.IOException("No space left on device")

    monkeypatch.setattr(quarantine.duckdb, "connect", full)

    assert 5 == main(["runs", "quarantine", "--output", output])
    assert "No space left on device" in (told := capsys.readouterr().err)
    assert "TMPDIR" in told
