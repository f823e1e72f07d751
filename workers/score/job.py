"""``lga score``: every photograph under a prefix becomes one row.

input -inventory-> objects -plan-> shards -fetch-> pixels -predict-> rows -commit-> <output>/tags/run=.../
"""

from __future__ import annotations

from workers.engines import EngineRecord
from workers.metrics import published
from workers.registry import Registry
from workers.runs.record import RunRecord
from workers.runs.summary import print_summary
from workers.runtime import ray_session
from workers.score.engine import choose_engine, compile_missing, find_candidates
from workers.score.estimate import print_estimate
from workers.score.failures import check_failures
from workers.score.inventory import Selection, list_objects, open_source
from workers.score.metrics import ScoreMetrics
from workers.score.pipeline import cluster_resources
from workers.score.predict import OpenEngine, RegisteredEngine
from workers.score.setup import failure_limits
from workers.score.work import finish_work, work_of
from workers.settings import ScoreSettings
from workers.storage import open_store


def score(settings: ScoreSettings) -> int:
    """Tag everything under ``--input``; continue where an earlier attempt stopped."""
    metrics = ScoreMetrics()
    if settings.dry_run:
        return _score(settings, metrics)  # It scores nothing, and so leaves no outcome behind.
    with published(metrics, "score", settings):
        return _score(settings, metrics)


def _score(settings: ScoreSettings, metrics: ScoreMetrics) -> int:
    source, output = open_source(settings.input), open_store(settings.output)
    # A bucket that is missing or closed is told now, before Ray takes its seconds and before anything is written.
    next(list_objects(source, Selection(limit=1), output, settings.inventory), None)
    candidates = find_candidates(settings.registry, settings.model)
    metrics.show_model_created(Registry(settings.registry).created(candidates.version))
    with ray_session(settings.ray_address):
        if settings.compile_if_missing and not settings.dry_run:
            candidates = compile_missing(settings.registry, candidates, settings.engine)
        engine = choose_engine(candidates, settings.engine)
        # What the cluster cannot do is told now, before anything is planned.
        cluster_resources(settings.engines, decode_on=settings.decode_on)
        if settings.dry_run:
            return print_estimate(settings, work_of(settings, engine), engine)
        opener = RegisteredEngine(registry=settings.registry, version=candidates.version, record=engine)
        record = score_with(settings, engine, opener, metrics)
    metrics.show_record(record)
    print_summary(record, output)
    check_failures(record, failure_limits(settings))
    return 0


def score_with(
    settings: ScoreSettings, engine: EngineRecord, opener: OpenEngine, metrics: ScoreMetrics | None = None
) -> RunRecord:
    """Do the run with a chosen engine, inside a Ray session; returns its finished record."""
    return finish_work(settings, work_of(settings, engine), engine, opener, metrics)
