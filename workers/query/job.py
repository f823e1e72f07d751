"""``lga tags query``: SQL over everything that was ever scored under an output."""

from __future__ import annotations

import csv
import json
import sys
import tempfile
from pathlib import Path
from typing import Any, TextIO

import duckdb
from rich.table import Table
from rich.text import Text

from workers.console import result_console
from workers.errors import SettingsError
from workers.settings import TagsQuerySettings
from workers.storage import open_store
from workers.tags import latest_rows_view, local_files


def query_tags(settings: TagsQuerySettings) -> int:
    """Print the answer to ``sql`` over ``tags`` (the latest row of each object) and ``tags_all``."""
    output = open_store(settings.output)
    with tempfile.TemporaryDirectory(prefix="lga-query-") as folder:
        files = local_files(output, Path(folder))
        if not files:
            raise SettingsError(f"there are no tags under {output.uri()}; check --output, or run `lga score` first")
        names, rows = ask(files, settings.sql)
    _WRITERS[settings.format](names, rows, sys.stdout)
    return 0


def ask(files: list[Path], sql: str) -> tuple[list[str], list[tuple[Any, ...]]]:
    """Run one question over some shards.

    Returns:
        Names of the columns, and the rows.

    Raises:
        SettingsError: If the question is not SQL, or names what is not there.
    """
    with duckdb.connect() as database:
        try:
            # Runs of different models differ in columns and in lengths of lists: they meet by name.
            shards = database.read_parquet([str(path) for path in files], union_by_name=True, hive_partitioning=False)
            shards.create_view("tags_all")
            database.execute(latest_rows_view("tags_all", "tags"))
            database.execute("set timezone = 'UTC'")
            answer = database.sql(sql)
            if answer is None:  # A statement without an answer, such as COPY.
                return [], []
            # By way of Arrow, whose timestamps need no further package.
            table = answer.to_arrow_table()
            return table.column_names, list(zip(*(column.to_pylist() for column in table.columns), strict=True))
        except duckdb.Error as error:
            raise SettingsError(f"DuckDB cannot answer: {error}") from error


def _as_table(names: list[str], rows: list[tuple[Any, ...]], stream: TextIO) -> None:
    table = Table(box=None)
    for name in names:
        table.add_column(Text(name))
    for row in rows:
        table.add_row(*(Text("" if value is None else _text(value)) for value in row))
    result_console(stream).print(table)


def _as_csv(names: list[str], rows: list[tuple[Any, ...]], stream: TextIO) -> None:
    writer = csv.writer(stream, lineterminator="\n")
    writer.writerow(names)
    writer.writerows(["" if value is None else _text(value) for value in row] for row in rows)


def _as_json(names: list[str], rows: list[tuple[Any, ...]], stream: TextIO) -> None:
    """One object for each line."""
    for row in rows:
        record = dict(zip(names, row, strict=True))
        stream.write(json.dumps(record, ensure_ascii=False, default=str) + "\n")


def _text(value: object) -> str:
    return json.dumps(value, ensure_ascii=False, default=str) if isinstance(value, list | dict) else str(value)


_WRITERS = {"table": _as_table, "csv": _as_csv, "json": _as_json}
