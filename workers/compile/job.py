"""``lga compile``: version -> ONNX -> engine -> parity -> registry. Nothing is published that was not proven."""

from __future__ import annotations

from contextlib import closing, nullcontext
from pathlib import Path
from tempfile import TemporaryDirectory

from rich.table import Table

from workers.compile.build import Source, assemble_engine, load_source, write_record
from workers.compile.metrics import CompileMetrics
from workers.compile.parity import Limits, compared, measure_parity, violations
from workers.compile.photographs import Photographs
from workers.compile.repair import attempts
from workers.console import result_console
from workers.engines import EngineRecord, Parity, open_engine
from workers.engines.golden import golden_images, written
from workers.engines.ingredients import GpuBuild
from workers.errors import Refused
from workers.logs import get_log
from workers.metrics import published
from workers.registry import Registry
from workers.settings import CompileSettings


def compile_model(settings: CompileSettings) -> int:
    """Make one engine of one version, prove it, add it."""
    metrics = CompileMetrics()
    with published(metrics, "compile", settings):
        return _compile(settings, metrics)


def _compile(settings: CompileSettings, metrics: CompileMetrics) -> int:
    registry = Registry(settings.registry)
    version = registry.resolve(settings.model)
    source = load_source(version, registry.fetch(version))
    metrics.show_run(source.record.config.backbone, str(version))
    photographs = Photographs(source, settings)
    ingredients = source.ingredients(settings.precision, photographs.to_calibrate, _gpu_build(settings))
    with (
        # One builder at a time: a hundred nodes that lack the same engine would all build it.
        nullcontext() if settings.build_only else registry.building(version, settings.target, settings.precision),
        TemporaryDirectory(prefix="lga-compile-") as directory,
    ):
        for attempt in attempts(ingredients):
            with metrics.timed("build"):
                record = assemble_engine(source, settings.target, attempt, Path(directory))
            get_log().info("compile.engine_built", model=str(version), engine=record.folder)
            if settings.build_only:
                print(f"{record.folder} can be built from {version}; it was neither proven nor published")
                return 0
            if registry.has_engine(version, record):
                print(f"{version} has this engine already: {record.folder}")
                return 0
            with metrics.timed("parity"):
                parity, reasons = _prove(settings, source, Path(directory), record, photographs)
            metrics.show_parity(parity)
            if reasons:
                continue
            registry.add_engine(version, Path(directory))
            print(f"{version} has a new engine: {record.folder}")
            return 0
    raise Refused(f"{record.folder} is not equal to {version}: {'; '.join(reasons)}. Nothing was published")


def _gpu_build(settings: CompileSettings) -> GpuBuild:
    return GpuBuild(
        capabilities=settings.capabilities,
        batch=settings.engine_batch,
        workspace_mib=settings.workspace_mib,
        compatibility=settings.compatibility,
    )


def _prove(
    settings: CompileSettings, source: Source, folder: Path, record: EngineRecord, photographs: Photographs
) -> tuple[Parity, list[str]]:
    """Measure an engine, show it, and write the proof into its record; also what speaks against it, in words."""
    with closing(open_engine(folder)) as engine, closing(photographs.to_prove()) as batches:
        parity = measure_parity(engine, source.graph, batches)
        golden = written(engine.infer(golden_images(record.size_px)))
    limits = Limits.of(settings, settings.precision)
    _show(record, parity, limits)
    write_record(record.model_copy(update={"parity": parity, "golden": golden}), folder)
    return parity, violations(parity, limits)


def _show(record: EngineRecord, parity: Parity, limits: Limits) -> None:
    """Print what was measured beside what is allowed."""
    table = Table(title=f"{record.folder} against the model on {parity.images} photographs ({parity.device})")
    if record.spared:
        table.caption = f"in fp32: {', '.join(record.spared)}"
    table.add_column("")
    table.add_column("measured", justify="right")
    table.add_column("allowed", justify="right")
    table.add_row("top-1 agreement", f"{parity.top1_agreement:.4f}", f"at least {limits.min_top1_agreement:g}")
    for name, value, limit in compared(parity, limits):
        table.add_row(name, "nothing to compare" if value is None else f"{value:.2e}", f"at most {limit:g}")
    result_console().print(table)
