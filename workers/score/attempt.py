"""One attempt at a run: score what is missing until nothing is, then balance the account."""

from __future__ import annotations

import contextlib
import math
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from datetime import UTC, datetime

import pyarrow as pa
import pyarrow.compute as pc
from ray.exceptions import RayError

from workers.errors import ClusterError, Stopped, StorageError, Throttled, WorkerError
from workers.logs import Log
from workers.progress import ProgressBar
from workers.runs.account import balanced_account, missing_shards
from workers.runs.quality import QualityTally
from workers.runs.record import Attempt, RunRecord, Work, update_record
from workers.runs.speed import Hardware, SpeedOfLight, speed_of_light
from workers.score.commit import Committed, Committer
from workers.score.guard import Guard
from workers.score.metrics import ScoreMetrics
from workers.score.pipeline import Pipeline
from workers.score.predict import EngineBroken

_FRUITLESS_PASSES = 5  # With the pauses, a store that is away for less than a minute does not end the attempt.
_PASSING = RayError, Throttled, EngineBroken
"""What another pass, with new processes, may not meet."""
_PAUSE_S = 5.0  # After the first pass that brought nothing; longer after each that follows.


@dataclass(frozen=True, kw_only=True)
class Parts:
    """What an attempt works with."""

    pipeline: Pipeline
    committer: Committer
    metrics: ScoreMetrics
    bar: ProgressBar
    log: Log
    guard: Guard = field(default_factory=Guard)
    quality: QualityTally | None = None
    pause_s: float = _PAUSE_S


def finish_run(parts: Parts, record: RunRecord) -> RunRecord:
    """Work on a run until it is finished.

    Args:
        parts: What to work with.
        record: The run's record, for the case that it has none yet.

    Returns:
        The finished record.

    Raises:
        WorkerError: If the attempt ends early; its end is recorded, and another attempt continues the run.
    """
    output, plan = parts.pipeline.output, parts.pipeline.plan
    resources = parts.pipeline.resources
    attempt = Attempt(
        started_at=datetime.now(UTC),
        engines=resources.engines,
        device="gpu" if resources.engine_gpus else "cpu",
        fence=parts.guard.fence,
        rates=parts.pipeline.rates,
    )
    record = update_record(output, record, lambda before: before.with_attempt(attempt))
    parts.log.info(
        "score.run_started",
        listed=plan.listed,
        skipped=plan.skipped,
        shards=plan.num_shards,
        attempt=len(record.attempts),
        engines=resources.engines,
        device=attempt.device,
    )
    tally = _Tally()
    try:
        _score_missing(parts, tally)
        account = balanced_account(output, plan, parts.quality)
    except WorkerError as error:
        outcome = "stopped" if isinstance(error, Stopped) else "failed"
        # The store may be what failed: the record of the end is then lost, and the first error is the one to tell.
        with contextlib.suppress(StorageError):
            ended = _ended(attempt, outcome, tally, parts.pipeline.hardware).model_copy(update={"problem": str(error)})
            update_record(output, record, lambda before: before.with_attempt(ended))
        parts.log.warning("score.run_ended_early", outcome=outcome, images=tally.work.images, shards=tally.shards)
        raise
    ended = _ended(attempt, "finished", tally, parts.pipeline.hardware)
    quality = parts.quality.result() if parts.quality else None
    finished = {"state": "finished", "finished_at": ended.ended_at, "account": account, "quality": quality}

    def finish(before: RunRecord) -> RunRecord:
        # Another attempt may have finished it first: then its account stands, and it is the same.
        after = before.with_attempt(ended)
        return after if before.state == "finished" else after.model_copy(update=finished)

    record = update_record(output, record, finish)
    parts.log.info(
        "score.run_finished",
        ok=account.ok,
        failed=account.failed,
        skipped=account.skipped,
        images_per_s=round(ended.images_per_s, 2),
        bottleneck=ended.bottleneck,
        efficiency=ended.speed and ended.speed.efficiency,
        duration_s=round(ended.wall_s, 1),
    )
    return record


@dataclass
class _Tally:
    """What this attempt did so far."""

    work: Work = field(default_factory=Work)
    shards: int = 0
    begun: float = field(default_factory=time.perf_counter)
    first_rows: float | None = None
    first_request: float = math.inf
    last_rows: float = 0.0

    def see_rows(self, rows: pa.Table) -> None:
        self.last_rows = time.perf_counter()
        self.first_rows = self.first_rows or self.last_rows
        requested = self.last_rows - (time.time() - pc.min(rows["begun_at"]).as_py())
        # By the clock of another machine. What cannot be is taken for the begin: no run looks better than it was.
        is_possible = self.begun <= requested <= self.last_rows
        self.first_request = min(self.first_request, requested if is_possible else self.begun)

    def add(self, committed: Committed) -> None:
        if committed.size_bytes is None:
            return
        values = committed.work.model_dump()
        self.work = Work(**{name: value + values[name] for name, value in self.work.model_dump().items()})
        self.shards += 1


def _score_missing(parts: Parts, tally: _Tally) -> None:
    """Pass over the missing shards until there is none.

    Rows that a pass lost (a dead node, a shard that was not whole) are missing in the next one. Whether a shard is
    there, the store alone says.
    """
    output, plan = parts.pipeline.output, parts.pipeline.plan
    fruitless = 0
    while True:
        problem: WorkerError | RayError | None = None
        shards = 0
        try:
            if not (missing := missing_shards(output, plan)):
                break
            written = plan.rows - sum(plan.rows_of(shard) for shard in missing)
            parts.bar.reach(written)
            parts.metrics.show_ledger(plan, written)
            for committed in _one_pass(parts, missing, tally):
                written += committed.rows
                shards += 1
                tally.add(committed)
                parts.guard.see(committed)
                parts.metrics.count(committed)
                parts.metrics.show_ledger(plan, written)
                parts.bar.reach(written)
                parts.log.info(
                    "score.shard_committed",
                    shard=committed.shard,
                    rows=committed.rows,
                    failed_rows=sum(committed.reasons.values()),
                    shard_bytes=committed.size_bytes,
                    by_another_attempt=committed.size_bytes is None,
                )
        except _PASSING as error:
            problem = error
            parts.log.warning("score.pass_failed", problem=_first_line(error), committed_shards=shards)
        fruitless = 0 if shards else fruitless + 1
        if fruitless == _FRUITLESS_PASSES:
            raise _given_up(problem)
        if fruitless:
            time.sleep(parts.pause_s * fruitless)
    parts.metrics.show_ledger(plan, plan.rows)
    parts.bar.reach(plan.rows)


def _one_pass(parts: Parts, missing: list[int], tally: _Tally) -> Iterator[Committed]:
    try:
        with contextlib.closing(parts.pipeline.stream(missing)) as stream:
            for rows in stream:
                tally.see_rows(rows)
                yield from parts.committer.add(rows)
    except _PASSING:
        yield from parts.committer.finish()
        raise
    yield from parts.committer.finish()


def _given_up(problem: WorkerError | RayError | None) -> WorkerError:
    if isinstance(problem, WorkerError):
        return problem
    reason = "rows got lost each time" if problem is None else _first_line(problem)
    return ClusterError(
        f"{_FRUITLESS_PASSES} passes over the missing shards committed nothing: {reason}. "
        "Look at the Ray cluster, then run the same command again to continue"
    )


def _first_line(error: BaseException) -> str:
    return f"{type(error).__name__}: {str(error).strip().splitlines()[0] if str(error).strip() else ''}"[:300]


def _ended(attempt: Attempt, outcome: str, tally: _Tally, hardware: Hardware) -> Attempt:
    now = time.perf_counter()
    wall_s, work = now - tally.begun, tally.work
    startup_s = (tally.first_rows or now) - tally.begun
    speed = _speed(attempt, tally, hardware)
    return Attempt.model_validate(
        attempt.model_dump()
        | {
            "ended_at": datetime.now(UTC),
            "outcome": outcome,
            "wall_s": round(wall_s, 3),
            "startup_s": round(startup_s, 3),
            "images_per_s": round(work.images / wall_s, 3),
            "bottleneck": speed and speed.bottleneck,
            "speed": speed,
            "work": work,
        }
    )


def _speed(attempt: Attempt, tally: _Tally, hardware: Hardware) -> SpeedOfLight | None:
    """The report; None when nothing was measured.

    The clock runs from the first request for a photograph. From the first rows on it would flatter: by then the
    fetchers are ahead of the engines by what the object store holds, and those photographs would count as decoded in no
    time. So a short run pays for opening its engines, and looks no better than it was.
    """
    if attempt.rates is None or not tally.work.images:
        return None
    achieved = tally.work.images / max(1e-9, tally.last_rows - tally.first_request)
    return speed_of_light(attempt.rates, hardware, tally.work.commit_cpu_s / tally.work.images, achieved)
