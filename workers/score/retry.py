"""``lga runs retry``: score again what a run could not, with the same engine, as a run of its own."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc

from workers.engines import EngineRecord
from workers.errors import SettingsError
from workers.metrics import published
from workers.runs.listing import chosen_run
from workers.runs.plan import LISTED
from workers.runs.record import RunRecord, read_record
from workers.runs.summary import print_summary
from workers.runtime import ray_session
from workers.score.engine import Candidates, choose_engine, find_candidates
from workers.score.inventory import Selection, open_source
from workers.score.metrics import ScoreMetrics
from workers.score.predict import RegisteredEngine
from workers.score.run import fingerprint
from workers.score.work import Work, finish_work
from workers.settings import RunsRetrySettings, ScoreSettings
from workers.storage import Store, open_store
from workers.tags import REASONS, list_shards, read_shards

_KEPT = (
    "registry", "scores", "shard_rows", "batch_size", "fetch_concurrency", "image_timeout_s", "max_object_bytes",
    "max_image_pixels",
)  # fmt: skip
"""Settings of the run that the retry takes over, unless it is given others."""


def retry_failed(settings: RunsRetrySettings) -> int:
    """Score the failed objects of a run again; those that another run has scored meanwhile are left out."""
    output = open_store(settings.output)
    record = _record(output, settings)
    reasons = tuple(sorted(settings.reason or REASONS))
    if record.account is not None and not any(record.account.reasons.get(reason) for reason in reasons):
        print(f"nothing to do: run {record.run_id} has no object that failed as {', '.join(reasons)}")
        return 0
    asked = score_settings(settings, record)
    candidates = find_candidates(asked.registry, asked.model)
    same = Candidates(version=candidates.version, engines=_same_engine(candidates, record))
    source = open_source(record.input)
    metrics = ScoreMetrics()
    with published(metrics, "retry", asked), ray_session(settings.ray_address):
        engine = choose_engine(same, "best")
        work = Work(
            source=source,
            objects=lambda _notes: failed_objects(output, record.run_id, reasons),
            digest=fingerprint(
                source, Selection(), engine.fingerprint, scores=asked.scores, retry=record.run_id, reasons=reasons
            ),
        )
        opener = RegisteredEngine(registry=asked.registry, version=candidates.version, record=engine)
        again = finish_work(asked, work, engine, opener, metrics)
        metrics.show_record(again)
    print_summary(again, output)
    return 0


def score_settings(settings: RunsRetrySettings, record: RunRecord) -> ScoreSettings:
    """How the objects are scored: as the run did, but for what was asked for otherwise."""
    kept: dict[str, Any] = {name: record.settings[name] for name in _KEPT if name in record.settings}
    wanted = settings.model_dump(include=set(ScoreSettings.model_fields) - {"run"}, exclude_none=True)
    model = f"{record.model}:{record.version}" if record.version else str(record.settings["model"])
    return ScoreSettings(**kept | wanted | {"input": record.input, "model": model})


def failed_objects(output: Store, run_id: str, reasons: tuple[str, ...]) -> Iterator[pa.Table]:
    """The objects of a run that failed for one of some reasons, as tables of ``LISTED``."""
    for _name, table in read_shards(output, list_shards(output, run_id), [*LISTED.names, "reason"]):
        failed = pc.fill_null(pc.is_in(table["reason"], pa.array(reasons)), fill_value=False)
        yield table.filter(failed).select(LISTED.names).replace_schema_metadata(None)


def _record(output: Store, settings: RunsRetrySettings) -> RunRecord:
    run_id = chosen_run(output, settings.run)
    record = read_record(output, run_id)
    if record is None:
        raise SettingsError(f"run {run_id} is planned, and nothing is scored yet; continue it with `lga score`")
    return record


def _same_engine(candidates: Candidates, record: RunRecord) -> list[EngineRecord]:
    engines = [engine for engine in candidates.engines if engine.fingerprint == record.engine]
    if not engines:
        raise SettingsError(
            f"run {record.run_id} was scored with engine {record.engine}, which {candidates.version} has no longer; "
            "score everything with the present one: lga score"
        )
    return engines
