"""``lga compile``: version -> ONNX -> engine -> parity -> registry. Nothing is published that was not proven."""

from __future__ import annotations

import json
from collections.abc import Sequence
from contextlib import closing
from pathlib import Path
from tempfile import TemporaryDirectory

from rich.table import Table

from lga_model.annotations import Annotation
from workers.compile.build import Source, build_engine, load_source, write_record
from workers.compile.metrics import CompileMetrics
from workers.compile.parity import Limits, measure_parity, violations
from workers.console import result_console
from workers.engines import EngineRecord, Parity, open_engine
from workers.errors import Refused, SettingsError
from workers.logs import get_log
from workers.manifest import load_manifest, read_batches
from workers.metrics import published
from workers.registry import TRAINING_FILE, Registry
from workers.settings import CompileSettings

_BATCH = 16


def compile_model(settings: CompileSettings) -> int:
    """Make one engine of one version, prove it, add it."""
    metrics = CompileMetrics()
    with published(metrics, "compile", settings):
        return _compile(settings, metrics)


def _compile(settings: CompileSettings, metrics: CompileMetrics) -> int:
    registry = Registry(settings.registry)
    version = registry.resolve(settings.model)
    source = load_source(version, registry.fetch(version))
    limits = Limits.of(settings)
    metrics.show_run(source.record.config.backbone, str(version))
    with TemporaryDirectory(prefix="lga-compile-") as directory:
        folder = Path(directory)
        with metrics.timed("build"):
            record = build_engine(source, settings.target, settings.precision, folder)
        if registry.has_engine(version, record):
            print(f"{version} has this engine already: {record.folder}")
            return 0
        get_log().info("compile.engine_built", model=str(version), engine=record.folder)
        annotations = _photographs(settings.manifest or _trained_on(source), settings.parity_images)
        with metrics.timed("parity"):
            parity = _measure(folder, source, annotations)
        metrics.show_parity(parity)
        _show(record, parity, limits)
        if reasons := violations(parity, limits):
            raise Refused(f"{record.folder} is not equal to {version}: {'; '.join(reasons)}. Nothing was published")
        write_record(record.model_copy(update={"parity": parity}), folder)
        registry.add_engine(version, folder)
    print(f"{version} has a new engine: {record.folder}")
    return 0


def _trained_on(source: Source) -> str:
    """The manifest that the model's lineage names."""
    try:
        return str(json.loads((source.bundle / TRAINING_FILE).read_bytes())["manifest"]["uri"])
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise SettingsError(f"{source.version} does not say what it was trained on; give --manifest") from error


def _photographs(uri: str, count: int) -> Sequence[Annotation]:
    """Validation rows spread evenly over the split: manifests are often sorted by action."""
    annotations = load_manifest(uri).split("val")
    if not annotations:
        raise SettingsError(f"{uri} has no validation photographs to prove the engine on; give another --manifest")
    count = min(count, len(annotations))
    return [annotations[index * len(annotations) // count] for index in range(count)]


def _measure(folder: Path, source: Source, annotations: Sequence[Annotation]) -> Parity:
    batches = read_batches(annotations, source.record.config.image.size_px, _BATCH)
    with closing(open_engine(folder)) as engine, closing(batches):
        return measure_parity(engine, source.graph, (images_BHWC for _, images_BHWC in batches))


def _show(record: EngineRecord, parity: Parity, limits: Limits) -> None:
    """Print what was measured beside what is allowed."""
    heatmap = parity.max_heatmap_difference
    table = Table(title=f"{record.folder} against the model on {parity.images} photographs ({parity.device})")
    table.add_column("")
    table.add_column("measured", justify="right")
    table.add_column("allowed", justify="right")
    table.add_row("top-1 agreement", f"{parity.top1_agreement:.4f}", f"at least {limits.min_top1_agreement:g}")
    for name, value, limit in (
        ("largest probability difference", parity.max_probability_difference, limits.max_probability_difference),
        ("largest heatmap difference", heatmap, limits.max_heatmap_difference),
        ("largest PAM difference, of its maximum", parity.max_pam_difference, limits.max_pam_difference),
    ):
        table.add_row(name, "no heatmap" if value is None else f"{value:.2e}", f"at most {limit:g}")
    result_console().print(table)
