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
from workers.engines import EngineRecord, Parity, open_engine, targets_for
from workers.engines.golden import golden_images, written
from workers.engines.ingredients import GpuBuild, Ingredients
from workers.errors import Refused, SettingsError
from workers.logs import get_log
from workers.metrics import published
from workers.registry import Registry
from workers.settings import CompileSettings
from workers.settings.shared import Target


def compile_model(settings: CompileSettings) -> int:
    """Make engines of one version, prove each, add each."""
    metrics = CompileMetrics()
    if settings.build_only:
        return _compile(settings, metrics)  # It publishes nothing, and so leaves no outcome behind.
    with published(metrics, "compile", settings):
        return _compile(settings, metrics)


def _compile(settings: CompileSettings, metrics: CompileMetrics) -> int:
    registry = Registry(settings.registry)
    version = registry.resolve(settings.model)
    source = load_source(version, registry.fetch(version))
    metrics.show_run(source.record.config.backbone, str(version))
    photographs = Photographs(source, settings)
    ingredients = source.ingredients(
        settings.precision, photographs.to_calibrate, _gpu_build(settings, registry)
    )  # Shared by all targets: the model is exported once.
    job = _Job(settings, registry, source, photographs, metrics)
    refused = []
    for target in _targets(settings):
        try:
            print(job.make(target, ingredients))
        except Refused as error:
            refused.append(error)  # The other targets can still be had.
    if refused:
        raise Refused("; ".join(str(error) for error in refused))
    return 0


def _targets(settings: CompileSettings) -> tuple[Target, ...]:
    if not settings.all_targets_here:
        return (settings.target,)
    if not (targets := targets_for(settings.precision)):
        raise SettingsError(f"nothing on this machine computes in {settings.precision}; see `lga doctor`")
    return targets


class _Job:
    """What every target of one command shares."""

    def __init__(
        self,
        settings: CompileSettings,
        registry: Registry,
        source: Source,
        photographs: Photographs,
        metrics: CompileMetrics,
    ) -> None:
        self._settings, self._registry, self._source = settings, registry, source
        self._photographs, self._metrics = photographs, metrics

    def make(self, target: Target, ingredients: Ingredients) -> str:
        """Build, prove and publish one engine; returns what to tell.

        Raises:
            Refused: If it is not equal to the model; nothing was published.
            EngineError: If it cannot be built or opened.
        """
        settings, registry, version, metrics = self._settings, self._registry, self._source.version, self._metrics
        with (
            # One builder at a time: a hundred nodes that lack the same engine would all build it.
            nullcontext() if settings.build_only else registry.building(version, target, settings.precision),
            TemporaryDirectory(prefix="lga-compile-") as directory,
        ):
            for attempt in attempts(ingredients):
                with metrics.timed("build"):
                    record = assemble_engine(self._source, target, attempt, Path(directory))
                get_log().info("compile.engine_built", model=str(version), engine=record.folder)
                if settings.build_only:
                    return f"{record.folder} can be built from {version}; it was neither proven nor published"
                if registry.has_engine(version, record):
                    return f"{version} has this engine already: {record.folder}"
                with metrics.timed("parity"):
                    parity, reasons = self._prove(Path(directory), record)
                metrics.show_parity(parity)
                if not reasons:
                    registry.add_engine(version, Path(directory))
                    return f"{version} has a new engine: {record.folder}"
        raise Refused(f"{record.folder} is not equal to {version}: {'; '.join(reasons)}. Nothing was published")

    def _prove(self, folder: Path, record: EngineRecord) -> tuple[Parity, list[str]]:
        """Measure an engine, show it, and write the proof into its record; also what speaks against it, in words."""
        with closing(open_engine(folder)) as engine, closing(self._photographs.to_prove(record)) as batches:
            parity = measure_parity(engine, self._source.graph, batches)
            golden = written(engine.infer(golden_images(record.size_px)))
        limits = Limits.of(self._settings, self._settings.precision)
        _show(record, parity, limits)
        write_record(record.model_copy(update={"parity": parity, "golden": golden}), folder)
        return parity, violations(parity, limits)


def _gpu_build(settings: CompileSettings, registry: Registry) -> GpuBuild:
    return GpuBuild(
        capabilities=settings.capabilities,
        batch=settings.engine_batch,
        workspace_mib=settings.workspace_mib,
        compatibility=settings.compatibility,
        modelopt=settings.modelopt,
        contexts=settings.contexts,
        cuda_graphs=settings.cuda_graphs,
        timings=None if settings.build_only else registry.timings,
    )


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
