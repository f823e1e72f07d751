"""The best checkpoint -> a calibrated, self-describing bundle -> the next version in the registry."""

from __future__ import annotations

import hashlib
import importlib.metadata
import json
import math
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import lga_model
from lga_model.calibration import Calibration, CalibrationError, expected_calibration_error, fit_calibration
from lga_model.checkpoint import ModelRecord, save_model
from lga_model.images import PREPROCESSING
from lga_model.network import build_network
from workers.errors import WorkerError
from workers.train.checkpoints import CheckpointUnreadable, read_outputs, read_progress, read_published_weights
from workers.train.plan import Plan, finite
from workers.train.validation import Outputs, Scores, summarise

_DISTRIBUTIONS = ("lga-tagger", "torch", "timm", "ray", "numpy", "simplejpeg", "opencv-python-headless", "safetensors")


@dataclass(frozen=True, kw_only=True)
class Published:
    """What the user is told about the new version."""

    scores: Scores
    ece_before: float
    """Expected calibration error of the raw softmax."""
    ece_after: float
    epoch: int
    """The best one."""
    images_per_s: float


def write_bundle(
    checkpoint: Path, bundle: Path, plan: Plan, lineage: dict[str, Any], history: Sequence[dict[str, Any]]
) -> Published:
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
    published = Published(
        scores=summarise(outputs),
        ece_before=_calibration_error(outputs, Calibration.none()),
        ece_after=_calibration_error(outputs, calibration),
        epoch=progress.epoch,
        images_per_s=best["images_per_s"],
    )
    metrics = {
        "validation": _validation(published, plan),
        "calibration": {"ece_before": published.ece_before, "ece_after": published.ece_after},
        "history": list(history),
    }
    _write_json(bundle / "metrics.json", metrics)
    _write_json(bundle / "training.json", {**lineage, "plan": asdict(plan), "best_epoch": progress.epoch, **_origin()})
    return published


def _calibrate(outputs: Outputs) -> Calibration:
    peaks = outputs.person_peak_N
    if peaks is not None:
        # An image without boxes says nothing about whether somebody is there.
        peaks = peaks.copy()
        peaks[~outputs.has_boxes_N] = math.nan
    return fit_calibration(outputs.logits_NA, outputs.action_N, peaks)


def _calibration_error(outputs: Outputs, calibration: Calibration) -> float:
    return expected_calibration_error(calibration.probabilities(outputs.logits_NA), outputs.action_N)


def _validation(published: Published, plan: Plan) -> dict[str, Any]:
    scores = asdict(published.scores)
    scores["average_precision"] = dict(zip(plan.config.classes, published.scores.average_precision, strict=True))
    return {"epoch": published.epoch, **scores}


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
