"""A model becomes the files of an engine: ``engine.bin`` and the first draft of its record."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory

from lga_model.checkpoint import WEIGHTS_FILE, ModelRecord
from lga_model.export import InferenceGraph, export_onnx
from workers.engines import ENGINE_FILE, EngineError, EngineRecord, Target, backend
from workers.engines import RECORD_FILE as ENGINE_RECORD_FILE
from workers.engines.signature import signature
from workers.engines.torch import load_graph
from workers.registry import Version
from workers.settings.shared import EnginePrecision


@dataclass(frozen=True, kw_only=True)
class Source:
    """The model that an engine is made from."""

    version: Version
    bundle: Path
    """Its files on this machine."""
    record: ModelRecord
    graph: InferenceGraph
    """What every engine has to compute."""


def load_source(version: Version, bundle: Path) -> Source:
    """Load a fetched bundle.

    Raises:
        SettingsError: If this release cannot use the model.
    """
    graph, record = load_graph(bundle, str(version))
    return Source(version=version, bundle=bundle, record=record, graph=graph)


def build_engine(source: Source, target: Target, precision: EnginePrecision, folder: Path) -> EngineRecord:
    """Write ``engine.bin`` and an ``engine.json`` without proof into a folder.

    Raises:
        EngineError: If the runtime is not installed, or this machine cannot compute in the precision.
    """
    backend_version = _backend_version(target, precision)
    weights = (source.bundle / WEIGHTS_FILE).read_bytes()
    onnx = None if target == "torch" else _onnx(source.graph)
    engine = weights if onnx is None else onnx
    config, heatmap_hw = source.record.config, source.graph.network.feature_size
    inputs, outputs = signature(config, heatmap_hw)
    record = EngineRecord(
        model=source.version.name,
        version=source.version.number,
        target=target,
        precision=precision,
        backend_version=backend_version,
        inputs=inputs,
        outputs=outputs,
        engine_sha256=hashlib.sha256(engine).hexdigest(),
        onnx_sha256=None if onnx is None else hashlib.sha256(onnx).hexdigest(),
        weights_sha256=hashlib.sha256(weights).hexdigest(),
        config=config,
        heatmap_hw=heatmap_hw,
        preprocessing=source.record.preprocessing,
        calibration=source.record.calibration,
    )
    (folder / ENGINE_FILE).write_bytes(engine)
    write_record(record, folder)
    return record


def write_record(record: EngineRecord, folder: Path) -> None:
    """Write or replace ``engine.json``."""
    (folder / ENGINE_RECORD_FILE).write_bytes(record.to_json())


def _onnx(graph: InferenceGraph) -> bytes:
    with TemporaryDirectory(prefix="lga-onnx-") as folder:
        path = Path(folder) / "model.onnx"
        export_onnx(graph, path)
        return path.read_bytes()


def _backend_version(target: Target, precision: EnginePrecision) -> str:
    try:
        runtime = backend(target)
    except ImportError as error:
        raise EngineError(f"{target} is not installed here ({error}); compile on a machine that has it") from error
    if precision not in (able := runtime.precisions()):
        raise EngineError(
            f"{target} computes in {', '.join(able)} on this machine, and not in {precision}: "
            "choose one of those, or compile on a machine that can"
        )
    return str(runtime.version())
