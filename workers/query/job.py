"""``lga tags query``: SQL over everything that was ever scored under an output."""

from __future__ import annotations

import contextlib
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import duckdb

from workers.console import print_rows
from workers.errors import SettingsError
from workers.query.view import Slice, tag_tables
from workers.settings import TagsQuerySettings
from workers.storage import open_store
from workers.tags import local_files


def query_tags(settings: TagsQuerySettings) -> int:
    """Print the answer to ``sql`` over the tables of ``tag_tables``."""
    with tables_of(settings.output, Slice(as_of=settings.as_of, engine=settings.engine)) as database:
        names, rows = ask(database, settings.sql)
    print_rows(settings.format, names, rows)
    return 0


@contextlib.contextmanager
def tables_of(output_uri: str, wanted: Slice) -> Iterator[duckdb.DuckDBPyConnection]:
    """The tables of ``tag_tables`` over an output.

    Raises:
        SettingsError: If there are no tags.
    """
    output = open_store(output_uri)
    with tempfile.TemporaryDirectory(prefix="lga-query-") as folder:
        files = local_files(output, Path(folder))
        if not files:
            raise SettingsError(f"there are no tags under {output.uri()}; check --output, or run `lga score` first")
        with tag_tables(files, wanted, Path(folder)) as database:
            yield database


def ask(database: duckdb.DuckDBPyConnection, sql: str) -> tuple[list[str], list[tuple[Any, ...]]]:
    """Run one question.

    Returns:
        Names of the columns, and the rows.
    """
    answer = database.sql(sql)
    if answer is None:  # A statement without an answer, such as COPY.
        return [], []
    # By way of Arrow, whose timestamps need no further package.
    table = answer.to_arrow_table()
    return table.column_names, list(zip(*(column.to_pylist() for column in table.columns), strict=True))
