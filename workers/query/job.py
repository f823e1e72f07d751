"""``lga tags query``: SQL over everything that was ever scored under an output."""

from __future__ import annotations

import tempfile
from pathlib import Path
from typing import Any

import duckdb

from workers.console import print_rows
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
    print_rows(settings.format, names, rows)
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
