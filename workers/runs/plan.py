"""What a run has to do: listed objects without the unchanged ones, cut into shards, fixed before anything is scored.

    <output>/runs/<run_id>/plan/<attempt>-000042.parquet   key, etag, size_bytes, last_modified: the rows of shard 42
    <output>/runs/<run_id>/plan.json                       written last and once: names the attempt whose parts count

So a run that continues works on the very same objects, whatever happens to the bucket meanwhile. Attempts that plan at
the same time write their own parts; the first ``plan.json`` wins.
"""

from __future__ import annotations

from datetime import datetime
from typing import Annotated, Literal

import pyarrow as pa
from pydantic import BaseModel, ConfigDict, Field, ValidationError

from workers.errors import ObjectMissing, SettingsError, StorageError
from workers.storage import Store
from workers.tags import object_schema, read_parquet

LISTED = pa.schema([object_schema().field(name) for name in ("key", "etag", "size_bytes", "last_modified")])
"""The columns of a part."""


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


def other_work(run_id: str) -> SettingsError:
    """What to tell somebody who asks for a run with other settings than it was planned with."""
    return SettingsError(
        f"run {run_id} was started with another input, selection or engine; give those again, or choose another --run"
    )


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
    return read_parquet(output, plan.part_key(shard)).select(LISTED.names).cast(LISTED)
