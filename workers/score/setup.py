"""From settings to the parts of a run."""

from __future__ import annotations

import contextlib
import dataclasses
from collections.abc import Iterator
from datetime import UTC, datetime

import pyarrow as pa

from lga_model.images import ImageLimits
from workers.engines import EngineRecord
from workers.lease import Held
from workers.logs import get_log
from workers.progress import ProgressBar
from workers.runs.plan import Plan
from workers.runs.quality import QualityTally, validation_distribution
from workers.runs.record import RunRecord
from workers.score.attempt import Parts
from workers.score.commit import Committer
from workers.score.failures import FailureLimits, FailureWatch
from workers.score.fetch import FetchOptions
from workers.score.guard import Guard
from workers.score.inventory import Source
from workers.score.metrics import ScoreMetrics
from workers.score.pipeline import Pipeline, cluster_resources
from workers.score.predict import OpenEngine, RegisteredEngine
from workers.score.rates import measure_rates
from workers.settings import ScoreSettings
from workers.storage import Store
from workers.tags import Lineage, TagForm, tag_schema

_BATCH_SIZE = 32
"""Images in one engine call where nothing could be measured."""
_RECORDED = {
    "include", "exclude", "limit", "engine", "scores", "shard_rows", "batch_size", "engines", "fetch_concurrency",
    "image_timeout_s", "decode_on", "max_object_bytes", "max_image_pixels", "max_failure_rate", "max_reason_rate",
    "if_running", "lease_s", "model", "registry", "output",
}  # fmt: skip
"""Settings that go into ``run.json``. None of them can hold a secret."""


@contextlib.contextmanager
def assembled(
    settings: ScoreSettings,
    source: Source,
    output: Store,
    plan: Plan,
    engine: EngineRecord,
    opener: OpenEngine,
    lease: Held,
    metrics: ScoreMetrics,
) -> Iterator[Parts]:
    """The parts of an attempt on the cluster that this process is connected to."""
    reference = validation_distribution(opener.version.uri) if isinstance(opener, RegisteredEngine) else None
    metrics.expect(reference)
    log = get_log(run_id=plan.run_id)
    options = FetchOptions(
        size_px=engine.size_px,
        limits=ImageLimits(max_bytes=settings.max_object_bytes, max_pixels=settings.max_image_pixels),
        batch_size=settings.batch_size or _BATCH_SIZE,
        concurrency=settings.fetch_concurrency,
        timeout_s=settings.image_timeout_s,
        decode_on=settings.decode_on,
    )
    form = tag_form(settings, engine)
    lineage = Lineage(model=engine.model, version=engine.version, engine=engine.fingerprint, run_id=plan.run_id)
    alone = cluster_resources(settings.engines, decode_on=settings.decode_on)
    rates = measure_rates(
        source.store,
        output,
        plan,
        options,
        (opener, form, lineage, alone.threads),
        batch_size=settings.batch_size,
        gpus=alone.engine_gpus,
        log=log,
    )
    if rates and rates.batch_size:
        options = dataclasses.replace(options, batch_size=rates.batch_size)
    pipeline = Pipeline(
        source=source.store,
        output=output,
        plan=plan,
        options=options,
        opener=opener,
        form=form,
        lineage=lineage,
        resources=cluster_resources(settings.engines, rates, settings.decode_on),
        rates=rates,
    )
    resources = pipeline.resources
    metrics.show_run(plan.run_id, f"{engine.model}:{engine.version}")
    metrics.show_price(settings.price_per_hour)
    metrics.show_engine(
        engine,
        engines=resources.engines,
        device="gpu" if resources.engine_gpus else "cpu",
        batch_size=options.batch_size,
    )
    committer = Committer(output, plan, shard_schema(settings, source, plan, engine))
    with (
        contextlib.closing(committer),
        ProgressBar("scoring", plan.rows, shown=settings.progress) as bar,
    ):
        yield Parts(
            pipeline=pipeline,
            committer=committer,
            metrics=metrics,
            bar=bar,
            log=log,
            guard=Guard(lease=lease, failures=FailureWatch(failure_limits(settings), plan.rows)),
            quality=QualityTally(source.prefix, reference),
        )


def failure_limits(settings: ScoreSettings) -> FailureLimits:
    """How much may fail."""
    return FailureLimits(
        overall=settings.max_failure_rate,
        by_reason=settings.max_reason_rate,
    )


def tag_form(settings: ScoreSettings, engine: EngineRecord) -> TagForm:
    """The shape of the rows."""
    return TagForm(classes=engine.classes, heatmap_hw=engine.heatmap_hw, scores=settings.scores)


def shard_schema(settings: ScoreSettings, source: Source, plan: Plan, engine: EngineRecord) -> pa.Schema:
    """Columns and metadata of the shards."""
    metadata = {
        "input": source.uri,
        "namespace": source.namespace,
        "run": plan.run_id,
        "model": f"{engine.model}:{engine.version}",
        "engine": engine.fingerprint,
        "target": engine.target,
        "precision": engine.precision,
        "preprocessing": engine.preprocessing,
    }
    return tag_schema(tag_form(settings, engine), metadata)


def new_record(settings: ScoreSettings, source: Source, plan: Plan, engine: EngineRecord) -> RunRecord:
    """The record of a run at its start."""
    return RunRecord(
        run_id=plan.run_id,
        state="running",
        input=source.uri,
        model=engine.model,
        version=engine.version,
        engine=engine.fingerprint,
        target=engine.target,
        precision=engine.precision,
        preprocessing=engine.preprocessing,
        settings=settings.model_dump(mode="json", include=_RECORDED),
        started_at=datetime.now(UTC),
    )
