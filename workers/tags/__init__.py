"""The tag table: its columns, how rows are made, where shards lie, and the view of the latest row of each object.

Jobs share this, not each other: scoring writes it; queries, reports and reviews read it.
"""

from __future__ import annotations

from workers.settings.shared import REASONS
from workers.tags.files import attach_shards, local_files, refuse_several_inputs
from workers.tags.rows import failed, rows
from workers.tags.schema import DETAIL_LENGTH, OBJECT_COLUMNS, Lineage, TagForm, object_schema, tag_schema
from workers.tags.shards import (
    LATEST_ROWS,
    RangedFile,
    ShardName,
    latest_rows_view,
    list_shards,
    namespace_of,
    read_metadata,
    read_parquet,
    read_shard,
    read_shards,
    shard_key,
    write_shard,
)

__all__ = [
    "DETAIL_LENGTH",
    "LATEST_ROWS",
    "OBJECT_COLUMNS",
    "REASONS",
    "Lineage",
    "RangedFile",
    "ShardName",
    "TagForm",
    "attach_shards",
    "failed",
    "latest_rows_view",
    "list_shards",
    "local_files",
    "namespace_of",
    "object_schema",
    "read_metadata",
    "read_parquet",
    "read_shard",
    "read_shards",
    "refuse_several_inputs",
    "rows",
    "shard_key",
    "tag_schema",
    "write_shard",
]
