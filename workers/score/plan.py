"""What a run has to do: listed objects without the unchanged ones, cut into shards, fixed before anything is scored.

    <output>/runs/<run_id>/plan/<attempt>-000042.parquet   key, etag, size_bytes, last_modified: the rows of shard 42
    <output>/runs/<run_id>/plan.json                       written last and once: names the attempt whose parts count

So a run that continues works on the very same objects, whatever happens to the bucket meanwhile. Attempts that plan at
the same time write their own parts; the first ``plan.json`` wins.
"""

from __future__ import annotations

import tempfile
import uuid
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Annotated, Any, Literal, Self

import duckdb
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
from pydantic import BaseModel, ConfigDict, Field, ValidationError

from workers.errors import ConditionFailed, ObjectMissing, SettingsError, StorageError
from workers.score.inventory import Source
from workers.storage import ObjectInfo, Store
from workers.tags import list_shards, object_schema, read_parquet, read_shards

_LISTED = pa.schema([object_schema().field(name) for name in ("key", "etag", "size_bytes", "last_modified")])
_ROWS_AT_ONCE = 50_000
_MEMORY = "1GB"  # Of the join; what does not fit goes to the temporary folder.


class Plan(BaseModel):
    """The content of ``plan.json``."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    format: Literal[1] = 1
    run_id: str
    fingerprint: str
    """Of the work: input, selection, engine, columns."""
    parts: str
    """Front of the names of the parts that count."""
    listed: Annotated[int, Field(ge=0)]
    skipped: Annotated[int, Field(ge=0)]
    """Unchanged since an earlier run scored them with the same engine."""
    shard_rows: Annotated[int, Field(ge=1)]
    created_at: datetime

    @property
    def rows(self) -> int:
        """Objects to score."""
        return self.listed - self.skipped

    @property
    def num_shards(self) -> int:
        """Shards that these objects make; all are full but the last."""
        return -(-self.rows // self.shard_rows)

    def rows_of(self, shard: int) -> int:
        """Objects in one shard."""
        return min(self.shard_rows, self.rows - shard * self.shard_rows)

    def part_key(self, shard: int) -> str:
        """The key of a shard's part under the output."""
        return f"runs/{self.run_id}/plan/{self.parts}-{shard:06d}.parquet"


def plan_key(run_id: str) -> str:
    """The key of ``plan.json`` under the output."""
    return f"runs/{run_id}/plan.json"


def read_plan(output: Store, run_id: str) -> Plan | None:
    """The plan of a run, or None when it has none yet.

    Raises:
        StorageError: If it cannot be understood.
    """
    key = plan_key(run_id)
    try:
        return Plan.model_validate_json(output.get(key).data)
    except ObjectMissing:
        return None
    except ValidationError as error:
        raise StorageError("read", output.uri(key), "it is not a plan of this release; start another --run") from error


def read_part(output: Store, plan: Plan, shard: int) -> pa.Table:
    """The objects of one shard, in the order of its rows."""
    return read_parquet(output, plan.part_key(shard)).select(_LISTED.names).cast(_LISTED)


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
            columns: dict[str, Any] = {name: [getattr(info, name) for info in batch] for name in _LISTED.names}
            table = pa.table(columns, _LISTED).append_column("position", pa.array(range(count, count + len(batch))))
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
        rest = _LISTED.empty_table()
        for batch in reader:
            rest = pa.concat_tables([rest, pa.Table.from_batches([batch]).cast(_LISTED)])
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
