"""A model becomes the files of an engine: ``engine.bin`` and the first draft of its record."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from pathlib import Path
from types import ModuleType

from lga_model.checkpoint import WEIGHTS_FILE, ModelRecord
from lga_model.export import InferenceGraph
from workers.engines import ENGINE_FILE, EngineError, EngineRecord, backend
from workers.engines import RECORD_FILE as ENGINE_RECORD_FILE
from workers.engines.ingredients import Built, CalibrationImages, GpuBuild, Ingredients
from workers.engines.signature import signature
from workers.engines.torch import load_graph
from workers.registry import Version
from workers.settings.shared import EnginePrecision, Target

_NO_GPU_OPTIONS = GpuBuild()


@dataclass(frozen=True, kw_only=True)
class Source:
    """The model that an engine is made from."""

    version: Version
    bundle: Path
    """Its files on this machine."""
    record: ModelRecord
    graph: InferenceGraph
    """What every engine has to compute."""

    def ingredients(
        self,
        precision: EnginePrecision,
        calibration: CalibrationImages = tuple,
        gpu: GpuBuild = _NO_GPU_OPTIONS,
    ) -> Ingredients:
        """What a backend needs; int8 needs photographs to calibrate on."""
        weights = (self.bundle / WEIGHTS_FILE).read_bytes()
        return Ingredients(graph=self.graph, weights=weights, precision=precision, calibration=calibration, gpu=gpu)


def load_source(version: Version, bundle: Path) -> Source:
    """Load a fetched bundle.

    Raises:
        SettingsError: If this release cannot use the model.
    """
    graph, record = load_graph(bundle, str(version))
    return Source(version=version, bundle=bundle, record=record, graph=graph)


def runtime_for(target: Target, precision: EnginePrecision) -> ModuleType:
    """The backend, when it can make such an engine on this machine.

    Raises:
        EngineError: If it is not installed, or this machine cannot compute in the precision.
    """
    try:
        runtime = backend(target)
        able = runtime.precisions()
    except ImportError as error:
        raise EngineError(f"{target} is not installed here ({error}); compile on a machine that has it") from error
    if precision not in able:
        raise EngineError(
            f"{target} computes in {', '.join(able)} on this machine, and not in {precision}: "
            "choose one of those, or compile on a machine that can"
        )
    return runtime


def build_engine(source: Source, target: Target, precision: EnginePrecision, folder: Path) -> EngineRecord:
    """As ``assemble_engine``, from what the precision needs by default: for those that need no photographs."""
    return assemble_engine(source, target, source.ingredients(precision), folder)


def assemble_engine(source: Source, target: Target, ingredients: Ingredients, folder: Path) -> EngineRecord:
    """Write ``engine.bin`` and an ``engine.json`` without proof into a folder.

    Raises:
        EngineError: If the runtime is not installed, or cannot make this engine.
    """
    runtime = runtime_for(target, ingredients.precision)
    built: Built = runtime.build(ingredients)
    config, heatmap_hw = source.record.config, source.graph.network.feature_size
    inputs, outputs = signature(config, heatmap_hw)
    record = EngineRecord(
        model=source.version.name,
        version=source.version.number,
        target=target,
        precision=ingredients.precision,
        backend_version=str(runtime.version()),
        gpu=built.gpu,
        inputs=inputs,
        outputs=outputs,
        engine_sha256=hashlib.sha256(built.data).hexdigest(),
        onnx_sha256=None if built.onnx is None else hashlib.sha256(built.onnx).hexdigest(),
        weights_sha256=hashlib.sha256(ingredients.weights).hexdigest(),
        config=config,
        heatmap_hw=heatmap_hw,
        preprocessing=source.record.preprocessing,
        calibration=source.record.calibration,
        spared=ingredients.spared,
    )
    (folder / ENGINE_FILE).write_bytes(built.data)
    write_record(record, folder)
    return record


def write_record(record: EngineRecord, folder: Path) -> None:
    """Write or replace ``engine.json``."""
    (folder / ENGINE_RECORD_FILE).write_bytes(record.to_json())
