"""A stratified sample of a listing: from every folder its share, and from a small one enough to see it."""

from __future__ import annotations

import heapq
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass

import pyarrow as pa

from workers.runs.plan import LISTED
from workers.runs.quality import OTHERS
from workers.score.inventory.selection import position

_STRATA = 200


@dataclass(frozen=True, kw_only=True)
class Sample:
    """The chosen objects, and what they stand for."""

    objects: pa.Table
    """Of ``LISTED``."""
    stratum_of: dict[str, str]
    """Folder of each chosen key."""
    listed: dict[str, int]
    """Objects of each folder, chosen or not."""

    @property
    def weight_of(self) -> dict[str, float]:
        """How many listed objects each chosen key stands for."""
        chosen = Counter(self.stratum_of.values())
        return {key: self.listed[stratum] / chosen[stratum] for key, stratum in self.stratum_of.items()}


def draw(tables: Iterator[pa.Table], prefix: str, size: int) -> Sample:
    """Choose by the digests of the keys: the same objects every time, whatever the order of the listing.

    Half of the sample is shared out evenly over the folders, half by their size. An object that a list names again is
    chosen once, with the facts that came first; to remember all that was named would take too much memory, so those
    that are not chosen count each time.

    Args:
        tables: The listing.
        prefix: Front of every key; a folder is what follows up to the next slash.
        size: Objects to choose; fewer when there are not so many.
    """
    listed: Counter[str] = Counter()
    lowest: dict[str, list[tuple[float, str]]] = {}
    facts: dict[str, dict[str, object]] = {}
    for table in tables:
        for row in table.to_pylist():
            key = row["key"]
            if key in facts:
                continue
            folder = key.removeprefix(prefix).rpartition("/")[0].partition("/")[0]
            stratum = folder if folder in listed or len(listed) < _STRATA else OTHERS
            listed[stratum] += 1
            heap = lowest.setdefault(stratum, [])
            entry = (-position(key), key)
            if len(heap) < size:
                heapq.heappush(heap, entry)
            elif entry > heap[0]:
                del facts[heapq.heapreplace(heap, entry)[1]]
            else:
                continue
            facts[key] = row
    everything = sum(listed.values())
    rows, stratum_of = [], {}
    for stratum, heap in sorted(lowest.items()):
        share = size / 2 / len(lowest) + size / 2 * listed[stratum] / everything
        for _, key in sorted(heap, reverse=True)[: max(1, round(share))]:
            stratum_of[key] = stratum
            rows.append(facts[key] | {"size_bytes": facts[key]["size_bytes"] or 0})
    return Sample(objects=pa.Table.from_pylist(rows, LISTED), stratum_of=stratum_of, listed=dict(listed))
