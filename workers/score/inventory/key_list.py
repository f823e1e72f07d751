"""A list of keys that somebody made: Parquet, CSV or plain text, plain or compressed, read as a stream.

Of a Parquet or CSV file the columns count by name: ``key`` (or ``uri`` or ``path``), and if there are any ``etag``,
``size_bytes`` and ``last_modified``, also as S3 Inventory and `aws s3api` spell them. A text file holds one key in each
line; an empty file is a list of nothing. Without ETags nothing can be known to be unchanged.
"""

from __future__ import annotations

import contextlib
import csv
import io
import itertools
from collections.abc import Iterator
from pathlib import PurePosixPath

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.csv as pacsv
import pyarrow.parquet as pq

from workers.errors import SettingsError
from workers.runs.plan import LISTED
from workers.storage import Store
from workers.tags import RangedFile

_NAMES = {
    "path": "key", "uri": "key", "key": "key", "etag": "etag", "size": "size_bytes", "sizebytes": "size_bytes",
    "lastmodified": "last_modified", "lastmodifieddate": "last_modified", "bucket": "bucket", "islatest": "is_latest",
    "isdeletemarker": "is_delete_marker",
}  # fmt: skip
"""What columns are called, without case and underscores, and what they are. Of several for one the last here counts."""

_ROWS = 20_000
_BLOCK_BYTES = 2 * 1024 * 1024
_BUFFER_BYTES = 1024 * 1024  # Of a column: a row group may be larger than memory.
_NEVER = "\x01"  # A delimiter that no key holds: then a line is one field.


def read_key_list(store: Store, key: str) -> Iterator[pa.Table]:
    """Tables of ``LISTED`` and, where the file has it, a text column ``bucket``. Unknown sizes are null, ETags "".

    Raises:
        SettingsError: If the file has another ending, cannot be understood, or has no column of keys.
        StorageError: If it cannot be read.
    """
    suffixes = [suffix.lower() for suffix in PurePosixPath(key).suffixes]
    kind = next((suffix for suffix in reversed(suffixes) if suffix != ".gz"), "")
    if kind == ".parquet":
        yield from read_parquet_list(store, key)
    elif kind == ".csv":
        yield from read_csv_list(store, key, None)
    elif kind in (".txt", ".lst", ".list"):
        yield from read_csv_list(store, key, ["key"], is_text=True)
    else:
        raise SettingsError(
            f"--inventory {store.uri(key)}: only manifest.json of S3 Inventory, .parquet, .csv and .txt (also .gz) "
            "are understood"
        )


def read_parquet_list(store: Store, key: str) -> Iterator[pa.Table]:
    """A Parquet file. Only the columns that count are transferred. Errors as ``read_key_list``."""
    with (
        _told(store.uri(key)),
        RangedFile(store, key) as file,
        pq.ParquetFile(file, pre_buffer=False, buffer_size=_BUFFER_BYTES) as parquet,
    ):
        columns = [name for name in parquet.schema_arrow.names if _plain(name) in _NAMES]
        for batch in parquet.iter_batches(_ROWS, columns=columns):
            yield normal(pa.Table.from_batches([batch]), store.uri(key))


def read_csv_list(store: Store, key: str, names: list[str] | None, *, is_text: bool = False) -> Iterator[pa.Table]:
    """A CSV file, gzipped when its name says so. Errors as ``read_key_list``.

    Args:
        store: Where it is.
        key: Its name.
        names: Of the columns; None takes them from the first line.
        is_text: Whether a line is a key, whatever it holds.
    """
    with _told(store.uri(key)):
        skip = 0 if names else 1
        names = names or _first_line(store, key)
        with RangedFile(store, key) as file:
            as_text = pacsv.ParseOptions(delimiter=_NEVER, quote_char=False)
            try:
                reader = pacsv.open_csv(
                    _unpacked(file, key),
                    read_options=pacsv.ReadOptions(column_names=names, skip_rows=skip, block_size=_BLOCK_BYTES),
                    parse_options=as_text if is_text else pacsv.ParseOptions(),
                    # All is text at first: a key like 0001 is not a number.
                    convert_options=pacsv.ConvertOptions(column_types=dict.fromkeys(names, pa.string())),
                )
            except pa.ArrowInvalid:
                if _has_line(store, key, skip):
                    raise
                return  # A list of nothing, which Arrow takes for a mistake.
            for batch in reader:
                yield normal(pa.Table.from_batches([batch]), store.uri(key))


def _first_line(store: Store, key: str) -> list[str]:
    with RangedFile(store, key) as file:
        line: str = io.TextIOWrapper(_unpacked(file, key), encoding="utf-8-sig").readline()
    return next(csv.reader([line]), [])


def _has_line(store: Store, key: str, number: int) -> bool:
    with RangedFile(store, key) as file:
        lines = io.TextIOWrapper(_unpacked(file, key), encoding="utf-8-sig")
        return next(itertools.islice(lines, number, None), None) is not None


def _unpacked(file: RangedFile, key: str) -> pa.NativeFile:
    stream = pa.PythonFile(file, mode="r")
    return pa.CompressedInputStream(stream, "gzip") if key.lower().endswith(".gz") else stream


def normal(table: pa.Table, uri: str) -> pa.Table:
    """Columns under our names and types; versions that are not the latest, and delete markers, are left out.

    Raises:
        SettingsError: If there are no keys, or a size or time is none.
    """
    given = dict(zip(map(_plain, table.column_names), table.columns, strict=True))
    found = {meaning: given[name] for name, meaning in _NAMES.items() if name in given}
    if "key" not in found:
        raise SettingsError(f"--inventory {uri} has no column `key` (it has: {', '.join(table.column_names)})")
    try:
        columns = {
            "key": pc.cast(found["key"], pa.string()),
            "etag": _texts(found.get("etag"), table.num_rows),
            "size_bytes": _sizes(found.get("size_bytes"), table.num_rows),
            "last_modified": _times(found.get("last_modified"), table.num_rows),
        }
    except pa.ArrowException as error:
        raise SettingsError(f"--inventory {uri}: {_reason(error)}") from error
    result = pa.table(columns, LISTED)
    if "bucket" in found:
        result = result.append_column("bucket", pc.cast(found["bucket"], pa.string()))
    return result.filter(_is_there(found, table.num_rows))


def _plain(name: str) -> str:
    return name.lower().replace("_", "").replace(" ", "")


@contextlib.contextmanager
def _told(uri: str) -> Iterator[None]:
    try:
        yield
    except (pa.ArrowException, OSError, UnicodeDecodeError, EOFError) as error:
        raise SettingsError(f"--inventory {uri} cannot be read: {_reason(error)}") from error


def _reason(error: Exception) -> str:
    """Its first line; of an error without text, its name."""
    return (str(error).strip() or type(error).__name__).partition("\n")[0]


def _texts(column: pa.ChunkedArray | None, rows: int) -> pa.ChunkedArray | pa.Array:
    if column is None:
        return pa.repeat(pa.scalar("", pa.string()), rows)
    return pc.utf8_trim(pc.fill_null(pc.cast(column, pa.string()), ""), characters='"')


def _sizes(column: pa.ChunkedArray | None, rows: int) -> pa.ChunkedArray | pa.Array:
    if column is None:
        return pa.nulls(rows, pa.int64())
    return pc.cast(_empty_as_null(column), pa.int64())


def _times(column: pa.ChunkedArray | None, rows: int) -> pa.ChunkedArray | pa.Array:
    kind = LISTED.field("last_modified").type
    if column is None:
        return pa.nulls(rows, kind)
    if pa.types.is_string(column.type):
        # S3 writes ISO 8601 with a zone; a time without one is meant as UTC.
        column = pc.replace_substring_regex(_empty_as_null(column), r"^([^+Z]*[T ][^+Z-]*)$", r"\1Z")
    return pc.cast(column, kind, safe=False)


def _empty_as_null(column: pa.ChunkedArray) -> pa.ChunkedArray:
    if not pa.types.is_string(column.type):
        return column
    return pc.if_else(pc.equal(column, ""), pa.scalar(None, pa.string()), column)


def _is_there(found: dict[str, pa.ChunkedArray], rows: int) -> pa.ChunkedArray | pa.Array:
    """Neither an old version nor a delete marker nor a marker of a folder."""
    key = found["key"]
    keep = pc.and_(pc.is_valid(key), pc.not_equal(pc.cast(key, pa.string()), ""))
    if "is_latest" in found:
        keep = pc.and_(keep, pc.invert(_says(found["is_latest"], ("false", "0"))))
    if "is_delete_marker" in found:
        keep = pc.and_(keep, pc.invert(_says(found["is_delete_marker"], ("true", "1"))))
    if "size_bytes" in found:
        is_marker = pc.and_(pc.ends_with(key, "/"), pc.fill_null(pc.equal(_sizes(found["size_bytes"], rows), 0), False))
        keep = pc.and_(keep, pc.invert(is_marker))
    return pc.fill_null(keep, fill_value=False)


def _says(column: pa.ChunkedArray, words: tuple[str, ...]) -> pa.ChunkedArray:
    """Whether a cell is one of some words, in any case; an empty one is not."""
    return pc.is_in(pc.utf8_lower(pc.cast(column, pa.string())), pa.array(words))
