"""Rows -> shards. Rows arrive in any order; a shard is written when it is whole, at once, and only once."""

from __future__ import annotations

import time
from collections import Counter, deque
from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, field

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from workers.runs.plan import Plan
from workers.runs.record import Work
from workers.score.predict import STAGE_COLUMNS
from workers.storage import Store
from workers.tags import ShardName, write_shard

_WRITERS = 4


@dataclass(frozen=True, kw_only=True)
class Committed:
    """A shard that is written."""

    shard: int
    rows: int
    reasons: dict[str, int]
    """Failed rows by reason."""
    size_bytes: int | None
    """None when another attempt had written it before."""
    work: Work
    confidence: NDArray[np.float32]
    """Of the rows that are ok."""
    focus: NDArray[np.float32]
    """Of the rows that have one."""
    labels: dict[str, int]
    """Rows that are ok, by label."""


@dataclass
class _Pending:
    """Rows of a shard that is not whole yet."""

    tables: list[pa.Table] = field(default_factory=list)
    seen: set[int] = field(default_factory=set)


class Committer:
    """Collects rows by shard. Lives in the driver: what it holds dies with the attempt, and the next one asks again."""

    def __init__(self, output: Store, plan: Plan, schema: pa.Schema) -> None:
        """Args: schema: Of a shard, with the file's metadata."""
        self._output, self._plan, self._schema = output, plan, schema
        self._pending: dict[int, _Pending] = {}
        self._pool = ThreadPoolExecutor(_WRITERS, thread_name_prefix="commit")
        self._writing: deque[Future[Committed]] = deque()

    def add(self, rows: pa.Table) -> Iterator[Committed]:
        """Take in rows of any shards; gives the shards that were written meanwhile.

        Args:
            rows: Columns of the tag table and ``STAGE_COLUMNS``. A row that is here already is dropped: a task that Ray
                repeats may bring it twice.
        """
        for shard in pc.unique(rows["shard"]).to_pylist():
            mine = rows.filter(pc.equal(rows["shard"], shard))
            pending = self._pending.setdefault(shard, _Pending())
            positions = mine["position"].to_pylist()
            fresh = [position not in pending.seen for position in positions]
            pending.tables.append(mine if all(fresh) else mine.filter(pa.array(fresh)))
            pending.seen.update(positions)
            if len(pending.seen) == self._plan.rows_of(shard):
                self._writing.append(self._pool.submit(self._write, shard, self._pending.pop(shard).tables))
        while self._writing and (self._writing[0].done() or len(self._writing) > 2 * _WRITERS):
            yield self._writing.popleft().result()

    def finish(self) -> Iterator[Committed]:
        """Wait for the shards that are being written. Shards that are not whole are forgotten."""
        self._pending.clear()
        while self._writing:
            yield self._writing.popleft().result()

    def close(self) -> None:
        """End the writers. A shard that is being written is still written whole."""
        self._pool.shutdown(cancel_futures=True)

    def _write(self, shard: int, tables: list[pa.Table]) -> Committed:
        begun, cpu_begun = time.perf_counter(), time.thread_time()
        rows = pa.concat_tables(tables).sort_by("position")
        table = rows.select(self._schema.names).cast(self._schema).replace_schema_metadata(self._schema.metadata)
        name = ShardName(run_id=self._plan.run_id, index=shard)
        size_bytes = write_shard(self._output, name, table)
        total = {name: pc.sum(rows[name]).as_py() or 0 for name in STAGE_COLUMNS[3:]}
        return Committed(
            shard=shard,
            rows=table.num_rows,
            reasons=dict(Counter(reason for reason in table["reason"].to_pylist() if reason is not None)),
            size_bytes=size_bytes,
            work=Work(
                images=table.num_rows,
                commit_s=time.perf_counter() - begun,
                commit_cpu_s=time.thread_time() - cpu_begun,
                **total,
            ),
            confidence=_numbers(table["confidence"]),
            focus=_numbers(table["focus"]),
            labels=dict(Counter(label for label in table["label"].to_pylist() if label is not None)),
        )


def _numbers(column: pa.ChunkedArray) -> NDArray[np.float32]:
    numbers: NDArray[np.float32] = column.drop_null().to_numpy()
    return numbers
