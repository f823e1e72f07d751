"""S3 Inventory: the list of a bucket that S3 itself writes every day, found through its ``manifest.json``.

The manifest names the data files by their keys in the bucket that they were delivered to. CSV files have no first line
(the manifest holds the names) and their keys are URL-encoded; those in Parquet are not.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import PurePosixPath
from typing import Literal
from urllib.parse import unquote_plus

import pyarrow as pa
from pydantic import BaseModel, ConfigDict, Field, ValidationError

from workers.errors import SettingsError
from workers.score.inventory.key_list import read_csv_list, read_parquet_list
from workers.score.inventory.listing import side_by_side
from workers.storage import FolderStore, S3Store, Store

MANIFEST = "manifest.json"

_READERS = 4


class _File(BaseModel):
    key: str
    size: int = 0


class _Manifest(BaseModel):
    """What counts of ``manifest.json``."""

    model_config = ConfigDict(extra="ignore")

    source_bucket: str = Field(alias="sourceBucket")
    format: Literal["CSV", "Parquet"] = Field(alias="fileFormat")
    schema_text: str = Field(alias="fileSchema", default="")
    files: list[_File]


def read_s3_inventory(store: Store, key: str) -> Iterator[pa.Table]:
    """Tables of ``LISTED`` and a text column ``bucket``.

    Args:
        store: Where the manifest is; of a bucket that holds S3's own delivery, or a folder that it was copied to.
        key: The manifest's name.

    Raises:
        SettingsError: If it is no manifest of CSV or Parquet files.
        StorageError: If a file cannot be read.
    """
    try:
        manifest = _Manifest.model_validate_json(store.get(key).data)
    except ValidationError as error:
        first = error.errors(include_url=False)[0]
        where = ".".join(str(part) for part in first["loc"])
        raise SettingsError(
            f"--inventory {store.uri(key)} is no manifest of S3 Inventory in CSV or Parquet ({where}: {first['msg']})"
        ) from error
    root = _root(store, key, manifest)

    def read(file: _File) -> Iterator[pa.Table]:
        if manifest.format == "Parquet":
            tables = read_parquet_list(root, file.key)
        else:
            names = [name.strip() for name in manifest.schema_text.split(",")]
            tables = map(_decoded, read_csv_list(root, file.key, names))
        for table in tables:
            yield _with_bucket(table, manifest.source_bucket)

    yield from side_by_side(manifest.files, read, _READERS)


def _root(store: Store, key: str, manifest: _Manifest) -> Store:
    """The store that the keys of the data files are relative to."""
    if isinstance(store, S3Store):
        return S3Store(store.bucket)
    assert isinstance(store, FolderStore)  # noqa: S101 - there are two kinds of stores
    above = [store.path, *store.path.parents]
    for folder in above:
        if not manifest.files or (folder / manifest.files[0].key).is_file():
            return FolderStore(folder)
    # A copy of the delivery without its folders.
    if all((store.path / PurePosixPath(file.key).name).is_file() for file in manifest.files):
        for file in manifest.files:
            file.key = PurePosixPath(file.key).name
        return store
    raise SettingsError(
        f"--inventory {store.uri(key)} names {manifest.files[0].key}, which lies neither beside it nor above it"
    )


def _decoded(table: pa.Table) -> pa.Table:
    keys = table["key"].to_pylist()
    if any("%" in key or "+" in key for key in keys):
        table = table.set_column(0, "key", pa.array([unquote_plus(key) for key in keys], pa.string()))
    return table


def _with_bucket(table: pa.Table, bucket: str) -> pa.Table:
    if "bucket" in table.column_names:
        return table
    return table.append_column("bucket", pa.repeat(pa.scalar(bucket, pa.string()), table.num_rows))
