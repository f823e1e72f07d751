"""Planning a million keys: seconds, peak memory and bytes read, each step in a process of its own.

    inventory    a Parquet list of keys becomes a plan
    delta        the same list, of which 99 % were tagged by an earlier run: until the first image could be fetched
    anti-join    what is listed less what is done, in DuckDB and in pyarrow, on the same tables
    driver       peak memory of planning 10^4 and 10^5 keys

The tags of the earlier run are real shards with 40 classes and 14 x 14 maps. Run it with ``--keys`` for other sizes.
"""

from __future__ import annotations

import argparse
import importlib
import multiprocessing
import re
import tempfile
import time
from collections.abc import Callable, Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import duckdb
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from rich.console import Console
from rich.table import Table

from workers.runs.plan import LISTED
from workers.runtime import memory_of_the_system
from workers.score.inventory import Selection, list_objects, open_source
from workers.score.planning import PlanRequest, find_or_make_plan
from workers.storage import FolderStore, Store
from workers.tags import ShardName, TagForm, tag_schema, write_shard

SHARD_ROWS = 2048
ENGINE = "0123456789abcdef"
SOURCE = "s3://photographs"
NOW = datetime(2026, 1, 2, tzinfo=UTC)
CHANGED = 100  # One key in so many.
FORM = TagForm(classes=tuple(f"action {number}" for number in range(40)), heatmap_hw=(14, 14))


def listing(keys: int) -> pa.Table:
    """Keys and ETags as long as real ones."""
    random = np.random.default_rng(0)
    names = [f"archive/{number // 10_000:05d}/photograph-{number:010d}.jpg" for number in range(keys)]
    digits = random.bytes(16 * keys).hex()
    etags = [digits[start : start + 32] for start in range(0, 32 * keys, 32)]
    sizes = random.integers(50_000, 5_000_000, keys)
    return pa.table(
        {
            "key": names,
            "etag": etags,
            "size_bytes": sizes,
            "last_modified": pa.repeat(pa.scalar(NOW, LISTED.field("last_modified").type), keys),
        },
        LISTED,
    )


def write_tags(output: Store, table: pa.Table) -> None:
    """Shards of an earlier run over a listing; of every hundredth object another version."""
    schema = tag_schema(FORM, {"namespace": SOURCE, "engine": ENGINE})
    random = np.random.default_rng(1)
    for index, start in enumerate(range(0, table.num_rows, SHARD_ROWS)):
        part = table.slice(start, SHARD_ROWS)
        rows = part.num_rows
        changed = (np.arange(start, start + rows) % CHANGED) == 0
        etags = [f"{etag}-old" if old else etag for etag, old in zip(part["etag"].to_pylist(), changed, strict=True)]
        columns: dict[str, Any] = {name: part[name] for name in LISTED.names}
        columns |= {
            "etag": etags,
            "status": ["ok"] * rows,
            "scored_at": pa.repeat(pa.scalar(NOW, schema.field("scored_at").type), rows),
            "engine": [ENGINE] * rows,
            "scores": pa.FixedSizeListArray.from_arrays(pa.array(random.random(rows * 40).astype(np.float16)), 40),
            "heatmap": _maps(random, rows),
            "pam": _maps(random, rows),
        }
        filled = [columns.get(name, pa.nulls(rows, schema.field(name).type)) for name in schema.names]
        write_shard(output, ShardName(run_id="earlier", index=index), pa.table(filled, schema))


def _maps(random: np.random.Generator, rows: int) -> pa.Array:
    return pa.FixedSizeListArray.from_arrays(pa.array(random.integers(0, 256, rows * 196, dtype=np.uint8)), 196)


def plan(folder: Path, output: str, run_id: str) -> dict[str, float]:
    """Plan from the list in a folder, in a process that holds all that the driver of `lga score` holds."""
    importlib.import_module("workers.score.job")
    begun = time.perf_counter()
    source, store = open_source(SOURCE), CountingFolder(folder / output)
    request = PlanRequest(run_id=run_id, fingerprint="f", engine=ENGINE, shard_rows=SHARD_ROWS, now=NOW)
    objects = lambda: list_objects(source, Selection(), store, str(folder / "keys.parquet"))  # noqa: E731
    made = find_or_make_plan(store, source, objects, request)
    facts = {"listed": made.listed, "to score": made.rows, "read MB": store.read_bytes / 1e6}
    return facts | {"seconds": time.perf_counter() - begun}


class CountingFolder(FolderStore):
    """A folder that counts what is read of it."""

    read_bytes = 0

    def get_range(self, key: str, start: int, length: int) -> Any:  # noqa: ANN401 - as the parent's
        """As the parent's."""
        part = super().get_range(key, start, length)
        self.read_bytes += len(part.data)
        return part


def join_duckdb(folder: Path) -> dict[str, float]:
    """The join as the planner does it: on disk, with 64 MB, on one thread."""
    with tempfile.TemporaryDirectory() as spill, duckdb.connect(f"{spill}/join.duckdb") as database:
        database.execute("set memory_limit = '64MB'")
        database.execute("set threads = 1")
        database.execute("set enable_progress_bar = false")
        for name in ("listed", "done"):
            database.execute(f"create table {name} as select key, etag from '{folder / name}.parquet'")  # noqa: S608
        (count,) = database.sql("select count(*) from listed anti join done using (key, etag)").fetchall()[0]
    return {"to score": count}


def join_pyarrow(folder: Path) -> dict[str, float]:
    """The same join in pyarrow, which holds both sides in memory."""
    listed, done = (pq.read_table(folder / f"{name}.parquet", columns=["key", "etag"]) for name in ("listed", "done"))
    return {"to score": listed.join(done, keys=["key", "etag"], join_type="left anti").num_rows}


def alone(function: Callable[..., dict[str, float]], *arguments: object) -> dict[str, float]:
    """Run a step in a fresh process: seconds, CPU seconds, peak memory."""
    context = multiprocessing.get_context("spawn")
    receiver, sender = context.Pipe(duplex=False)
    process = context.Process(target=_measured, args=(sender, function, arguments))
    with memory_of_the_system():  # As the driver has it.
        process.start()
    sender.close()
    figures: dict[str, float] = receiver.recv()
    process.join()
    return figures


def _measured(sender: Any, function: Callable[..., dict[str, float]], arguments: tuple[object, ...]) -> None:  # noqa: ANN401
    begun, cpu = time.perf_counter(), time.process_time()
    figures = function(*arguments)
    figures = {"seconds": time.perf_counter() - begun, "CPU seconds": time.process_time() - cpu} | figures
    # Not ru_maxrss: a process inherits that of the one that started it.
    peak = re.search(r"VmHWM:\s+(\d+) kB", Path("/proc/self/status").read_text())
    figures["peak MB"] = int(peak[1]) / 1024 if peak else float("nan")
    sender.send(figures)


def steps(folder: Path, keys: int) -> Iterator[tuple[str, dict[str, float]]]:
    """Everything that is measured."""
    table = listing(keys)
    pq.write_table(table, folder / "keys.parquet")
    pq.write_table(table.select(["key", "etag"]), folder / "listed.parquet")
    pq.write_table(table.select(["key", "etag"]).filter(np.arange(keys) % CHANGED != 0), folder / "done.parquet")
    yield f"inventory, {keys} keys", alone(plan, folder, "empty", "first")
    write_tags(FolderStore(folder / "tagged"), table)
    del table
    yield f"delta of 1 %, {keys} tagged", alone(plan, folder, "tagged", "second")
    yield "anti-join in DuckDB", alone(join_duckdb, folder)
    yield "anti-join in pyarrow", alone(join_pyarrow, folder)
    for few in (10_000, 100_000):
        pq.write_table(listing(few), folder / "keys.parquet")
        yield f"driver, {few} keys", alone(plan, folder, f"few-{few}", "few")


def main() -> None:
    """Measure and print the table."""
    arguments = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    arguments.add_argument("--keys", type=int, default=1_000_000)
    keys = arguments.parse_args().keys
    columns = ("listed", "to score", "seconds", "CPU seconds", "peak MB", "read MB")
    table = Table(title="planning, each step in a fresh process")
    table.add_column("step")
    for column in columns:
        table.add_column(column, justify="right")
    with tempfile.TemporaryDirectory(prefix="lga-bench-plan-") as folder:
        for step, figures in steps(Path(folder), keys):
            cells = (figures.get(column) for column in columns)
            table.add_row(
                step, *("" if cell is None else f"{cell:.{0 if cell == int(cell) else 1}f}" for cell in cells)
            )
    Console().print(table)


if __name__ == "__main__":
    main()
