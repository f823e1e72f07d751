"""``lga evaluate``: a model, a split, and what it is worth there: a table for people, JSON for machines."""

from __future__ import annotations

import json
import math
from collections.abc import Iterator
from contextlib import closing
from dataclasses import asdict
from typing import Any

import torch
from rich.table import Table

from lga_model.annotations import Annotation, Manifest
from workers.console import result_console
from workers.engines.torch import load_graph
from workers.errors import SettingsError
from workers.evaluate.measure import Evaluation, evaluate_batches
from workers.logs import get_log
from workers.manifest import Batch, load_manifest, read_batches, refuse_bad_rows
from workers.progress import ProgressBar
from workers.registry import Registry, Version
from workers.settings import EvaluateSettings
from workers.storage import split_uri


def evaluate(settings: EvaluateSettings) -> int:
    """Measure one model on one split."""
    registry = Registry(settings.registry)
    version = registry.resolve(settings.model)
    manifest = load_manifest(settings.manifest)
    if settings.skip_invalid:
        get_log().warning("evaluate.rows_skipped", rows=len(manifest.bad_rows), manifest=settings.manifest)
    else:
        refuse_bad_rows(manifest, settings.manifest)
    graph, _ = load_graph(registry.fetch(version), str(version))
    graph.to("cuda" if torch.cuda.is_available() else "cpu")
    annotations = _rows(manifest, settings, graph.network.config.classes)
    batches = read_batches(annotations, graph.network.config.image.size_px, settings.batch_size)
    title = f"{version} on {settings.split}"
    with ProgressBar(title, len(annotations), shown=settings.progress) as bar, closing(batches):
        evaluation = evaluate_batches(graph, _counted(batches, bar))
    _show(evaluation, title)
    if settings.json_output:
        store, name = split_uri(settings.json_output)
        facts = _lineage(version, manifest, settings) | asdict(evaluation)
        store.put(name, (json.dumps(_without_nan(facts), indent=2, ensure_ascii=False) + "\n").encode())
    return 0


def _rows(manifest: Manifest, settings: EvaluateSettings, classes: tuple[str, ...]) -> tuple[Annotation, ...]:
    """The photographs of the split, all of actions that the model knows."""
    annotations = manifest.split(settings.split)
    if not annotations:
        raise SettingsError(f"{settings.manifest} has no photographs in its split {settings.split}")
    unknown = sorted({annotation.action for annotation in annotations} - set(classes))
    if unknown:
        raise SettingsError(
            f"{settings.manifest} has actions that {settings.model} does not know: {', '.join(unknown[:8])}. "
            f"It knows {len(classes)}, among them {', '.join(classes[:4])}"
        )
    return annotations


def _counted(batches: Iterator[Batch], bar: ProgressBar) -> Iterator[Batch]:
    for batch in batches:
        yield batch
        bar.advance(len(batch[0]))


def _show(evaluation: Evaluation, title: str) -> None:
    summary = Table(title=f"{title}: {evaluation.images} photographs", show_header=False)
    for name, value in (
        ("mAP", evaluation.mean_average_precision),
        ("top-1", evaluation.top1),
        ("focus in the true box", evaluation.focus),
        ("mask IoU", evaluation.mask_iou),
        ("calibration error", evaluation.calibration_error),
    ):
        summary.add_row(name, _figure(value))
    classes = Table(title="average precision of each action")
    classes.add_column("action")
    classes.add_column("photographs", justify="right")
    classes.add_column("AP", justify="right")
    # Classes without a photograph go last: NaN has no place in an order.
    ranked = sorted(evaluation.average_precision.items(), key=lambda item: (math.isnan(item[1]), -item[1], item[0]))
    for action, precision in ranked:
        classes.add_row(action, str(evaluation.class_images[action]), _figure(precision))
    console = result_console()
    console.print(summary)
    console.print(classes)


def _figure(value: float) -> str:
    return "-" if math.isnan(value) else f"{value:.4f}"


def _lineage(version: Version, manifest: Manifest, settings: EvaluateSettings) -> dict[str, Any]:
    return {
        "model": version.name,
        "version": version.number,
        "manifest": settings.manifest,
        "manifest_sha256": manifest.digest,
        "split": settings.split,
        "skipped_rows": len(manifest.bad_rows),
    }


def _without_nan(value: Any) -> Any:  # noqa: ANN401 - any JSON
    """JSON knows no NaN: what could not be measured is null."""
    if isinstance(value, dict):
        return {name: _without_nan(each) for name, each in value.items()}
    return None if isinstance(value, float) and math.isnan(value) else value
