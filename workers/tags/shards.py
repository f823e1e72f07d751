"""Where shards lie, how they are written and read, and which row of an object is its latest.

``<output>/tags/run=<run_id>/shard-000042.parquet``: one shard is one object, written once, on condition that it is not
there yet.
"""

from __future__ import annotations

import io
import re
from collections import deque
from collections.abc import Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass

import pyarrow as pa
import pyarrow.parquet as pq
from typing_extensions import Buffer, override

from workers.errors import ConditionFailed, ObjectMissing, StorageError
from workers.storage import Store

LATEST_ROWS = """
    select * exclude (namespace) from {table}
    qualify row_number() over (partition by namespace, key order by scored_at desc, run_id desc) = 1
"""
"""SQL of the latest row of each object; of two rows of the same moment, the later run's.

Equal keys of two namespaces (buckets, or folders) are two objects. The namespace is no column of a shard: it follows
from the run, and the table has to bring it along.
"""

_SHARD_KEY = re.compile(r"tags/run=(?P<run_id>[^/]+)/shard-(?P<index>\d{6,})\.parquet")
_READERS = 8
_TAIL_BYTES = 64 * 1024  # Where a Parquet file's description stands, and all of a small file.
_AHEAD_BYTES = 1024 * 1024


class RangedFile(io.RawIOBase):
    """An object as a file for reading, by ranges: what is not asked for is not transferred.

    Keeps the last 64 KiB, and 1 MiB ahead of where small reads go on one after the other.
    """

    def __init__(self, store: Store, key: str) -> None:
        """Raises: StorageError: If it cannot be read."""
        tail = store.get_range(key, -_TAIL_BYTES, _TAIL_BYTES)
        self._store, self._key, self._size, self._position = store, key, tail.size_bytes, 0
        self._tail_start, self._tail = tail.size_bytes - len(tail.data), tail.data
        self._ahead_start, self._ahead = 0, b""
        self._last_stop = 0

    @override
    def readable(self) -> bool:
        return True

    @override
    def seekable(self) -> bool:
        return True

    @override
    def tell(self) -> int:
        return self._position

    @override
    def seek(self, offset: int, whence: int = io.SEEK_SET) -> int:
        self._position = offset + {io.SEEK_SET: 0, io.SEEK_CUR: self._position, io.SEEK_END: self._size}[whence]
        return self._position

    @override
    def readinto(self, buffer: Buffer) -> int:
        view = memoryview(buffer).cast("B")
        data = self._read(self._position, min(len(view), self._size - self._position))
        view[: len(data)] = data
        self._position += len(data)
        return len(data)

    @override
    def read(self, size: int | None = -1) -> bytes:
        rest = self._size - self._position
        data = self._read(self._position, rest if size is None or size < 0 else min(size, rest))
        self._position += len(data)
        return data

    def _read(self, start: int, length: int) -> bytes:
        if length <= 0:
            return b""
        if start >= self._tail_start:
            return self._tail[start - self._tail_start :][:length]
        if not self._ahead_start <= start <= start + length <= self._ahead_start + len(self._ahead):
            # Reading on from where the last read ended is reading through: then more comes at once.
            wanted = max(length, _AHEAD_BYTES) if start == self._last_stop else length
            self._ahead_start, self._ahead = start, self._store.get_range(self._key, start, wanted).data
        self._last_stop = start + length
        return self._ahead[start - self._ahead_start :][:length]


@dataclass(frozen=True, kw_only=True)
class ShardName:
    """One shard that is there."""

    run_id: str
    index: int

    @property
    def key(self) -> str:
        """Its key under the output."""
        return shard_key(self.run_id, self.index)


def shard_key(run_id: str, index: int) -> str:
    """The key of a shard under the output."""
    return f"tags/run={run_id}/shard-{index:06d}.parquet"


def latest_rows_view(table: str, view: str) -> str:
    """SQL that makes the view of the latest row of each object, beside the table that ``attach_shards`` makes."""
    return f"create view {view} as {LATEST_ROWS.format(table=f'{table} left join namespaces using (run_id)')}"


def list_shards(output: Store, run_id: str | None = None) -> Iterator[ShardName]:
    """The shards under an output, or those of one run, streamed. Files of other names are not ours, and left out.

    Nothing is there before the first run; a bucket that is not there is an error.
    """
    try:
        for info in output.list(f"tags/run={run_id}/" if run_id is not None else "tags/run="):
            if match := _SHARD_KEY.fullmatch(info.key):
                yield ShardName(run_id=match["run_id"], index=int(match["index"]))
    except ObjectMissing:
        if output.root.startswith("s3://"):
            raise


def write_shard(output: Store, name: ShardName, table: pa.Table) -> int | None:
    """Commit a shard: all of its rows at once, or none.

    Returns:
        Its size in bytes, or None when another attempt had written it before.
    """
    sink = pa.BufferOutputStream()
    pq.write_table(table, sink, compression="zstd")
    data = sink.getvalue().to_pybytes()
    try:
        output.put(name.key, data, if_absent=True)
    except ConditionFailed:
        return None
    return len(data)


def read_shard(output: Store, name: ShardName, columns: list[str] | None = None) -> pa.Table:
    """Read some columns of a shard; its schema carries the file's metadata.

    Raises:
        StorageError: If it is not there, or is no Parquet file with these columns.
    """
    return read_parquet(output, name.key, columns)


def namespace_of(shard: pa.Table) -> str:
    """The bucket or folder whose objects a shard that was read is about; empty when it does not say so."""
    namespace: bytes = (shard.schema.metadata or {}).get(b"namespace", b"")
    return namespace.decode()


def read_metadata(output: Store, name: ShardName) -> dict[bytes, bytes]:
    """The facts in a shard's own metadata, the same in all shards of a run. Errors as ``read_shard``."""
    return dict(read_parquet(output, name.key, []).schema.metadata or {})


def read_parquet(store: Store, key: str, columns: list[str] | None = None) -> pa.Table:
    """Read some columns of a Parquet object, and no more of its bytes than they take. Errors as ``read_shard``."""
    try:
        with RangedFile(store, key) as file, pq.ParquetFile(file, pre_buffer=True) as parquet:
            # The file's own thread pool would compete with the readers of the other shards.
            table = parquet.read(columns=columns, use_threads=False)
            return table if columns is None else table.select(columns)
    except (pa.ArrowException, OSError, KeyError) as error:
        told = next(iter(str(error).splitlines()), type(error).__name__)
        raise StorageError("read", store.uri(key), f"it is not a table of ours ({told})") from error


def read_shards(
    output: Store, names: Iterable[ShardName], columns: list[str] | None = None
) -> Iterator[tuple[ShardName, pa.Table]]:
    """Read many shards, some of them ahead, in their order. Memory does not grow with their number."""
    with ThreadPoolExecutor(_READERS) as pool:
        ahead: deque[tuple[ShardName, Future[pa.Table]]] = deque()
        try:
            for name in names:
                ahead.append((name, pool.submit(read_shard, output, name, columns)))
                if len(ahead) > _READERS:
                    first, table = ahead.popleft()
                    yield first, table.result()
            for name, table in ahead:
                yield name, table.result()
        finally:
            pool.shutdown(wait=False, cancel_futures=True)
