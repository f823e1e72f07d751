"""What a listing found so far, kept beside the run: one that breaks off goes on where it was.

    <output>/runs/<run_id>/listing/<prefix>-000003.parquet    keys of one prefix, in its order, the fourth lot

A prefix of fewer than ``_LOT`` keys is asked for again, which takes a hundred requests at most; so a listing that is
not long writes nothing. The lots are removed when the plan stands.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from dataclasses import dataclass

import pyarrow as pa
import pyarrow.parquet as pq

from workers.errors import ObjectMissing
from workers.runs.plan import LISTED
from workers.storage import Store
from workers.tags import read_parquet

_LOT = 100_000


@dataclass(frozen=True)
class ListingNotes:
    """The notes of one run. Attempts that list at once write the same lots, or each other's: all are true."""

    output: Store
    run_id: str
    lot: int = _LOT
    """Keys in one object."""

    def kept(self, prefix: str) -> Iterator[pa.Table]:
        """What was kept of a prefix, from its first key on, as tables of ``LISTED``."""
        number = 0
        while True:
            try:
                table = read_parquet(self.output, self._key(prefix, number))
            except ObjectMissing:
                return
            yield table.select(LISTED.names).cast(LISTED)
            number += 1

    def keeping(self, prefix: str, lots: int, tables: Iterator[pa.Table]) -> Iterator[pa.Table]:
        """Pass the listing of a prefix on, and keep it in lots; ``lots`` are there already."""
        waiting: list[pa.Table] = []
        for table in tables:
            waiting.append(table)
            if sum(each.num_rows for each in waiting) >= self.lot:
                sink = pa.BufferOutputStream()
                pq.write_table(pa.concat_tables(waiting), sink, compression="zstd")
                self.output.put(self._key(prefix, lots), sink.getvalue().to_pybytes())
                waiting, lots = [], lots + 1
            yield table

    def forget(self) -> None:
        """Remove them all."""
        for info in list(self.output.list(self._folder)):
            self.output.delete(info.key)

    @property
    def _folder(self) -> str:
        return f"runs/{self.run_id}/listing/"

    def _key(self, prefix: str, number: int) -> str:
        return f"{self._folder}{hashlib.sha256(prefix.encode()).hexdigest()[:16]}-{number:06d}.parquet"
