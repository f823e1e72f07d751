"""Rows to shards, once."""

from __future__ import annotations

import contextlib

import pyarrow as pa
import pytest

from workers.errors import Throttled, WorkerError
from workers.runs.account import balanced_account, count_written, missing_shards
from workers.score.commit import Committer
from workers.storage import FolderStore
from workers.tags import ShardName, TagForm, read_shard, tag_schema, write_shard

SCHEMA = tag_schema(TagForm(classes=("dark", "bright"), heatmap_hw=(2, 2)), {"run": "r1"})


@pytest.fixture
def source(tmp_path, photograph) -> FolderStore:
    store = FolderStore(tmp_path / "photos")
    for number in range(8):
        store.put(f"{number}.png", photograph(number * 30) if number != 4 else b"no image")
    return store


@pytest.fixture
def output(tmp_path) -> FolderStore:
    return FolderStore(tmp_path / "output")


@pytest.fixture
def committer(output, source, make_plan):
    with contextlib.closing(Committer(output, make_plan(output, source), SCHEMA)) as committer:
        yield committer


def commit(committer: Committer, *tables: pa.Table) -> dict[int, object]:
    found = [committed for table in tables for committed in committer.add(table)]
    return {committed.shard: committed for committed in [*found, *committer.finish()]}


def test_a_shard_is_written_when_it_is_whole(output, source, make_plan, score_here, committer):
    """
    In the order of the plan, though its rows come in any; what is not whole is not written.
    """
    plan = make_plan(output, source)
    mixed = pa.concat_tables([*score_here(output, source, plan, 0), *score_here(output, source, plan, 2)])
    found = commit(
        committer,
        mixed.slice(4),
        mixed.slice(0, 2),
        mixed.slice(2, 2),
        score_here(output, source, plan, 1)[0].slice(0, 2),
    )

    assert {0, 2} == found.keys()
    assert [1] == missing_shards(output, plan)
    table = read_shard(output, ShardName(run_id="r1", index=0))
    assert ["0.png", "1.png", "2.png"] == table["key"].to_pylist()
    assert SCHEMA == table.schema
    assert SCHEMA.metadata.items() <= table.schema.metadata.items()


def test_rows_that_come_twice_count_once(output, source, make_plan, score_here, committer):
    """
    A task that Ray repeated brings its rows again: the shard has each object once.
    """
    plan = make_plan(output, source)
    rows = pa.concat_tables(score_here(output, source, plan, 0))
    found = commit(committer, rows.slice(0, 2), rows.slice(0, 2), rows)

    assert 3 == found[0].rows
    assert ["0.png", "1.png", "2.png"] == read_shard(output, ShardName(run_id="r1", index=0))["key"].to_pylist()


def test_what_is_reported_is_what_was_written(output, source, make_plan, score_here, committer):
    """
    Rows, reasons, bytes and scores of a shard.
    """
    plan = make_plan(output, source)
    found = commit(committer, *score_here(output, source, plan, 1))[1]

    assert (3, {"not_an_image": 1}) == (found.rows, found.reasons)
    assert len(output.get("tags/run=r1/shard-000001.parquet").data) == found.size_bytes
    assert sum(len(source.get(f"{number}.png").data) for number in (3, 4, 5)) == found.work.read_bytes
    assert (2, 2) == (len(found.confidence), len(found.focus))


def test_the_attempt_that_was_slower_loses_nothing(output, source, make_plan, score_here, committer):
    """
    A shard that another attempt wrote stays as it is, and is reported as not ours.
    """
    plan = make_plan(output, source)
    with contextlib.closing(Committer(output, plan, SCHEMA)) as other:
        commit(other, *score_here(output, source, plan, 0))
    before = output.get("tags/run=r1/shard-000000.parquet")
    found = commit(committer, *score_here(output, source, plan, 0))

    assert None is found[0].size_bytes
    assert before == output.get("tags/run=r1/shard-000000.parquet")


def test_a_store_that_fails_is_told(source, make_plan, score_here, tmp_path):
    """
    An error of the writing thread reaches the caller.
    """

    class FullStore(FolderStore):
        def put(self, key, data, **conditions):
            if key.startswith("tags/"):
                raise Throttled("write", key, "full")
            return super().put(key, data, **conditions)

    output = FullStore(tmp_path / "full")
    plan = make_plan(output, source)
    with contextlib.closing(Committer(output, plan, SCHEMA)) as committer, pytest.raises(Throttled, match="full"):
        commit(committer, *score_here(output, source, plan, 0))


def test_the_account_counts_what_is_written(output, source, make_plan, score_here, committer):
    """
    It balances when every shard is there, whoever wrote it, and is an error before.
    """
    plan = make_plan(output, source)
    commit(committer, *score_here(output, source, plan, 0), *score_here(output, source, plan, 1))

    assert (5, 1) == (count_written(output, plan).ok, count_written(output, plan).failed)
    with pytest.raises(WorkerError, match=r"does not balance: 8 listed, but 5 ok \+ 1 failed \+ 0 skipped"):
        balanced_account(output, plan)
    commit(committer, *score_here(output, source, plan, 2))
    account = balanced_account(output, plan)
    assert (8, 7, {"not_an_image": 1}) == (account.listed, account.ok, account.reasons)
    assert 1 / 8 == account.failure_rate


def test_a_shard_of_somebody_else_is_noticed(output, source, make_plan):
    """
    Rows that no plan asked for are an error that names the shard.
    """
    plan = make_plan(output, source)
    write_shard(output, ShardName(run_id="r1", index=1), SCHEMA.empty_table())

    with pytest.raises(WorkerError, match=r"shard-000001\.parquet has 0 rows where 3 were planned"):
        count_written(output, plan)
