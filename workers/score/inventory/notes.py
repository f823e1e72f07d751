"""What a listing found so far, kept beside the run: one that breaks off goes on where it was.

    <output>/runs/<run_id>/listing/<prefix>-000003.parquet    keys of one prefix, in its order, the fourth lot

A prefix of fewer than ``_LOT`` keys is asked for again, which takes a hundred requests at most; so a listing that is
not long writes nothing. The lots are removed when the plan stands.

Each lot tells the key that it goes on after, and only lots that follow on each other are read. So no key between two of
them is missed, whichever attempts wrote them and wherever those cut.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from dataclasses import dataclass

import pyarrow as pa
import pyarrow.parquet as pq

from workers.errors import ConditionFailed, ObjectMissing
from workers.runs.plan import LISTED
from workers.storage import Store
from workers.tags import read_parquet

_LOT = 100_000
_AFTER = b"after"


@dataclass(frozen=True)
class ListingNotes:
    """The notes of one run. Of attempts that list at once the first to write a lot goes on keeping."""

    output: Store
    run_id: str
    lot: int = _LOT
    """Keys in one object."""

    def kept(self, prefix: str) -> Iterator[pa.Table]:
        """What was kept of a prefix, from its first key on, as tables of ``LISTED``."""
        number, last = 0, ""
        while True:
            try:
                table = read_parquet(self.output, self._key(prefix, number))
            except ObjectMissing:
                return
            if (table.schema.metadata or {}).get(_AFTER) != last.encode():
                return
            yield table.select(LISTED.names).cast(LISTED)
            number, last = number + 1, table["key"][-1].as_py()

    def keeping(self, prefix: str, lots: int, last: str, tables: Iterator[pa.Table]) -> Iterator[pa.Table]:
        """Pass the listing of a prefix on, and keep it in lots.

        Args:
            prefix: That is listed.
            lots: That are there already.
            last: Key of them, empty without any; the listing goes on after it.
            tables: The listing.
        """
        waiting: list[pa.Table] = []
        for table in tables:
            waiting.append(table)
            if sum(each.num_rows for each in waiting) >= self.lot:
                lot = pa.concat_tables(waiting)
                if not self._keep(prefix, lots, last, lot):
                    yield table
                    break
                waiting, lots, last = [], lots + 1, lot["key"][-1].as_py()
            yield table
        yield from tables

    def _keep(self, prefix: str, number: int, last: str, lot: pa.Table) -> bool:
        """Whether the lot was written; False when another attempt had done so."""
        sink = pa.BufferOutputStream()
        pq.write_table(lot.replace_schema_metadata({_AFTER: last}), sink, compression="zstd")
        try:
            self.output.put(self._key(prefix, number), sink.getvalue().to_pybytes(), if_absent=True)
        except ConditionFailed:
            return False
        return True

    def forget(self) -> None:
        """Remove them all."""
        for info in list(self.output.list(self._folder)):
            self.output.delete(info.key)

    @property
    def _folder(self) -> str:
        return f"runs/{self.run_id}/listing/"

    def _key(self, prefix: str, number: int) -> str:
        return f"{self._folder}{hashlib.sha256(prefix.encode()).hexdigest()[:16]}-{number:06d}.parquet"
