"""``lga evaluate``: a model, a split, and what it is worth there: tables for people, JSON for machines."""

from __future__ import annotations

import json
import math
from collections.abc import Iterator, Sequence
from contextlib import closing
from dataclasses import asdict
from typing import Any, NamedTuple

import torch

from lga_model.annotations import Annotation, Manifest
from lga_model.calibration import Calibration
from lga_model.nobody import empty_window
from workers.engines.torch import load_graph
from workers.errors import SettingsError
from workers.evaluate.measure import Comparison, Evaluation, compare, evaluate_observations
from workers.evaluate.observe import Observations, joined, observe
from workers.evaluate.tables import show_comparison, show_evaluation
from workers.logs import get_log
from workers.manifest import (
    Batch,
    Decode,
    load_manifest,
    part_without_people,
    read_batches,
    refuse_bad_rows,
    whole_photograph,
)
from workers.progress import ProgressBar
from workers.registry import Registry, Version
from workers.settings import EvaluateSettings
from workers.storage import split_uri


class _Observed(NamedTuple):
    """A model, and what it said."""

    classes: tuple[str, ...]
    calibration: Calibration
    seen: Observations
    nobody: Observations


def evaluate(settings: EvaluateSettings) -> int:
    """Measure one model on one split, and maybe compare it with another."""
    registry = Registry(settings.registry)
    version = registry.resolve(settings.model)
    reference = registry.resolve(settings.against) if settings.against else None
    manifest = load_manifest(settings.manifest)
    if settings.skip_invalid:
        get_log().warning("evaluate.rows_skipped", rows=len(manifest.bad_rows), manifest=settings.manifest)
    else:
        refuse_bad_rows(manifest, settings.manifest)
    model = _observed(registry, version, manifest, settings)
    evaluation = evaluate_observations(
        model.seen, model.nobody, model.classes, model.calibration, resamples=settings.resamples
    )
    comparison = None
    if reference is not None:
        comparison = _compared(model, _observed(registry, reference, manifest, settings), str(reference), settings)
    if settings.json_output:  # Before anything is shown: whoever reads stdout may be gone.
        _write(settings, _lineage(version, manifest, settings), evaluation, comparison)
    title = f"{version} on {settings.split}"
    show_evaluation(evaluation, title)
    if comparison is not None:
        show_comparison(comparison, title)
    return 0


def _observed(registry: Registry, version: Version, manifest: Manifest, settings: EvaluateSettings) -> _Observed:
    """Run one model over the photographs of the split, and over what shows nobody in it."""
    graph, record = load_graph(registry.fetch(version), str(version))
    graph.to("cuda" if torch.cuda.is_available() else "cpu")
    classes, size_px = record.config.classes, record.config.image.size_px
    annotations = _rows(manifest, settings, classes, str(version))
    parts = [row for row in annotations if empty_window(row.boxes, row.width, row.height)]
    nobody = manifest.nobody(settings.split)
    total = len(annotations) + len(nobody) + len(parts)
    with ProgressBar(f"{version} on {settings.split}", total, shown=settings.progress) as bar:

        def seen(
            rows: Sequence[Annotation], decode: Decode = whole_photograph, *, nobody: bool = False
        ) -> Observations:
            with closing(read_batches(rows, size_px, settings.batch_size, decode)) as batches:
                return observe(graph, _counted(batches, bar), nobody=nobody)

        return _Observed(
            classes=classes,
            calibration=record.calibration,
            seen=seen(annotations),
            nobody=joined(seen(nobody, nobody=True), seen(parts, part_without_people, nobody=True)),
        )


def _compared(model: _Observed, other: _Observed, name: str, settings: EvaluateSettings) -> Comparison:
    if set(other.classes) != set(model.classes):
        unshared = sorted(set(other.classes) ^ set(model.classes))
        raise SettingsError(f"{settings.model} and {name} know different actions ({', '.join(unshared[:5])})")
    order = [other.classes.index(action) for action in model.classes]
    return compare(model.seen, other.seen.of_classes(order), model.classes, name, resamples=settings.resamples)


def _rows(manifest: Manifest, settings: EvaluateSettings, classes: Sequence[str], model: str) -> tuple[Annotation, ...]:
    """The photographs of the split, all of actions that the model knows."""
    annotations = manifest.split(settings.split)
    if not annotations:
        raise SettingsError(f"{settings.manifest} has no photographs in its split {settings.split}")
    unknown = sorted({annotation.action for annotation in annotations} - set(classes))
    if unknown:
        raise SettingsError(
            f"{settings.manifest} has actions that {model} does not know: {', '.join(unknown[:8])}. "
            f"It knows {len(classes)}, among them {', '.join(classes[:4])}"
        )
    return annotations


def _counted(batches: Iterator[Batch], bar: ProgressBar) -> Iterator[Batch]:
    for batch in batches:
        yield batch
        bar.advance(len(batch[0]))


def _lineage(version: Version, manifest: Manifest, settings: EvaluateSettings) -> dict[str, Any]:
    return {
        "model": version.name,
        "version": version.number,
        "manifest": settings.manifest,
        "manifest_sha256": manifest.digest,
        "split": settings.split,
        "skipped_rows": len(manifest.bad_rows),
    }


def _write(
    settings: EvaluateSettings, lineage: dict[str, Any], evaluation: Evaluation, comparison: Comparison | None
) -> None:
    facts = lineage | asdict(evaluation) | {"comparison": None if comparison is None else asdict(comparison)}
    store, name = split_uri(str(settings.json_output))
    store.put(name, (json.dumps(_without_nan(facts), indent=2, ensure_ascii=False) + "\n").encode())


def _without_nan(value: Any) -> Any:  # noqa: ANN401 - any JSON
    """JSON knows no NaN: what could not be measured is null."""
    if isinstance(value, dict):
        return {name: _without_nan(each) for name, each in value.items()}
    if isinstance(value, (list, tuple)):
        return [_without_nan(each) for each in value]
    return None if isinstance(value, float) and math.isnan(value) else value
