"""The shards of an output as files on this machine, for programs that read many of them at once (DuckDB)."""

from __future__ import annotations

import glob
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import TYPE_CHECKING

from workers.errors import SettingsError, StorageError
from workers.storage import FolderStore, Store
from workers.tags.shards import ShardName, list_shards

if TYPE_CHECKING:
    from duckdb import DuckDBPyConnection

_READERS = 16


def local_files(output: Store, folder: Path, run_id: str | None = None) -> list[Path]:
    """The shards as files: where they are, or copies below ``folder``.

    Args:
        output: Where the tags are.
        folder: For copies; the caller removes it.
        run_id: Only the shards of this run.

    Raises:
        StorageError: If a shard cannot be read, or there is no room for its copy.
    """
    names = list(list_shards(output, run_id))
    if isinstance(output, FolderStore):
        return [output.path / name.key for name in names]

    def copy(name: ShardName) -> Path:
        path, data = folder / name.key, output.get(name.key).data
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(data)
        except OSError as error:
            reason = f"{error.strerror or error}; the tags are copied to this machine: set TMPDIR to a folder with room"
            raise StorageError("write", str(path), reason) from error
        return path

    with ThreadPoolExecutor(_READERS) as pool:
        return list(pool.map(copy, names))


def attach_shards(database: DuckDBPyConnection, files: Sequence[Path], view: str) -> None:
    """Make a view of every row, and the table ``namespaces``: the bucket or folder (``namespace``) of each ``run_id``.

    One look at a run's first shard tells it for all.

    Raises:
        duckdb.Error: If the files are no shards.
    """
    first_of_run = {path.parent: _pattern(path) for path in reversed(files)}
    # Runs of different models differ in columns and in lengths of lists: they meet by name.
    rows = database.read_parquet([_pattern(path) for path in files], union_by_name=True, hive_partitioning=False)
    rows.create_view(view)
    database.execute(
        """
        create table namespaces as
        select regexp_extract(file_name, 'run=([^/]+)/[^/]+$', 1) as run_id, decode(value) as namespace
        from parquet_kv_metadata(?) where decode(key) = 'namespace'
        """,
        [list(first_of_run.values())],
    )


def refuse_several_inputs(database: DuckDBPyConnection, rows: str, *, named: str, way_out: str) -> None:
    """See that rows are of one bucket or folder: equal keys of two are two objects.

    Args:
        database: Has the table ``namespaces`` of ``attach_shards``.
        rows: SQL that selects the rows.
        named: What names objects by their keys alone, for the message.
        way_out: How to choose one input, for the message.

    Raises:
        SettingsError: If they are of several.
    """
    inputs = database.sql(
        f"select distinct namespace from ({rows}) left join namespaces using (run_id) order by 1"  # noqa: S608 - ours
    ).fetchall()
    if len(inputs) > 1:
        told = ", ".join(namespace or "(not told)" for (namespace,) in inputs)
        raise SettingsError(f"{named} by their keys alone, and these are of several inputs ({told}); {way_out}")


def _pattern(path: Path) -> str:
    """As DuckDB reads paths, where ``[12]`` stands for one of two digits."""
    return glob.escape(str(path))
