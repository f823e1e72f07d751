"""docs/tags.md: its programs run, and its table is the schema."""

from __future__ import annotations

import importlib.util
import re
from pathlib import Path

import pyarrow as pa
import pytest

from workers.storage import FolderStore
from workers.tags import REASONS, ShardName, TagForm, tag_schema, write_shard

PAGE = (Path(__file__).resolve().parents[2] / "docs" / "tags.md").read_text(encoding="utf-8")
PROGRAMS = re.findall(r"```python\n(.*?)```", PAGE, re.DOTALL)


def of_library(name: str) -> str:
    (program,) = [program for program in PROGRAMS if re.search(rf"^(import|from) {name}\b", program, re.MULTILINE)]
    return program


@pytest.fixture
def output(tmp_path) -> str:
    """Two runs over three objects; one of them has a newer row."""
    schema = tag_schema(TagForm(classes=("run", "swim"), heatmap_hw=(1, 1)))
    for day, (run_id, rows) in enumerate({"r1": {"a": "run", "b": "run"}, "r2": {"b": "swim", "c": "swim"}}.items()):
        written = [
            {"key": key, "status": "ok", "label": label, "focus": 0.1, "run_id": run_id, "scored_at": day}
            for key, label in rows.items()
        ]
        table = pa.Table.from_pylist(written, schema)
        write_shard(FolderStore(tmp_path), ShardName(run_id=run_id, index=0), table)
    return str(tmp_path)


@pytest.mark.parametrize("library", ["duckdb", "pyarrow"])
def test_the_programs_run(output, capsys, library):
    """
    As they stand on the page.
    """
    exec(compile(of_library(library), "docs/tags.md", "exec"), {"output": output})
    said = capsys.readouterr().out

    assert "run" in said
    assert "swim" in said


def test_the_duckdb_program_sees_the_latest_rows(output, capsys):
    """
    Three objects, two of them swimming.
    """
    names = {"output": output}
    exec(compile(of_library("duckdb"), "docs/tags.md", "exec"), names)

    assert [("a", "run"), ("b", "swim"), ("c", "swim")] == names["latest"].project("key, label").order("key").fetchall()


def test_the_spark_program_is_a_program():
    """
    It is Python at least.
    """
    compile(of_library("pyspark"), "docs/tags.md", "exec")


def test_the_spark_program_runs(output, capsys):
    """
    Where Spark is installed.
    """
    if importlib.util.find_spec("pyspark") is None:
        pytest.skip("needs Spark: the package pyspark is not installed")
    exec(compile(of_library("pyspark"), "docs/tags.md", "exec"), {"output": output})

    assert "swim" in capsys.readouterr().out


def test_every_column_and_reason_is_explained():
    """
    In the order of the schema; nothing that is not there.
    """
    table = PAGE.split("## Columns")[1].split("## Reasons")[0]
    told = [
        name
        for line in table.splitlines()
        if line.startswith("| `")
        for name in re.findall(r"`(\w+)`", line.split("|")[1])
    ]
    reasons = PAGE.split("## Reasons")[1].split("## Reading")[0]

    assert tag_schema(TagForm(classes=("a",), heatmap_hw=(1, 1))).names == told
    assert set(REASONS) == {
        name
        for line in reasons.splitlines()
        if line.startswith("| `")
        for name in re.findall(r"`(\w+)`", line.split("|")[1])
    }
