"""Making a plan: the listing, less what an earlier run did, joined on disk and cut into shards."""

from __future__ import annotations

import tempfile
import uuid
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any, Self

import duckdb
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from workers.errors import ConditionFailed, SettingsError
from workers.runs.plan import LISTED, Plan, plan_key, read_plan
from workers.score.inventory import Source
from workers.storage import ObjectInfo, Store
from workers.tags import list_shards, read_shards

_ROWS_AT_ONCE = 50_000
_MEMORY = "1GB"  # Of the join; what does not fit goes to the temporary folder.


@dataclass(frozen=True, kw_only=True)
class PlanRequest:
    """A plan to be made."""

    run_id: str
    fingerprint: str
    engine: str
    """Rows of another engine do not count as done."""
    shard_rows: int
    now: datetime


def find_or_make_plan(output: Store, source: Source, objects: Iterable[ObjectInfo], request: PlanRequest) -> Plan:
    """The plan of a run; made when there is none yet.

    Raises:
        SettingsError: If the run was planned for another input, selection or engine.
    """
    plan = read_plan(output, request.run_id) or _make(output, source, objects, request)
    if plan.fingerprint != request.fingerprint:
        raise SettingsError(
            f"run {request.run_id} was started with another input, selection or engine; give those again, "
            "or choose another --run"
        )
    return plan


def _make(output: Store, source: Source, objects: Iterable[ObjectInfo], request: PlanRequest) -> Plan:
    plan = Plan(
        run_id=request.run_id,
        fingerprint=request.fingerprint,
        parts=uuid.uuid4().hex[:8],
        listed=0,
        skipped=0,
        shard_rows=request.shard_rows,
        created_at=request.now,
    )
    rows = 0
    with tempfile.TemporaryDirectory(prefix="lga-plan-") as folder, _Ledger(Path(folder)) as ledger:
        listed = ledger.add_listed(iter(objects))
        ledger.add_done(_done(output, source, request))
        for shard, part in enumerate(ledger.pending(request.shard_rows)):
            output.put(plan.part_key(shard), _parquet(part))
            rows += part.num_rows
    plan = plan.model_copy(update={"listed": listed, "skipped": listed - rows})
    try:
        output.put(plan_key(plan.run_id), (plan.model_dump_json(indent=2) + "\n").encode(), if_absent=True)
    except ConditionFailed:
        _forget(output, plan)
        plan = read_plan(output, plan.run_id) or plan
    return plan


def _done(output: Store, source: Source, request: PlanRequest) -> Iterator[pa.Table]:
    """Key and etag of every object of this source that an earlier run scored with this engine."""
    earlier = (name for name in list_shards(output) if name.run_id != request.run_id)
    for _name, table in read_shards(output, earlier, ["key", "etag", "status", "engine"]):
        # Equal keys in another bucket are other objects.
        if (table.schema.metadata or {}).get(b"namespace") == source.namespace.encode():
            done = (pc.equal(table["status"], "ok"), pc.equal(table["engine"], request.engine))
            yield table.filter(pc.and_(*done)).select(["key", "etag"])


class _Ledger:
    """Listed and done objects, joined on disk: memory does not grow with their number."""

    def __init__(self, folder: Path) -> None:
        self._database = duckdb.connect(str(folder / "plan.duckdb"))
        self._database.execute(f"set memory_limit = '{_MEMORY}'")
        self._database.execute(f"set temp_directory = '{folder / 'spill'}'")
        self._database.execute("create table done (key varchar, etag varchar)")
        self._database.execute(
            "create table listed (position bigint, key varchar, etag varchar, size_bytes bigint, "
            "last_modified timestamptz)"
        )

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_error: object) -> None:
        self._database.close()

    def add_listed(self, objects: Iterator[ObjectInfo]) -> int:
        """Take in the listing; returns how many objects there are."""
        count = 0
        while batch := [info for info, _ in zip(objects, range(_ROWS_AT_ONCE), strict=False)]:
            columns: dict[str, Any] = {name: [getattr(info, name) for info in batch] for name in LISTED.names}
            table = pa.table(columns, LISTED).append_column("position", pa.array(range(count, count + len(batch))))
            self._insert("listed (key, etag, size_bytes, last_modified, position)", table)
            count += len(batch)
        return count

    def add_done(self, tables: Iterable[pa.Table]) -> None:
        """Take in what needs no scoring."""
        for table in tables:
            self._insert("done (key, etag)", table)

    def pending(self, rows: int) -> Iterator[pa.Table]:
        """What is listed and not done, in the order of the listing, cut into tables of so many rows."""
        reader = self._database.sql(
            "select key, etag, size_bytes, last_modified from listed anti join done using (key, etag) order by position"
        ).to_arrow_reader(rows)
        rest = LISTED.empty_table()
        for batch in reader:
            rest = pa.concat_tables([rest, pa.Table.from_batches([batch]).cast(LISTED)])
            while rest.num_rows >= rows:
                yield rest.slice(0, rows)
                rest = rest.slice(rows)
        if rest.num_rows:
            yield rest

    def _insert(self, target: str, table: pa.Table) -> None:
        self._database.register("incoming", table)
        self._database.execute(f"insert into {target} select * from incoming")  # noqa: S608 - our own two tables
        self._database.unregister("incoming")


def _parquet(table: pa.Table) -> bytes:
    sink = pa.BufferOutputStream()
    pq.write_table(table, sink, compression="zstd")
    data: bytes = sink.getvalue().to_pybytes()
    return data


def _forget(output: Store, plan: Plan) -> None:
    """Remove the parts of an attempt that lost."""
    for shard in range(plan.num_shards):
        output.delete(plan.part_key(shard))
