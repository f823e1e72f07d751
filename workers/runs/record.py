"""``run.json``: the durable record of a run. Settings, model, attempts, timing, and the account."""

from __future__ import annotations

import uuid
from collections.abc import Callable
from datetime import datetime
from typing import Annotated, Any, Literal, NamedTuple

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from workers.errors import ConditionFailed, ObjectMissing, StorageError
from workers.runs.quality import Quality
from workers.runs.speed import Rates, SpeedOfLight, Stage
from workers.storage import Store

_TRIES = 20

Counted = Annotated[int, Field(ge=0)]


class _Record(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid", protected_namespaces=())


class Account(_Record):
    """Where every listed object went. ``listed = ok + failed + skipped`` when the run is finished."""

    listed: Counted
    skipped: Counted
    """Unchanged since an earlier run scored them with the same engine."""
    ok: Counted
    failed: Counted
    reasons: dict[str, int]
    """Failed objects by reason."""

    @property
    def balances(self) -> bool:
        """Whether every object is accounted for."""
        return self.listed == self.ok + self.failed + self.skipped and self.failed == sum(self.reasons.values())

    @property
    def failure_rate(self) -> float:
        """Share of the scored objects that failed; 0 when nothing was scored."""
        return self.failed / max(1, self.ok + self.failed)


class Work(_Record):
    """What one attempt did, added up over the shards that it committed."""

    images: Counted = 0
    read_bytes: Counted = 0
    fetch_s: float = 0.0
    """Time that requests took, over all of them; many run at once."""
    fetch_cpu_s: float = 0.0
    """CPU time of the processes that fetch, without decoding."""
    decode_s: float = 0.0
    """CPU time of decoding."""
    requests: Counted = 0
    """GETs to S3 that were answered, repeats included; 0 when photographs come from a folder."""
    throttled_requests: Counted = 0
    """GETs that were refused for now, broke, or were called off."""
    engine_batches: float = 0.0
    """Batches that engines computed; each image has its share of one."""
    predict_s: float = 0.0
    """Time that engines computed, over all of them."""
    predict_cpu_s: float = 0.0
    """CPU time of the engines' processes meanwhile."""
    commit_s: float = 0.0
    """Time that writing shards took."""
    commit_cpu_s: float = 0.0
    """CPU time of the driver for it."""


class Pace(NamedTuple):
    """Images/s."""

    did: float
    possible: float


class Attempt(_Record):
    """One process that worked on the run."""

    id: str = Field(default_factory=lambda: uuid.uuid4().hex[:12])
    started_at: datetime
    ended_at: datetime | None = None
    """None when it was killed, or is still at work."""
    outcome: Literal["finished", "stopped", "failed"] | None = None
    problem: str | None = None
    """Why it ended early."""
    fence: Counted = 0
    """Number of its lease: that of a later attempt is higher."""
    engines: Counted = 0
    device: str | None = None
    wall_s: float = 0.0
    """From the first task to the last committed shard."""
    startup_s: float = 0.0
    """Until the first rows arrived: processes start, engines load."""
    images_per_s: float = 0.0
    bottleneck: Stage | None = None
    """The stage that limits the run; None when nothing was measured."""
    rates: Rates | None = None
    """What one image cost in each stage, measured before the run."""
    speed: SpeedOfLight | None = None
    """How near the run came to what the hardware allows."""
    work: Work = Field(default_factory=Work)

    @property
    def pace(self) -> Pace | None:
        """How fast another run would be; None when this one scored nothing.

        The start of a short run weighs heavily in what it did, and long ones come near to what is possible.
        """
        if not self.work.images or not self.wall_s:
            return None
        if self.speed:
            return Pace(did=self.speed.achieved, possible=max(self.speed.achieved, self.speed.light))
        overall = self.work.images / self.wall_s
        return Pace(did=overall, possible=overall)


class RunRecord(_Record):
    """The content of ``run.json``."""

    format: Literal[1] = 1
    run_id: str
    state: Literal["running", "finished"]
    input: str
    model: str
    version: int
    engine: str
    """Fingerprint of the engine."""
    target: str
    precision: str
    preprocessing: str
    settings: dict[str, Any]
    started_at: datetime
    finished_at: datetime | None = None
    attempts: tuple[Attempt, ...] = ()
    account: Account | None = None
    """Counted from the committed shards; None until the run is finished."""
    quality: Quality | None = None
    """What the tags say, counted from the committed shards; None until the run is finished."""

    def with_attempt(self, attempt: Attempt) -> RunRecord:
        """The record with this attempt added, or replaced by its newer state."""
        others = tuple(other for other in self.attempts if other.id != attempt.id)
        return self.model_copy(update={"attempts": (*others, attempt)})


def record_key(run_id: str) -> str:
    """The key of ``run.json`` under the output."""
    return f"runs/{run_id}/run.json"


def read_record(output: Store, run_id: str) -> RunRecord | None:
    """The record of a run, or None when it has none yet.

    Raises:
        StorageError: If it cannot be understood.
    """
    found = _read(output, run_id)
    return None if found is None else found[0]


def is_finished(output: Store, run_id: str) -> bool:
    """Whether a run is complete."""
    record = read_record(output, run_id)
    return record is not None and record.state == "finished"


def update_record(output: Store, new: RunRecord, change: Callable[[RunRecord], RunRecord]) -> RunRecord:
    """Change the record by compare-and-swap, so that two attempts never overwrite each other.

    Args:
        output: Where runs are recorded.
        new: The record to change when there is none yet.
        change: From what is there to what shall be; called again when another attempt was faster.
    """
    for _ in range(_TRIES):
        found = _read(output, new.run_id)
        before, token = found or (new, None)
        after = change(before)
        if found and after == before:
            return after
        data = (after.model_dump_json(indent=2) + "\n").encode()
        try:
            output.put(record_key(new.run_id), data, if_absent=token is None, if_token=token)
        except ConditionFailed:
            continue
        return after
    raise StorageError("update", output.uri(record_key(new.run_id)), "other attempts keep changing it; start again")


def _read(output: Store, run_id: str) -> tuple[RunRecord, str] | None:
    key = record_key(run_id)
    try:
        blob = output.get(key)
    except ObjectMissing:
        return None
    try:
        return RunRecord.model_validate_json(blob.data), blob.token
    except ValidationError as error:
        first = error.errors(include_url=False)[0]
        where = ".".join(str(part) for part in first["loc"])
        raise StorageError(
            "read", output.uri(key), f"not a run record of this release ({where}: {first['msg']})"
        ) from error
