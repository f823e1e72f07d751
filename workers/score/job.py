"""``lga score``: every photograph under a prefix becomes one row.

input -inventory-> objects -plan-> shards -fetch-> pixels -predict-> rows -commit-> <output>/tags/run=.../
"""

from __future__ import annotations

from datetime import UTC, datetime

from workers.engines import EngineRecord
from workers.logs import get_log
from workers.runtime import ray_session
from workers.score.attempt import finish_run
from workers.score.engine import choose_engine, compile_missing, find_candidates
from workers.score.inventory import Selection, list_objects, open_source
from workers.score.pipeline import cluster_resources
from workers.score.planning import PlanRequest, find_or_make_plan
from workers.score.predict import OpenEngine, RegisteredEngine
from workers.score.record import RunRecord, read_record
from workers.score.run import claim_run, fingerprint
from workers.score.setup import assembled, new_record
from workers.score.summary import check_failures, print_summary
from workers.settings import ScoreSettings
from workers.storage import open_store


def score(settings: ScoreSettings) -> int:
    """Tag everything under ``--input``; continue where an earlier attempt stopped."""
    source, output = open_source(settings.input), open_store(settings.output)
    # A bucket that is missing or closed is told now, before Ray takes its seconds and before anything is written.
    next(list_objects(source, Selection(limit=1), output), None)
    candidates = find_candidates(settings.registry, settings.model)
    with ray_session(settings.ray_address):
        if settings.compile_if_missing:
            candidates = compile_missing(settings.registry, candidates, settings.engine)
        engine = choose_engine(candidates, settings.engine)
        threads = cluster_resources(settings.engines).threads
        opener = RegisteredEngine(
            registry=settings.registry, version=candidates.version, record=engine, threads=threads
        )
        record = score_with(settings, engine, opener)
    print_summary(record, output)
    check_failures(record, settings.max_failure_rate)
    return 0


def score_with(settings: ScoreSettings, engine: EngineRecord, opener: OpenEngine) -> RunRecord:
    """Do the run with a chosen engine, inside a Ray session; returns its finished record."""
    source, output = open_source(settings.input), open_store(settings.output)
    selection = Selection(include=tuple(settings.include), exclude=tuple(settings.exclude), limit=settings.limit)
    digest = fingerprint(source, selection, engine.fingerprint, scores=settings.scores)
    run_id = claim_run(output, digest, settings.run, datetime.now(UTC))
    log = get_log(run_id=run_id)
    request = PlanRequest(
        run_id=run_id,
        fingerprint=digest,
        engine=engine.fingerprint,
        shard_rows=settings.shard_rows,
        now=datetime.now(UTC),
    )
    plan = find_or_make_plan(output, source, list_objects(source, selection, output), request)
    log.info("score.run_planned", listed=plan.listed, skipped=plan.skipped, shards=plan.num_shards)
    if plan.listed == 0:
        log.warning("score.input_empty", input=source.uri, advice="check --input, --include and --exclude")
    before = read_record(output, run_id)
    if before and before.state == "finished":
        log.info("score.run_already_finished")
        return before
    with assembled(settings, source, output, plan, engine, opener) as parts:
        return finish_run(parts, before or new_record(settings, source, plan, engine))
