"""``lga runs quarantine``: what could not be scored and has not been since, as a list or as a file."""

from __future__ import annotations

import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

import duckdb
import pyarrow as pa

from workers.console import print_rows
from workers.errors import SettingsError
from workers.runs.listing import chosen_run
from workers.settings import RunsQuarantineSettings
from workers.storage import Store, open_store, split_uri
from workers.tags import LATEST_ROWS, list_shards, read_shards

_COLUMNS = ["key", "etag", "size_bytes", "last_modified", "status", "reason", "detail", "run_id", "scored_at"]
_FORMATS = {".parquet": "(format parquet)", ".csv": "(format csv, header)", ".jsonl": "(format json)"}


def list_quarantine(settings: RunsQuarantineSettings) -> int:
    """Print the list, or write it to ``--export``."""
    output = open_store(settings.output)
    run_id = None if settings.run is None else chosen_run(output, settings.run)
    suffix = Path(settings.export or "").suffix
    if settings.export and suffix not in _FORMATS:
        raise SettingsError(f"--export {settings.export}: it must end in {', '.join(_FORMATS)}")
    with tempfile.TemporaryDirectory(prefix="lga-quarantine-") as folder:
        database = _database(Path(folder), rows_of(output, run_id), settings.reason)
        if settings.export:
            file = Path(folder) / f"quarantine{suffix}"
            database.execute(f"copy quarantine to '{file}' {_FORMATS[suffix]}")
            (count,) = database.sql("select count(*) from quarantine").fetchall()[0]
            store, name = split_uri(settings.export)
            store.put_file(name, file)
            print(f"wrote {count} objects to {settings.export}")
            return 0
        table = database.sql("from quarantine").limit(settings.limit or sys.maxsize).to_arrow_table()
    rows = list(zip(*(column.to_pylist() for column in table.columns), strict=True))
    print_rows(settings.format, table.column_names, rows)
    return 0


def rows_of(output: Store, run_id: str | None) -> Iterator[pa.Table]:
    """What counts of every row under an output, or of one run's."""
    for _name, table in read_shards(output, list_shards(output, run_id), _COLUMNS):
        yield table.select(_COLUMNS).replace_schema_metadata(None)


def _database(folder: Path, tables: Iterator[pa.Table], reasons: tuple[str, ...]) -> duckdb.DuckDBPyConnection:
    """A view ``quarantine``; rows lie on disk, so that memory does not grow with their number."""
    database = duckdb.connect(str(folder / "rows.duckdb"))
    database.execute("set timezone = 'UTC'")
    database.execute(
        "create table every (key varchar, etag varchar, size_bytes bigint, last_modified timestamptz, status varchar, "
        "reason varchar, detail varchar, run_id varchar, scored_at timestamptz)"
    )
    for table in tables:
        database.register("incoming", table)
        database.execute("insert into every from incoming")
    names = ", ".join(f"'{reason}'" for reason in reasons)
    wanted = f"and reason in ({names})" if reasons else ""
    database.execute(
        f"create view quarantine as with latest as ({LATEST_ROWS.format(table='every')}) "  # noqa: S608 - a closed set
        f"select * exclude (status) from latest where status = 'failed' {wanted} order by reason, key"
    )
    return database
