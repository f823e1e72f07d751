"""The best checkpoint -> a calibrated, self-describing bundle, ready to be published as a version."""

from __future__ import annotations

import json
import math
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from lga_model.activations import focus
from lga_model.calibration import (
    Calibration,
    CalibrationError,
    confidence_bins,
    expected_calibration_error,
    fit_calibration,
)
from lga_model.checkpoint import ModelRecord, save_model
from lga_model.drift import Distribution
from lga_model.images import PREPROCESSING
from lga_model.network import build_network
from lga_model.reliability import Reliability, measure_reliability
from workers.errors import ClusterError, WorkerError
from workers.train.checkpoints import (
    STATE_FILE,
    CheckpointUnreadable,
    Files,
    read_outputs,
    read_progress,
    read_published_weights,
)
from workers.train.origin import origin
from workers.train.plan import Plan, finite
from workers.train.shelf import Checkpoint, Shelf
from workers.train.validation import Outputs, Scores, summarise


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
class Best:
    """The best epoch of a run."""

    checkpoint: Checkpoint
    files: Files
    outputs: Outputs
    calibration: Calibration
    history: tuple[dict[str, Any], ...]
    """Figures of every epoch of the run, also of those after the best."""


def read_best(shelf: Shelf, run: str) -> Best:
    """Read the best checkpoint of a finished run, and fit its calibration.

    Raises:
        WorkerError: If there is none, or it cannot be read or calibrated.
    """
    checkpoint, newest = shelf.best(), shelf.load_newest()
    if checkpoint is None or newest is None:
        raise ClusterError(f"the run {run} ended without a checkpoint; run it again with --run {run}")
    files = shelf.load(checkpoint.name)
    outputs = read_outputs(files)
    try:
        calibration = _calibrate(outputs)
    except CalibrationError as error:
        raise WorkerError(f"the best checkpoint cannot be published: {error}") from error
    return Best(
        checkpoint=checkpoint,
        files=files,
        outputs=outputs,
        calibration=calibration,
        history=read_progress(newest[1][STATE_FILE]).history,
    )


def write_bundle(best: Best, bundle: Path, plan: Plan, lineage: dict[str, Any]) -> Summary:
    """Turn a checkpoint into the files of a version.

    Args:
        best: The best epoch.
        bundle: Folder to write to.
        plan: What was trained.
        lineage: Where it came from, as plain JSON: goes into ``training.json``.

    Raises:
        CheckpointUnreadable: If the checkpoint is damaged.
    """
    progress, outputs, calibration = read_progress(best.files[STATE_FILE]), best.outputs, best.calibration
    network = build_network(plan.config)
    try:
        network.load_state_dict(read_published_weights(best.files))
    except RuntimeError as error:
        raise CheckpointUnreadable(f"the checkpoint holds another model than this run's: {error}") from error
    record = ModelRecord(config=plan.config, recipe=plan.recipe, calibration=calibration, preprocessing=PREPROCESSING)
    save_model(bundle, network.eval(), record)

    summary = Summary(
        scores=summarise(outputs),
        ece_before=_calibration_error(outputs, Calibration.none()),
        ece_after=_calibration_error(outputs, calibration),
        epoch=progress.epoch,
        images_per_s=progress.history[-1]["images_per_s"],
    )
    raw_NA = Calibration.none().probabilities(outputs.people.logits_NA)
    metrics = {
        "validation": _validation(summary, plan),
        "calibration": {
            "ece_before": summary.ece_before,
            "ece_after": summary.ece_after,
            **asdict(_reliability(outputs, calibration)),
            "bins_before": [asdict(each) for each in confidence_bins(raw_NA, outputs.people.action_N)],
        },
        "distribution": asdict(_distribution(outputs.people, calibration, plan.config.classes)),
        "history": list(best.history),
    }
    _write_json(bundle / "metrics.json", metrics)
    training = {"plan": asdict(plan), "best_epoch": progress.epoch, "history": list(best.history), **origin()}
    _write_json(bundle / "training.json", {**lineage, **training})
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


def _write_json(path: Path, document: dict[str, Any]) -> None:
    path.write_text(json.dumps(finite(document), indent=2, ensure_ascii=False) + "\n")
