"""The tags as tables of DuckDB: every row, and the row of each object that counts now, or counted at some time."""

from __future__ import annotations

import contextlib
import os
import re
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

import duckdb

from workers.errors import SettingsError
from workers.tags import attach_shards, latest_rows_view

_MEMORY = "1GB"  # What does not fit goes to the temporary folder.
_MOST_THREADS = 8  # More of them, and the share of each is too small to sort in.


@dataclass(frozen=True, kw_only=True)
class Slice:
    """Which rows count. Going back to an older model is reading its rows: nothing is ever overwritten."""

    as_of: str | None = None
    """A run, or a time (ISO 8601, UTC unless it says otherwise): rows written after its last row, or after it, do not
    exist. A run may be called like a day, and goes first."""
    engine: str | None = None
    """Only rows of the engine with this fingerprint."""


@contextlib.contextmanager
def tag_tables(files: list[Path], wanted: Slice, folder: Path) -> Iterator[duckdb.DuckDBPyConnection]:
    """A database with ``tags_all`` (every row), ``tags`` (the latest row of each object) and ``namespaces``.

    Args:
        files: Shards.
        wanted: Which of their rows count.
        folder: For what does not fit into memory.

    Raises:
        SettingsError: If ``as_of`` is neither a time nor a run, or DuckDB cannot answer what is asked inside the block.
    """
    with duckdb.connect() as database:
        try:
            database.execute(f"set memory_limit = '{_MEMORY}'")
            database.execute(f"set threads = {min(_MOST_THREADS, os.cpu_count() or 1)}")
            database.execute(f"set temp_directory = '{folder / 'spill'}'")
            database.execute("set enable_progress_bar = false")
            database.execute("set timezone = 'UTC'")
            attach_shards(database, files, "every_row")
            database.execute(f"create view tags_all as select * from every_row where {_condition(database, wanted)}")  # noqa: S608
            database.execute(latest_rows_view("tags_all", "tags"))
            yield database
        except duckdb.Error as error:
            raise SettingsError(f"DuckDB cannot answer: {error}") from error


def _condition(database: duckdb.DuckDBPyConnection, wanted: Slice) -> str:
    conditions = ["true"]
    if wanted.engine is not None:
        conditions.append(f"engine = {_quoted(wanted.engine)}")
    if wanted.as_of is not None:
        conditions.append(f"scored_at <= timestamptz '{_moment(database, wanted.as_of):%Y-%m-%d %H:%M:%S.%f}+00'")
    return " and ".join(conditions)


def _moment(database: duckdb.DuckDBPyConnection, as_of: str) -> datetime:
    last = database.execute("select epoch_us(max(scored_at)) from every_row where run_id = ?", [as_of]).fetchall()[0][0]
    if last is not None:
        return datetime.fromtimestamp(last / 1e6, UTC)
    try:
        moment = datetime.fromisoformat(as_of)
        # A day means all of it.
        moment = moment.replace(hour=23, minute=59, second=59, microsecond=999_999) if _is_day(as_of) else moment
        return moment.astimezone(UTC) if moment.tzinfo else moment.replace(tzinfo=UTC)
    except (ValueError, OverflowError) as error:
        raise SettingsError(
            f"--as-of {as_of}: neither a time, such as 2026-01-02T03:04, nor a run with tags"
        ) from error


def _is_day(text: str) -> bool:
    return re.fullmatch(r"\d{4}-?\d{2}-?\d{2}", text) is not None


def _quoted(text: str) -> str:
    return "'" + text.replace("'", "''") + "'"
