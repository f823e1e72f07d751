"""``lga runs quarantine``: what could not be scored and has not been since, as a list or as a file."""

from __future__ import annotations

import contextlib
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

import duckdb
import pyarrow as pa
import pyarrow.compute as pc

from workers.console import print_rows
from workers.errors import SettingsError, WorkerError
from workers.runs.listing import chosen_run
from workers.settings import RunsQuarantineSettings
from workers.storage import Store, open_store, split_uri
from workers.tags import LATEST_ROWS, list_shards, namespace_of, read_shards, refuse_several_inputs

_COLUMNS = ["key", "etag", "size_bytes", "last_modified", "status", "reason", "detail", "run_id", "scored_at"]
_FORMATS = {".parquet": "(format parquet)", ".csv": "(format csv, header)", ".jsonl": "(format json)"}


def list_quarantine(settings: RunsQuarantineSettings) -> int:
    """Print the list, or write it to ``--export``."""
    output = open_store(settings.output)
    run_id = None if settings.run is None else chosen_run(output, settings.run)
    suffix = Path(settings.export or "").suffix
    if settings.export and suffix not in _FORMATS:
        raise SettingsError(f"--export {settings.export}: it must end in {', '.join(_FORMATS)}")
    with _quarantine(rows_of(output, run_id, settings.engine), settings.reason) as (database, folder):
        if settings.engine is not None and not database.sql("select 1 from every limit 1").fetchall():
            raise SettingsError(
                f"--engine {settings.engine}: no row under {output.uri()} is of an engine with this fingerprint; "
                "`lga runs show` tells that of a run"
            )
        if settings.export:
            file = folder / f"quarantine{suffix}"
            # A file of keys is read together with one --input.
            refuse_several_inputs(
                database, "from quarantine", named="--export names objects", way_out="choose with --run"
            )
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


def rows_of(output: Store, run_id: str | None, engine: str | None) -> Iterator[pa.Table]:
    """What counts of every row under an output, or of one run's or one engine's, with its namespace."""
    for _name, table in read_shards(output, list_shards(output, run_id), [*_COLUMNS, "engine"]):
        if engine is not None:
            table = table.filter(pc.equal(table["engine"], engine))  # noqa: PLW2901 - the rest of it
        namespace = pa.repeat(namespace_of(table), table.num_rows)
        yield table.select(_COLUMNS).append_column("namespace", namespace).replace_schema_metadata(None)


@contextlib.contextmanager
def _quarantine(
    tables: Iterator[pa.Table], reasons: tuple[str, ...]
) -> Iterator[tuple[duckdb.DuckDBPyConnection, Path]]:
    """A database with the view ``quarantine``, and its folder: memory does not grow with the number of rows.

    Raises:
        WorkerError: If DuckDB cannot hold the rows, or write them.
    """
    names = ", ".join(f"'{reason}'" for reason in reasons)
    wanted = f"and reason in ({names})" if reasons else ""
    with tempfile.TemporaryDirectory(prefix="lga-quarantine-") as folder:
        try:
            with duckdb.connect(str(Path(folder) / "rows.duckdb")) as database:
                database.execute("set timezone = 'UTC'")
                database.execute(
                    "create table every (key varchar, etag varchar, size_bytes bigint, last_modified timestamptz, "
                    "status varchar, reason varchar, detail varchar, run_id varchar, scored_at timestamptz, "
                    "namespace varchar)"
                )
                for table in tables:
                    database.register("incoming", table)
                    database.execute("insert into every from incoming")
                database.execute("create view namespaces as select distinct run_id, namespace from every")
                database.execute(
                    f"create view quarantine as with latest as ({LATEST_ROWS.format(table='every')}) "  # noqa: S608 - a closed set
                    f"select * exclude (status) from latest where status = 'failed' {wanted} order by reason, key"
                )
                yield database, Path(folder)
        except duckdb.Error as error:
            raise WorkerError(
                f"cannot list what failed: {error} (the rows lie in {folder}; set TMPDIR to a folder with room)"
            ) from error
