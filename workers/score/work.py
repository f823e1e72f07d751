"""One piece of work from its claim to its account: agree on the run, take the lease, plan, score."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from datetime import UTC, datetime

import pyarrow as pa

from workers.engines import EngineRecord
from workers.lease import LeaseOptions, leased
from workers.logs import get_log
from workers.runs.record import RunRecord, read_record
from workers.score.attempt import finish_run
from workers.score.inventory import ListingNotes, Selection, Source, list_objects, open_source
from workers.score.metrics import ScoreMetrics
from workers.score.planning import PlanRequest, find_or_make_plan
from workers.score.predict import OpenEngine
from workers.score.run import claim_run, fingerprint, lease_key
from workers.score.setup import assembled, new_record
from workers.settings import ScoreSettings
from workers.storage import open_store


@dataclass(frozen=True, kw_only=True)
class Work:
    """What is to be scored."""

    source: Source
    objects: Callable[[ListingNotes | None], Iterator[pa.Table]]
    """Lists the objects, as tables of ``LISTED``. Called when there is no plan yet, with the notes of the run."""
    digest: str
    """Equal for attempts at the same work."""


def work_of(settings: ScoreSettings, engine: EngineRecord) -> Work:
    """What the settings of `lga score` ask for."""
    source, output = open_source(settings.input), open_store(settings.output)
    selection = Selection(
        include=tuple(settings.include),
        exclude=tuple(settings.exclude),
        suffixes=tuple(settings.suffix),
        min_bytes=settings.min_object_bytes,
        sample=settings.sample,
        limit=settings.limit,
    )
    digest = fingerprint(
        source,
        selection,
        engine.fingerprint,
        scores=settings.scores,
        inventory=settings.inventory,
        skip_quarantined=settings.skip_quarantined,
    )
    return Work(
        source=source,
        objects=lambda notes: list_objects(source, selection, output, settings.inventory, notes),
        digest=digest,
    )


def finish_work(
    settings: ScoreSettings,
    work: Work,
    engine: EngineRecord,
    opener: OpenEngine,
    metrics: ScoreMetrics | None = None,
) -> RunRecord:
    """Bring a piece of work to its end, or watch another attempt do it; returns the run's finished record.

    Raises:
        AlreadyRunning: If another attempt is at it, and ``--if-running exit`` leaves it alone.
        WorkerError: If this attempt ended early; the next one continues.
    """
    output = open_store(settings.output)
    run_id = claim_run(output, work.digest, settings.run, datetime.now(UTC))
    log = get_log(run_id=run_id)
    options = LeaseOptions(if_running=settings.if_running, lease_s=settings.lease_s)
    with leased(output, lease_key(work.digest), options) as lease:
        before = read_record(output, run_id)
        request = PlanRequest(
            run_id=run_id,
            fingerprint=work.digest,
            engine=engine.fingerprint,
            shard_rows=settings.shard_rows,
            now=datetime.now(UTC),
            skip_quarantined=settings.skip_quarantined,
        )
        notes = ListingNotes(output, run_id)
        plan = find_or_make_plan(output, work.source, lambda: work.objects(notes), request)
        notes.forget()
        if before and before.state == "finished":
            log.info("score.run_already_finished")
            return before
        log.info("score.run_planned", listed=plan.listed, skipped=plan.skipped, shards=plan.num_shards)
        if plan.listed == 0:
            log.warning("score.input_empty", input=work.source.uri, advice="check --input, --include and --exclude")
        with assembled(settings, work.source, output, plan, engine, opener, lease, metrics or ScoreMetrics()) as parts:
            return finish_run(parts, before or new_record(settings, work.source, plan, engine))
