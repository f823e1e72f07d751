"""One chunk of the plan -> pixels: fetched on threads of its own, decoded here, so that one task keeps one core busy.

Shape suffixes: B = images, H W = pixels, C = red, green, blue.
"""

from __future__ import annotations

import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import pyarrow as pa

from lga_model.images import DecodedImage, ImageError, decode_image
from workers.errors import Throttled
from workers.score.fetch import Failure, Fetched, FetchOptions, Listed, fetch_all, reader
from workers.score.plan import Plan, read_part
from workers.storage import Store, requests_made
from workers.tags import DETAIL_LENGTH, object_schema

_OUTAGE_OBJECTS = 16
"""So many in a row are not each to blame for what the store does."""


def pixel_schema(size_px: int) -> pa.Schema:
    """Rows between fetching and predicting: the object, where its row belongs, what it cost, and its pixels.

    ``pixels`` is RGB, uint8, ``size_px * size_px * 3`` bytes, row-major; all zeros for an object that failed.
    """
    return pa.schema(
        [
            *object_schema(),
            ("shard", pa.int64()),
            ("position", pa.int64()),
            ("read_bytes", pa.int64()),
            ("requests", pa.int64()),
            ("throttled", pa.int64()),
            ("fetch_s", pa.float32()),
            ("decode_s", pa.float32()),
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
        Throttled: If the store answers for no object at all: that is its outage, and not the objects' fault.
    """
    for shard, start, stop in zip(*(chunk[name].to_pylist() for name in ("shard", "start", "stop")), strict=True):
        part = read_part(output, plan, shard).slice(start, stop - start)
        objects = [Listed(**row) for row in part.to_pylist()]
        loaded: list[_Loaded] = []
        unanswered: list[Failure] = []
        before = requests_made()
        for index, fetched, fetch_s in fetch_all(objects, reader(source), options):
            loaded.append(_load(start + index, objects[index], fetched, fetch_s, options))
            if isinstance(fetched, Failure) and fetched.reason in {"throttled", "timeout"}:
                unanswered.append(fetched)
            if len(loaded) == options.batch_size:
                yield _table(shard, loaded, options.size_px, before)
                loaded, before = [], requests_made()
        if len(unanswered) == len(objects) >= _OUTAGE_OBJECTS:
            reason = f"none of {len(objects)} objects arrived ({unanswered[-1].detail}); is the store up?"
            raise Throttled("read", source.uri(), reason)
        if loaded:
            yield _table(shard, loaded, options.size_px, before)


@dataclass(frozen=True, kw_only=True)
class _Loaded:
    """An object with its image, or with the reason why it has none."""

    position: int
    listed: Listed
    fetched: Fetched | None
    outcome: DecodedImage | Failure
    fetch_s: float
    decode_s: float


def _load(position: int, listed: Listed, fetched: Fetched | Failure, fetch_s: float, options: FetchOptions) -> _Loaded:
    begun = time.thread_time()
    outcome: DecodedImage | Failure
    if isinstance(fetched, Failure):
        outcome = fetched
    else:
        try:
            outcome = decode_image(fetched.data, options.size_px, options.limits)
        except ImageError as error:
            outcome = Failure(reason=error.reason, detail=error.detail)
    return _Loaded(
        position=position,
        listed=listed,
        fetched=None if isinstance(fetched, Failure) else fetched,
        outcome=outcome,
        fetch_s=fetch_s,
        decode_s=time.thread_time() - begun,
    )


def _table(shard: int, loaded: Sequence[_Loaded], size_px: int, before: tuple[int, int]) -> pa.Table:
    """One table; the requests that the process made since ``before`` are told in its first row."""
    made, throttled = requests_made()
    images = [one.outcome if isinstance(one.outcome, DecodedImage) else None for one in loaded]
    failures = [one.outcome if isinstance(one.outcome, Failure) else None for one in loaded]
    pixels_BHWC = np.zeros((len(loaded), size_px, size_px, 3), dtype=np.uint8)
    for pixels_HWC, image in zip(pixels_BHWC, images, strict=True):
        if image is not None:
            pixels_HWC[:] = image.pixels_HWC
    columns = {
        "key": [one.listed.key for one in loaded],
        # The version and size that were read, which may be newer than those that were listed.
        "etag": [one.fetched.etag if one.fetched else one.listed.etag for one in loaded],
        "size_bytes": [len(one.fetched.data) if one.fetched else one.listed.size_bytes for one in loaded],
        "last_modified": [one.listed.last_modified for one in loaded],
        "status": ["ok" if image else "failed" for image in images],
        "reason": [failure.reason if failure else None for failure in failures],
        "detail": [failure.detail[:DETAIL_LENGTH] if failure else None for failure in failures],
        "width": [image.width_px if image else None for image in images],
        "height": [image.height_px if image else None for image in images],
        "shard": [shard] * len(loaded),
        "position": [one.position for one in loaded],
        "read_bytes": [len(one.fetched.data) if one.fetched else 0 for one in loaded],
        "requests": [made - before[0], *[0] * (len(loaded) - 1)],
        "throttled": [throttled - before[1], *[0] * (len(loaded) - 1)],
        "fetch_s": [one.fetch_s for one in loaded],
        "decode_s": [one.decode_s for one in loaded],
        # Shares the memory of the array.
        "pixels": pa.FixedSizeListArray.from_arrays(pa.array(pixels_BHWC.reshape(-1)), size_px * size_px * 3),
    }
    return pa.table(columns, pixel_schema(size_px))
