"""Making a plan: the listing, less what an earlier run did, joined on disk and cut into shards."""

from __future__ import annotations

import contextlib
import itertools
import tempfile
import uuid
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Self

import duckdb
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from workers.errors import ConditionFailed, StorageError
from workers.runs.plan import LISTED, Plan, other_work, plan_key, read_plan
from workers.score.inventory import Source
from workers.storage import Store
from workers.tags import ShardName, list_shards, read_metadata, read_shards

_MEMORY = "64MB"  # Of the join; what does not fit goes to the temporary folder.
_THREADS = 1  # Each sorts in memory of its own: with eight of them a million keys do not fit into twice as much.
_WRITERS = 8

QUARANTINE = ("not_an_image", "unsupported", "truncated", "decode_error")
"""Reasons that lie in the object itself: the same bytes fail again. Not ``too_large``: a run may have other limits."""
_TRIES = 5


@dataclass(frozen=True, kw_only=True)
class PlanRequest:
    """A plan to be made."""

    run_id: str
    fingerprint: str
    engine: str
    """Rows of another engine do not count as done."""
    shard_rows: int
    now: datetime
    skip_quarantined: bool = False
    """Whether an object that failed for a reason of its own counts as done."""


@dataclass(frozen=True, kw_only=True)
class Pending:
    """What a plan would hold."""

    listed: int
    listed_bytes: int
    objects: int
    size_bytes: int
    """Of the objects that are to be scored; those of unknown size count as nothing."""


def find_or_make_plan(
    output: Store, source: Source, objects: Callable[[], Iterator[pa.Table]], request: PlanRequest
) -> Plan:
    """The plan of a run; made when there is none yet.

    Raises:
        SettingsError: If the run was planned for another input, selection or engine.
    """
    plan = read_plan(output, request.run_id) or _make(output, source, objects(), request)
    if plan.fingerprint != request.fingerprint:
        raise other_work(request.run_id)
    return plan


def foresee(output: Store, source: Source, objects: Iterator[pa.Table], request: PlanRequest) -> Pending:
    """What a plan would hold, without writing anything."""
    with _ledger(output, source, objects, request) as ledger:
        return ledger.totals()


def _make(output: Store, source: Source, objects: Iterator[pa.Table], request: PlanRequest) -> Plan:
    plan = Plan(
        run_id=request.run_id,
        fingerprint=request.fingerprint,
        parts=uuid.uuid4().hex[:8],
        listed=0,
        skipped=0,
        shard_rows=request.shard_rows,
        created_at=request.now,
    )

    def write(numbered: tuple[int, pa.Table]) -> None:
        shard, part = numbered
        output.put(plan.part_key(shard), _parquet(part))

    with _ledger(output, source, objects, request) as ledger, ThreadPoolExecutor(_WRITERS) as pool:
        listed = ledger.totals().listed
        parts, rows = enumerate(ledger.pending(request.shard_rows)), 0
        while some := list(itertools.islice(parts, 4 * _WRITERS)):
            list(pool.map(write, some))
            rows += sum(part.num_rows for _, part in some)
    return _agreed(output, plan.model_copy(update={"listed": listed, "skipped": listed - rows}))


def _agreed(output: Store, plan: Plan) -> Plan:
    """Make this the plan of its run, unless there is one; gives the one that counts.

    Raises:
        StorageError: If the store neither takes the plan nor shows another.
    """
    for _ in range(_TRIES):
        with contextlib.suppress(ConditionFailed):
            output.put(plan_key(plan.run_id), (plan.model_dump_json(indent=2) + "\n").encode(), if_absent=True)
            return plan
        # No plan there: two wrote at the same moment, and the store refused both.
        if (there := read_plan(output, plan.run_id)) is not None:
            if there.parts != plan.parts:  # Else it is ours: it arrived, and only its answer was lost.
                _forget(output, plan)
            return there
    raise StorageError("write", output.uri(plan_key(plan.run_id)), "the store refuses it each time; start again later")


@contextlib.contextmanager
def _ledger(output: Store, source: Source, objects: Iterator[pa.Table], request: PlanRequest) -> Iterator[_Ledger]:
    with tempfile.TemporaryDirectory(prefix="lga-plan-") as folder, _Ledger(Path(folder)) as ledger:
        ledger.add_listed(objects)
        ledger.add_done(_done(output, source, request))
        yield ledger


def _done(output: Store, source: Source, request: PlanRequest) -> Iterator[pa.Table]:
    """Every row that this engine wrote of an object of this source: its key and etag, when, and whether it stands."""
    for _name, table in read_shards(
        output, _of_equal_work(output, source, request), ["key", "etag", "status", "reason", "scored_at"]
    ):
        stands = pc.equal(table["status"], "ok")
        if request.skip_quarantined:
            stands = pc.or_(stands, pc.fill_null(pc.is_in(table["reason"], pa.array(QUARANTINE)), fill_value=False))
        # A list of keys alone knows no ETags, and so not what is unchanged.
        stands = pc.and_(stands, pc.fill_null(pc.not_equal(table["etag"], ""), fill_value=False))
        yield table.select(["key", "etag", "scored_at"]).append_column("stands", stands)


def _of_equal_work(output: Store, source: Source, request: PlanRequest) -> Iterator[ShardName]:
    """Shards of earlier runs of this engine over this bucket. One look at a run's first shard tells it for all."""
    earlier = (name for name in list_shards(output) if name.run_id != request.run_id)
    wanted = {b"namespace": source.namespace.encode(), b"engine": request.engine.encode()}
    run_id, is_equal = None, False
    for name in earlier:
        if name.run_id != run_id:
            # Equal keys in another bucket are other objects.
            run_id, is_equal = name.run_id, wanted.items() <= read_metadata(output, name).items()
        if is_equal:
            yield name


class _Ledger:
    """Listed and done objects, joined on disk: memory does not grow with their number."""

    def __init__(self, folder: Path) -> None:
        self._database = duckdb.connect(str(folder / "plan.duckdb"))
        self._database.execute(f"set memory_limit = '{_MEMORY}'")
        self._database.execute(f"set threads = {_THREADS}")
        self._database.execute(f"set temp_directory = '{folder / 'spill'}'")
        self._database.execute("set preserve_insertion_order = false")
        self._database.execute("set enable_progress_bar = false")
        self._database.execute("set timezone = 'UTC'")
        self._database.execute("create table done (key varchar, etag varchar, scored_at timestamptz, stands bool)")
        self._database.execute(
            "create table listed (key varchar, etag varchar, size_bytes bigint, last_modified timestamptz)"
        )

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_error: object) -> None:
        self._database.close()

    def add_listed(self, tables: Iterable[pa.Table]) -> None:
        """Take in the listing."""
        for table in tables:
            self._insert("listed", table.set_column(2, "size_bytes", pc.fill_null(table["size_bytes"], 0)))

    def add_done(self, tables: Iterable[pa.Table]) -> None:
        """Take in the rows of earlier runs; those that need no scoring again are kept.

        The latest row of an object is what readers see. An object that was overwritten and is again what it once was
        has to be scored again: its latest row is of the bytes between.
        """
        for table in tables:
            self._insert("done", table)
        self._database.execute(
            """
            delete from done
            using (select key, max(scored_at) as scored_at from done group by key having count(*) > 1) as latest
            where done.key = latest.key and done.scored_at < latest.scored_at
            """
        )
        self._database.execute("delete from done where not stands")

    def totals(self) -> Pending:
        """How much there is, and how much of it is to be scored."""
        counts = "count(distinct key), coalesce(sum(size_bytes), 0)"
        (listed, listed_bytes), (objects, size_bytes) = (
            self._database.sql(f"select {counts} from {table}").fetchall()[0]  # noqa: S608 - our own two tables
            for table in ("listed", "listed anti join done using (key, etag)")
        )
        return Pending(listed=listed, listed_bytes=int(listed_bytes), objects=objects, size_bytes=int(size_bytes))

    def pending(self, rows: int) -> Iterator[pa.Table]:
        """What is listed and not done, cut into tables of so many rows.

        The order is that of the keys' digests: the same objects make the same shards, however they were listed; each
        shard is a random sample of all; and neighbours in a bucket, which share a partition of S3, are asked for at
        different times.
        """
        reader = self._database.sql(
            """
            select key, any_value(etag) as etag, any_value(size_bytes) as size_bytes,
                any_value(last_modified) as last_modified
            from listed anti join done using (key, etag)
            group by key order by md5_number_lower(key), key
            """
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
