"""A chunk of the plan to pixels."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import pyarrow as pa
import pytest
from typing_extensions import override

from workers.errors import Throttled
from workers.score import fetch
from workers.score.load import load_chunk, pixel_schema
from workers.storage import FolderStore, ObjectInfo, Part


class AwayStore(FolderStore):
    """Answers whatever it is asked that it is busy."""

    @override
    def get_range(self, key: str, start: int, length: int) -> Part:
        raise Throttled("read", key, "busy")

    @override
    def list(self, prefix: str = "") -> Iterator[ObjectInfo]:
        raise Throttled("list", prefix, "busy")


def chunk(shard: int, start: int, stop: int) -> pa.Table:
    return pa.table({"shard": [shard], "start": [start], "stop": [stop]})


def rows(tables) -> list[dict]:
    return sorted((row for table in tables for row in table.to_pylist()), key=lambda row: row["position"])


def test_every_bad_object_has_its_reason(tmp_path, photograph, make_plan, options):
    """
    Empty, no image, truncated, too large, gone since the listing: each is a row, among the good ones.
    """
    source, output = FolderStore(tmp_path / "photos"), FolderStore(tmp_path / "output")
    contents = {
        "a-good.png": photograph(200),
        "b-empty.jpg": b"",
        "c-text.jpg": b"hello, I am a text",
        "d-truncated.png": photograph(10)[:60],
        "e-gone.jpg": b"x",
        "f-huge.jpg": b"\xff\xd8\xff" + b"x" * 5000,
        "g-psd.jpg": b"8BPS" + b"x" * 50,
        "h-good.png": photograph(100),
    }
    for key, data in contents.items():
        source.put(key, data)
    plan = make_plan(output, source, shard_rows=8)
    source.delete("e-gone.jpg")
    limits = options().limits.__class__(max_bytes=4000)
    tables = list(load_chunk(chunk(0, 0, 8), source, output, plan, options(limits=limits)))
    found = rows(tables)

    assert [
        None, "not_an_image", "not_an_image", "truncated", "missing", "too_large", "unsupported", None,
    ] == [row["reason"] for row in found]  # fmt: skip
    assert list(contents) == [row["key"] for row in found]
    assert [(16, 12), (None, None)] == [(row["width"], row["height"]) for row in found[:2]]
    assert all(row["detail"] for row in found[1:-1])
    assert [200, 0, 100] == [set(found[number]["pixels"]).pop() for number in (0, 1, 7)]
    assert all(table.schema == pixel_schema(32) for table in tables)


def test_tables_are_bounded_in_bytes(tmp_path, photograph, make_plan, options, monkeypatch):
    """
    A table has as many whole batches as fit into its bytes, and each row holds its own image.
    """
    monkeypatch.setattr(fetch, "_BLOCK_BYTES", 5 * 32 * 32 * 3)
    source, output = FolderStore(tmp_path / "photos"), FolderStore(tmp_path / "output")
    for number in range(10):
        source.put(f"{number}.png", photograph(number * 20))
    plan = make_plan(output, source, shard_rows=10)
    tables = list(load_chunk(chunk(0, 2, 9), source, output, plan, options(batch_size=3)))

    assert [3, 3, 1] == [table.num_rows for table in tables]
    assert list(range(2, 9)) == [row["position"] for row in rows(tables)]
    for row in rows(tables):
        np.testing.assert_array_equal(np.full(32 * 32 * 3, row["position"] * 20), row["pixels"])


def test_an_outage_is_nobodys_fault(tmp_path, make_plan, options, monkeypatch):
    """
    When the store does not answer the chunk fails, to be tried again: no row says that its object is to blame.
    """
    monkeypatch.setattr(fetch, "_PAUSE_S", 0.001)
    source, output = FolderStore(tmp_path / "photos"), FolderStore(tmp_path / "output")
    for number in range(20):
        source.put(f"{number:02d}.png", b"x")
    plan = make_plan(output, source, shard_rows=20)

    with pytest.raises(Throttled, match="16 objects in a row did not arrive"):
        list(load_chunk(chunk(0, 0, 20), AwayStore(source.path), output, plan, options(timeout_s=0.1)))
