"""``lga shadow``: a sample is scored with both models, the tags are compared, the full re-tag is estimated.

input -inventory-> objects -sample-> photographs -score twice-> tags -compare-> table, JSON, HTML
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import tempfile
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc
from rich.table import Table
from rich.text import Text

from workers.console import result_console
from workers.engines import EngineRecord
from workers.errors import SettingsError
from workers.metrics import published
from workers.registry import Version
from workers.runs.record import RunRecord
from workers.runtime import ray_session
from workers.score.engine import choose_engine, find_candidates
from workers.score.inventory import Selection, Source, list_objects, open_source
from workers.score.metrics import ScoreMetrics
from workers.score.predict import RegisteredEngine
from workers.score.run import fingerprint
from workers.score.shadow.compare import COLUMNS, Comparison, compare
from workers.score.shadow.page import page
from workers.score.shadow.sample import Sample, draw
from workers.score.work import Work, finish_work
from workers.settings import ScoreSettings, ShadowSettings
from workers.storage import Store, open_store, split_uri
from workers.tags import list_shards, namespace_of, read_shards


@dataclass(frozen=True, kw_only=True)
class Retag:
    """What it takes to score everything with the candidate, by the speed of the sample on these machines."""

    objects: int
    images_per_s: float
    hours: float
    hours_possible: float
    """A sample is short and its start weighs heavily: the truth lies between."""
    cost: float | None


def shadow(settings: ShadowSettings) -> int:
    """Print what a full re-tag would change and cost; write it as JSON and HTML where asked to."""
    metrics = ScoreMetrics()
    with published(metrics, "shadow", settings):
        return _shadow(settings, metrics)


def _shadow(settings: ShadowSettings, metrics: ScoreMetrics) -> int:
    with contextlib.ExitStack() as stack:
        folder = settings.output or stack.enter_context(tempfile.TemporaryDirectory(prefix="lga-shadow-"))
        source, output = open_source(settings.input), open_store(folder)
        selection = Selection(
            include=tuple(settings.include), exclude=tuple(settings.exclude), suffixes=tuple(settings.suffix)
        )
        objects = list_objects(source, selection, output, settings.inventory)
        sample = draw(objects, source.prefix, settings.sample_size)
        if not sample.objects.num_rows:
            raise SettingsError(f"there is nothing to score under {source.uri}; check --input, --include and --exclude")
        stack.enter_context(ray_session(settings.ray_address))
        # Both before the first is scored: a candidate without an engine is told at once.
        chosen = [_chosen(settings, model) for model in (settings.model, settings.candidate)]
        records = [_score(settings, each, source, sample, folder, metrics) for each in chosen]
        before, after = (_tags(output, source, record.engine, sample.objects["key"]) for record in records)
    comparison = compare(before, after, sample.weight_of, sample.stratum_of)
    retag = estimate_retag(records[1], sum(sample.listed.values()), settings.price_per_hour)
    facts = {
        "input": source.uri,
        "production": _model(records[0]),
        "candidate": _model(records[1]),
        "sampled": sample.objects.num_rows,
        "listed": sum(sample.listed.values()),
        "comparison": asdict(comparison),
        "retag": asdict(retag) if retag else None,
    }
    _show(facts, comparison, retag)
    _write(settings.json_output, json.dumps(facts, indent=2, ensure_ascii=False) + "\n")
    _write(settings.html, page(facts))
    return 0


def estimate_retag(record: RunRecord, objects: int, price_per_hour: float | None) -> Retag | None:
    """Time and cost of scoring everything as fast as a run was; None when it scored nothing."""
    paces = [attempt.pace for attempt in record.attempts if attempt.pace]
    if not paces:
        return None
    hours, hours_possible = (objects / rate / 3600 for rate in paces[-1])
    cost = None if price_per_hour is None else hours * price_per_hour
    return Retag(objects=objects, images_per_s=paces[-1].did, hours=hours, hours_possible=hours_possible, cost=cost)


@dataclass(frozen=True, kw_only=True)
class _Chosen:
    """A model and the engine of it that will score."""

    reference: str
    version: Version
    engine: EngineRecord


def _chosen(settings: ShadowSettings, model: str) -> _Chosen:
    candidates = find_candidates(settings.registry, model)
    return _Chosen(reference=model, version=candidates.version, engine=choose_engine(candidates, settings.engine))


def _score(
    settings: ShadowSettings, chosen: _Chosen, source: Source, sample: Sample, output: str, metrics: ScoreMetrics
) -> RunRecord:
    shared = settings.model_dump(
        include={"registry", "input", "batch_size", "progress", "ray_address", "price_per_hour"}
    )
    asked = ScoreSettings(**shared | {"model": chosen.reference, "output": output, "shard_rows": 256})
    keys = hashlib.sha256("\n".join(sorted(sample.stratum_of)).encode()).hexdigest()
    opener = RegisteredEngine(registry=settings.registry, version=chosen.version, record=chosen.engine)
    work = Work(
        source=source,
        objects=lambda _notes: iter([sample.objects]),
        digest=fingerprint(source, Selection(), chosen.engine.fingerprint, scores=True, shadow=keys),
    )
    return finish_work(asked, work, chosen.engine, opener, metrics)


def _tags(output: Store, source: Source, engine: str, keys: pa.ChunkedArray) -> pa.Table:
    """The latest row of each sampled object of a source from an engine, whichever run wrote it.

    With the output of production its tags are there already, and are not made again.
    """
    columns = [*COLUMNS, "engine", "scored_at"]
    found = []
    for _, table in read_shards(output, list_shards(output), columns):
        if namespace_of(table) != source.namespace:
            continue
        mine = table.select(columns).filter(pc.and_(pc.equal(table["engine"], engine), pc.is_in(table["key"], keys)))
        if mine.num_rows:
            found.append(mine.replace_schema_metadata(None))
    rows = pa.concat_tables(found).sort_by("scored_at")
    newest = {key: row for row, key in enumerate(rows["key"].to_pylist())}
    return rows.take(pa.array(newest.values(), pa.int64()))


def _model(record: RunRecord) -> dict[str, Any]:
    return {
        "model": record.model,
        "version": record.version,
        "engine": record.engine,
        "target": record.target,
        "precision": record.precision,
    }


def _show(facts: dict[str, Any], comparison: Comparison, retag: Retag | None) -> None:
    names = [f"{facts[side]['model']}:{facts[side]['version']}" for side in ("production", "candidate")]
    table = Table(title=Text(f"{names[0]} -> {names[1]}"), show_header=False, title_justify="left", box=None)
    table.add_column(style="bold", no_wrap=True)
    table.add_column(overflow="fold")
    for name, value in lines(facts, comparison, retag):
        table.add_row(Text(name), Text(value))
    result_console().print(table)


def lines(facts: dict[str, Any], comparison: Comparison, retag: Retag | None) -> Iterator[tuple[str, str]]:
    """The lines of the table: name and value."""
    yield "compared", f"{comparison.compared} of {facts['sampled']} sampled, out of {facts['listed']} listed"
    share = "" if comparison.flip_share is None else f", about {comparison.flip_share:.1%} of all that is listed"
    yield "labels that flip", f"{comparison.flips}{share}"
    changes = [
        (count, f"{old} -> {new}") for old, row in comparison.matrix.items() for new, count in row.items() if old != new
    ]
    for count, change in sorted(changes, reverse=True)[:5]:
        yield f"  {change}", str(count)
    for name, value in (
        ("confidence, mean shift", comparison.confidence_shift),
        ("focus, mean shift", comparison.focus_shift),
        ("heatmap, mean difference", comparison.heatmap_difference),
        ("heatmap, overlap (IoU)", comparison.heatmap_overlap),
    ):
        yield name, "-" if value is None else f"{value:+.3f}" if "shift" in name else f"{value:.3f}"
    yield "tagged by one alone", f"production {comparison.only_production}, candidate {comparison.only_candidate}"
    if retag is not None:
        cost = "" if retag.cost is None else f", cost {retag.cost:.2f} at most"
        time = f"{retag.hours_possible:.2f} to {retag.hours:.2f} h"
        yield "full re-tag", f"{retag.objects} objects: {time} (at {retag.images_per_s:.1f} images/s){cost}"


def _write(uri: str | None, text: str) -> None:
    if uri is not None:
        store, name = split_uri(uri)
        store.put(name, text.encode())
