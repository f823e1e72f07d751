"""One chunk of the plan -> pixels: fetched here, decoded in a process beside, so that one task keeps one core busy.

Shape suffixes: B = images, H W = pixels, C = red, green, blue.
"""

from __future__ import annotations

import functools
import time
from collections import deque
from collections.abc import Iterator, Sequence

import numpy as np
import pyarrow as pa

from lga_model.images import DecodedImage, ImageLimits
from workers.runs.plan import Plan, read_part
from workers.score.decoder import Decoded, Decoder
from workers.score.fetch import FetchOptions
from workers.score.objects import Failure, Fetched, Listed
from workers.score.outage import arrivals
from workers.settings.shared import DecodeOn
from workers.storage import Store
from workers.storage.requests import Unreported
from workers.tags import DETAIL_LENGTH, object_schema

_UNREPORTED = Unreported("get")
"""Of this process: each table takes along what was asked for since the last one."""


def pixel_schema(size_px: int) -> pa.Schema:
    """Rows between fetching and predicting: the object, where its row belongs, what it cost, and its pixels.

    ``begun_at`` is when the first object of the row's table was asked for, in seconds since 1970. ``pixels`` is RGB,
    uint8, ``size_px * size_px * 3`` bytes, row-major; all zeros for an object that failed.
    """
    return pa.schema(
        [
            *object_schema(),
            ("shard", pa.int64()),
            ("position", pa.int64()),
            ("begun_at", pa.float64()),
            ("read_bytes", pa.int64()),
            ("fetch_s", pa.float32()),
            ("fetch_cpu_s", pa.float32()),
            ("decode_s", pa.float32()),
            ("requests", pa.int64()),
            ("throttled_requests", pa.int64()),
            ("pixels", pa.list_(pa.uint8(), size_px * size_px * 3)),
        ]
    )


def load_chunk(chunk: pa.Table, source: Store, output: Store, plan: Plan, options: FetchOptions) -> Iterator[pa.Table]:
    """Fetch and decode the objects of one chunk. A task of Ray Data.

    Args:
        chunk: Rows ``shard, start, stop``: rows [start, stop) of a shard of the plan.
        source: Where the objects are.
        output: Where the plan is.
        plan: The run's plan.
        options: How.

    Yields:
        Tables of ``pixel_schema``, as soon as they are full. Rows come in the order in which the objects arrived.

    Raises:
        Throttled: If the store does not answer: that is its outage, and not the objects' fault.
    """
    for shard, start, stop in zip(*(chunk[name].to_pylist() for name in ("shard", "start", "stop")), strict=True):
        part = read_part(output, plan, shard).slice(start, stop - start)
        yield from load_objects([Listed(**row) for row in part.to_pylist()], shard, start, source, options)


def load_objects(
    objects: Sequence[Listed], shard: int, start: int, source: Store, options: FetchOptions
) -> Iterator[pa.Table]:
    """Fetch and decode objects that are rows ``start`` and on of a shard. Yields and raises as ``load_chunk``."""
    block = _Block(shard, options)
    for index, fetched, fetch_s, decoded in _decoded(objects, source, options):
        block.add(start + index, objects[index], fetched, fetch_s, decoded)
        if block.is_full:
            yield block.table()
            block = _Block(shard, options)
    if block.rows:
        yield block.table()


@functools.cache
def _decoder(size_px: int, limits: ImageLimits, decode_on: DecodeOn) -> Decoder:
    """The decoder of this process. It ends with it."""
    return Decoder(size_px, limits, decode_on)


def _decoded(
    objects: Sequence[Listed], source: Store, options: FetchOptions
) -> Iterator[tuple[int, Fetched | None, float, Decoded]]:
    """Every object with what it became, as they are done: index, bytes if any came, seconds to fetch, outcome."""
    fetched: deque[tuple[int, Fetched, float]] = deque()
    failed: deque[tuple[int, Failure, float]] = deque()

    def images() -> Iterator[tuple[bytes, float]]:
        for index, outcome, fetch_s in arrivals(objects, source, options):
            if isinstance(outcome, Fetched):
                fetched.append((index, outcome, fetch_s))
                yield outcome.data, options.timeout_s - fetch_s
            else:
                failed.append((index, outcome, fetch_s))

    for decoded in _decoder(options.size_px, options.limits, options.decode_on).decode_all(images()):
        index, bytes_, fetch_s = fetched.popleft()
        yield index, bytes_, fetch_s, decoded
    for index, failure, fetch_s in failed:
        yield index, None, fetch_s, Decoded(outcome=failure, cpu_s=0.0)


class _Block:
    """A table of pixels that is being filled: rows of ``pixel_schema``."""

    def __init__(self, shard: int, options: FetchOptions) -> None:
        self._shard, self._size_px, self._most = shard, options.size_px, options.block_rows
        self._pixels_BHWC = np.zeros((self._most, self._size_px, self._size_px, 3), dtype=np.uint8)
        self._columns: dict[str, list[object]] = {name: [] for name in pixel_schema(1).names if name != "pixels"}
        self._begun_at, self._cpu_before_s = time.time(), time.process_time()
        self.rows = 0

    @property
    def is_full(self) -> bool:
        """Whether it has room for no more."""
        return self.rows == self._most

    def add(self, position: int, listed: Listed, fetched: Fetched | None, fetch_s: float, decoded: Decoded) -> None:
        """Take in one object; its pixels are copied."""
        outcome = decoded.outcome
        image = outcome if isinstance(outcome, DecodedImage) else None
        failure = outcome if isinstance(outcome, Failure) else None
        if image is not None:
            self._pixels_BHWC[self.rows] = image.pixels_HWC
        row = {
            "key": listed.key,
            # The version and size that were read, which may be newer than those that were listed.
            "etag": fetched.etag if fetched else listed.etag,
            "size_bytes": len(fetched.data) if fetched else listed.size_bytes,
            "last_modified": listed.last_modified,
            "status": "ok" if image else "failed",
            "reason": failure.reason if failure else None,
            "detail": failure.detail[:DETAIL_LENGTH] if failure else None,
            "width": image.width_px if image else None,
            "height": image.height_px if image else None,
            "shard": self._shard,
            "position": position,
            "read_bytes": len(fetched.data) if fetched else 0,
            "fetch_s": fetch_s,
            "decode_s": decoded.cpu_s,
        }
        for name, value in row.items():
            self._columns[name].append(value)
        self.rows += 1

    def table(self) -> pa.Table:
        """What was added, without another copy of the pixels."""
        length = self._size_px * self._size_px * 3
        cpu_s = (time.process_time() - self._cpu_before_s) / self.rows
        pixels = pa.array(self._pixels_BHWC[: self.rows].reshape(-1))
        asked = _UNREPORTED.take()
        columns = self._columns | {
            "begun_at": [self._begun_at] * self.rows,
            "fetch_cpu_s": [cpu_s] * self.rows,
            "requests": _first_of(self.rows, asked["answered"]),
            "throttled_requests": _first_of(self.rows, asked["throttled"]),
            "pixels": pa.FixedSizeListArray.from_arrays(pixels, length),
        }
        return pa.table(columns, pixel_schema(self._size_px))


def _first_of(rows: int, number: int) -> list[int]:
    """A column that adds up to a number."""
    return [number, *[0] * (rows - 1)]
