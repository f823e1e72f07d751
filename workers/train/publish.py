"""The best checkpoint -> a calibrated, self-describing bundle -> the next version in the registry."""

from __future__ import annotations

import hashlib
import importlib.metadata
import json
import math
import tempfile
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from ray.train import Result

import lga_model
from lga_model.activations import focus
from lga_model.calibration import Calibration, CalibrationError, expected_calibration_error, fit_calibration
from lga_model.checkpoint import ModelRecord, save_model
from lga_model.drift import Distribution
from lga_model.images import PREPROCESSING
from lga_model.network import build_network
from lga_model.reliability import Reliability, measure_reliability
from workers.errors import ClusterError, WorkerError
from workers.registry import Registry, Version
from workers.train.checkpoints import CheckpointUnreadable, read_outputs, read_progress, read_published_weights
from workers.train.plan import Plan, finite
from workers.train.validation import Outputs, Scores, summarise

_DISTRIBUTIONS = ("lga-tagger", "torch", "timm", "ray", "numpy", "simplejpeg", "opencv-python-headless", "safetensors")


@dataclass(frozen=True, kw_only=True)
class Summary:
    """How good the published epoch is."""

    scores: Scores
    ece_before: float
    """Expected calibration error of the raw softmax."""
    ece_after: float
    epoch: int
    """The best one."""
    images_per_s: float


@dataclass(frozen=True, kw_only=True)
class Published:
    """The new version, and how good it is."""

    version: Version
    summary: Summary


def publish_best(result: Result, plan: Plan, lineage: dict[str, Any], model: str, registry: str) -> Published:
    """Publish the best checkpoint of a finished run as the next version of a model.

    Args:
        result: Ray's, of the whole run.
        plan: What was trained.
        lineage: Where it came from, as plain JSON: goes into ``training.json``.
        model: Name in the registry.
        registry: URI or path of the registry.

    Raises:
        WorkerError: If there is no checkpoint, or it cannot be read, calibrated or published.
    """
    checkpoint = result.get_best_checkpoint("map", "max")
    if checkpoint is None or result.metrics is None:
        raise ClusterError(f"the run {lineage['run']} ended without a checkpoint; run it again with --run")
    with checkpoint.as_directory() as folder, tempfile.TemporaryDirectory(prefix="lga-bundle-") as bundle:
        summary = write_bundle(Path(folder), Path(bundle), plan, lineage, result.metrics["history"])
        return Published(version=Registry(registry).publish(model, Path(bundle)), summary=summary)


def write_bundle(
    checkpoint: Path, bundle: Path, plan: Plan, lineage: dict[str, Any], history: Sequence[dict[str, Any]]
) -> Summary:
    """Turn a checkpoint into the files of a version.

    Args:
        checkpoint: Folder of the best checkpoint.
        bundle: Folder to write to.
        plan: What was trained.
        lineage: Where it came from, as plain JSON: goes into ``training.json``.
        history: Figures of every epoch of the run, also of those after the best.

    Raises:
        CheckpointUnreadable: If the checkpoint is damaged.
        WorkerError: If the outputs cannot be calibrated.
    """
    progress, outputs = read_progress(checkpoint), read_outputs(checkpoint)
    network = build_network(plan.config)
    try:
        network.load_state_dict(read_published_weights(checkpoint))
        calibration = _calibrate(outputs)
    except RuntimeError as error:
        raise CheckpointUnreadable(f"{checkpoint} holds another model than this run's: {error}") from error
    except CalibrationError as error:
        raise WorkerError(f"the best checkpoint cannot be published: {error}") from error
    record = ModelRecord(config=plan.config, recipe=plan.recipe, calibration=calibration, preprocessing=PREPROCESSING)
    save_model(bundle, network.eval(), record)

    best = progress.history[-1]
    summary = Summary(
        scores=summarise(outputs),
        ece_before=_calibration_error(outputs, Calibration.none()),
        ece_after=_calibration_error(outputs, calibration),
        epoch=progress.epoch,
        images_per_s=best["images_per_s"],
    )
    metrics = {
        "validation": _validation(summary, plan),
        "calibration": {
            "ece_before": summary.ece_before,
            "ece_after": summary.ece_after,
            **asdict(_reliability(outputs, calibration)),
        },
        "distribution": asdict(_distribution(outputs, calibration, plan.config.classes)),
        "history": list(history),
    }
    _write_json(bundle / "metrics.json", metrics)
    _write_json(bundle / "training.json", {**lineage, "plan": asdict(plan), "best_epoch": progress.epoch, **_origin()})
    return summary


def _calibrate(outputs: Outputs) -> Calibration:
    people = outputs.people
    return fit_calibration(people.logits_NA, people.action_N, _person_peaks(people), outputs.nobody.person_peak_N)


def _person_peaks(people: Outputs) -> NDArray[np.float32] | None:
    """Maximum of each heatmap; NaN without boxes, which say nothing about whether somebody is there."""
    peaks = people.person_peak_N
    return None if peaks is None else np.where(people.has_boxes_N, peaks, np.float32(math.nan))


def _reliability(outputs: Outputs, calibration: Calibration) -> Reliability:
    """What the calibration promises, on the photographs that it was fitted on: a little better than on others."""
    people, nobody = outputs.people, outputs.nobody
    return measure_reliability(
        calibration,
        calibration.probabilities(people.logits_NA),
        people.action_N,
        _person_peaks(people),
        calibration.probabilities(nobody.logits_NA).max(axis=1),
        nobody.person_peak_N,
    )


def _distribution(outputs: Outputs, calibration: Calibration, classes: Sequence[str]) -> Distribution:
    """What the model says about its validation photographs, as the tags will say it of others."""
    outputs = outputs.people
    probabilities_NA = calibration.probabilities(outputs.logits_NA)
    focus_N = focus(outputs.pam_NHW, outputs.heatmap_NHW) if outputs.has_heatmap else np.array([])
    return Distribution.of(
        probabilities_NA.max(axis=1), focus_N, [classes[index] for index in probabilities_NA.argmax(axis=1)]
    )


def _calibration_error(outputs: Outputs, calibration: Calibration) -> float:
    outputs = outputs.people
    return expected_calibration_error(calibration.probabilities(outputs.logits_NA), outputs.action_N)


def _validation(summary: Summary, plan: Plan) -> dict[str, Any]:
    scores = asdict(summary.scores)
    scores["average_precision"] = dict(zip(plan.config.classes, summary.scores.average_precision, strict=True))
    return {"epoch": summary.epoch, **scores}


def _origin() -> dict[str, Any]:
    """Which code made this: versions of the libraries, and a digest of the method's own source."""
    digest = hashlib.sha256()
    folder = Path(lga_model.__file__).parent
    for path in sorted(folder.rglob("*.py")):
        digest.update(f"{path.relative_to(folder)}\n".encode() + path.read_bytes())
    return {
        "versions": {name: _version(name) for name in _DISTRIBUTIONS},
        "method_sha256": digest.hexdigest(),
    }


def _version(distribution: str) -> str | None:
    try:
        return importlib.metadata.version(distribution)
    except importlib.metadata.PackageNotFoundError:
        return None


def _write_json(path: Path, document: dict[str, Any]) -> None:
    path.write_text(json.dumps(finite(document), indent=2, ensure_ascii=False) + "\n")
