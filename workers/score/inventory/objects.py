"""All ways to know what there is, as one stream."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import PurePosixPath

import pyarrow as pa
import pyarrow.compute as pc

from workers.errors import SettingsError
from workers.runs.plan import LISTED
from workers.score.inventory.key_list import read_key_list
from workers.score.inventory.listing import list_source
from workers.score.inventory.notes import ListingNotes
from workers.score.inventory.s3_inventory import MANIFEST, read_s3_inventory
from workers.score.inventory.selection import Selection, select
from workers.score.inventory.source import Source
from workers.storage import S3Store, Store, split_uri

_OURS = r"(tags/run=|runs/).*\.(parquet|json)"
"""What we write under an output: shards (``workers.tags``), plans and records (``workers.runs``), notes of a listing,
pointers and leases (``workers.score``). A photograph that a person keeps in a folder ``runs`` is none of it."""


def list_objects(
    source: Source,
    selection: Selection,
    output: Store,
    inventory: str | None = None,
    notes: ListingNotes | None = None,
) -> Iterator[pa.Table]:
    """Every object that is wanted, with the key that its row will carry, as tables of ``LISTED`` in no certain order.

    Left out are folder markers (empty, the key ends in a slash) and our own files under the output, which may lie
    inside of the source, above it, or be the same place; whatever else lies there is an object like any other. A list
    may name an object twice.

    Args:
        source: Where the objects are.
        selection: Which of them are wanted. With a limit they come in the store's own order.
        output: Where the tags go.
        inventory: URI or path of a list of keys, instead of asking the store.
        notes: Of the run, to go on where an earlier attempt at listing broke off.

    Raises:
        SettingsError: If the inventory cannot be used, or names objects that are not of this source.
        StorageError: At the first table, if there is no such bucket or folder, or the credentials do not reach it.
    """
    if inventory is None:
        tables = list_source(source, in_order=selection.limit is not None, notes=notes)
    else:
        tables = _from_list(source, inventory)
    return select(_without_ours(tables, source, output), source.prefix, selection)


def _without_ours(tables: Iterator[pa.Table], source: Source, output: Store) -> Iterator[pa.Table]:
    root, base = (f"{store.root.rstrip('/')}/" for store in (source.store, output))
    if not base.startswith(root):
        return tables
    ours = f"(?s)^{re.escape(base.removeprefix(root))}{_OURS}$"
    return (table.filter(pc.invert(pc.match_substring_regex(table["key"], ours))) for table in tables)


def _from_list(source: Source, inventory: str) -> Iterator[pa.Table]:
    store, name = split_uri(inventory)
    is_manifest = PurePosixPath(name).name == MANIFEST
    for table in read_s3_inventory(store, name) if is_manifest else read_key_list(store, name):
        mine = _of_source(source, table, inventory)
        if source.prefix:
            mine = mine.filter(pc.starts_with(mine["key"], source.prefix))
        yield mine


def _of_source(source: Source, table: pa.Table, inventory: str) -> pa.Table:
    """Keys as the source's store knows them.

    Raises:
        SettingsError: If a row names another bucket, or a path that leaves the folder.
    """
    bucket = source.store.bucket if isinstance(source.store, S3Store) else None
    if "bucket" in table.column_names:
        others = table.filter(pc.not_equal(table["bucket"], bucket or ""))
        if bucket is not None and others.num_rows:
            raise SettingsError(
                f"--inventory {inventory} lists the bucket {others['bucket'][0]}, and --input is {source.uri}"
            )
        table = table.drop_columns("bucket")
    key, root = table["key"], f"{source.store.root}/"
    below = pc.starts_with(key, root)
    if pc.any(below).as_py():
        key = pc.if_else(below, pc.utf8_slice_codeunits(key, len(root)), key)
    strange = pc.match_substring_regex(key, "^s3://" if bucket else r"^/|(^|/)\.\.(/|$)|://")
    if pc.any(strange).as_py():
        raise SettingsError(f"--inventory {inventory} names {key.filter(strange)[0]}, which is not in {source.uri}")
    return table.set_column(0, LISTED.field("key"), key)
