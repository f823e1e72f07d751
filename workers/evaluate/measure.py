"""Every figure of one model, and of one model against another, on one set of photographs.

Definitions: ``lga_model.metrics``, ``lga_model.reliability``, ``lga_model.intervals``, and docs/method.md. NaN where
there was nothing to measure.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from lga_model.calibration import Calibration
from lga_model.intervals import Interval, mean_interval, precision_difference, precision_intervals
from lga_model.metrics import confusions
from lga_model.reliability import Reliability, measure_reliability
from workers.evaluate.observe import Observations

_PER_IMAGE = {"focus": "focus_N", "mask_iou": "mask_iou_N", "pixel_average_precision": "pixel_ap_N"}


@dataclass(frozen=True, kw_only=True)
class ConfusedPair:
    """Photographs of one action that were taken for another."""

    action: str
    taken_for: str
    images: int
    share: float
    """Of the photographs of the action."""


@dataclass(frozen=True, kw_only=True)
class Evaluation:
    """What a model achieved."""

    images: int
    mean_average_precision: float
    top1: float
    focus: float
    """Share of the positive PAM that lies in the true person boxes, mean over the images that have boxes."""
    mask_iou: float
    """Overlap of heatmap and boxes, mean over the images that have boxes; NaN without a heatmap."""
    pixel_average_precision: float
    """Average precision of the heatmap over an image's cells, mean over the images that have boxes."""
    calibration_error: float
    """Expected calibration error over 15 bins, of the calibrated probabilities."""
    average_precision: dict[str, float]
    """Of each class, by name, in the order of the model's classes."""
    class_images: dict[str, int]
    """Photographs of each class."""
    intervals: dict[str, Interval]
    """Of every figure above that has one, by its name."""
    class_intervals: dict[str, Interval]
    """Of the average precision of each class; NaN at both ends for a class of too few photographs."""
    reliability: Reliability
    """What verdicts and label sets are worth here."""
    confusions: tuple[ConfusedPair, ...]
    """Every pair of actions that was confused, the most frequent first."""


@dataclass(frozen=True, kw_only=True)
class Comparison:
    """How much better a model is than another on the same photographs: its figure minus the other's."""

    against: str
    differences: dict[str, Interval]
    """Of mAP, top-1, focus, mask IoU and pixel AP."""
    class_differences: dict[str, Interval]
    """Of the average precision of each class. The intervals hold all together; a class of too few photographs has
    none, and is called neither better nor worse."""
    surely_better: tuple[str, ...]
    """Classes whose interval lies above 0."""
    surely_worse: tuple[str, ...]
    """Classes whose interval lies below 0."""


def evaluate_observations(
    seen: Observations,
    nobody: Observations,
    classes: Sequence[str],
    calibration: Calibration,
    *,
    resamples: int = 1000,
) -> Evaluation:
    """Compute every figure.

    Args:
        seen: Photographs with an action.
        nobody: Images of nobody.
        classes: Names of the classes.
        calibration: What the model promises.
        resamples: Of the bootstrap.
    """
    scores_NA, action_N = seen.probabilities_NA, seen.action_N
    mean, of_class = precision_intervals(scores_NA, action_N, resamples=resamples)
    intervals = {"mean_average_precision": mean, "top1": mean_interval(_right(seen), resamples=resamples)}
    intervals |= {name: mean_interval(getattr(seen, field), resamples=resamples) for name, field in _PER_IMAGE.items()}
    reliability = measure_reliability(
        calibration,
        scores_NA,
        action_N,
        seen.person_peak_N,
        nobody.probabilities_NA.max(axis=1),
        nobody.person_peak_N,
    )
    counts_A = np.bincount(action_N, minlength=len(classes))
    return Evaluation(
        images=len(seen),
        **{name: interval.estimate for name, interval in intervals.items()},
        calibration_error=reliability.calibration_error,
        average_precision={name: each.estimate for name, each in zip(classes, of_class, strict=True)},
        class_images={name: int(count) for name, count in zip(classes, counts_A, strict=True)},
        intervals=intervals,
        class_intervals=dict(zip(classes, of_class, strict=True)),
        reliability=reliability,
        confusions=tuple(
            ConfusedPair(
                action=classes[pair.action], taken_for=classes[pair.taken_for], images=pair.images, share=pair.share
            )
            for pair in confusions(scores_NA, action_N)
        ),
    )


def compare(
    seen: Observations, reference: Observations, classes: Sequence[str], against: str, *, resamples: int = 1000
) -> Comparison:
    """Compare two models on the same photographs, in the same order, with the same order of classes.

    Args:
        seen: Of the model in question.
        reference: Of the model that it is compared with.
        classes: Names of the classes.
        against: What to call that model.
        resamples: Of the paired bootstrap.
    """
    precision = precision_difference(
        seen.probabilities_NA, reference.probabilities_NA, seen.action_N, resamples=resamples
    )
    differences = {
        "mean_average_precision": precision.mean,
        "top1": mean_interval(_right(seen) - _right(reference), resamples=resamples),
    }
    differences |= {
        name: mean_interval(getattr(seen, field) - getattr(reference, field), resamples=resamples)
        for name, field in _PER_IMAGE.items()
    }
    class_differences = dict(zip(classes, precision.of_class, strict=True))
    return Comparison(
        against=against,
        differences=differences,
        class_differences=class_differences,
        surely_better=tuple(name for name, each in class_differences.items() if each.low > 0),
        surely_worse=tuple(name for name, each in class_differences.items() if each.high < 0),
    )


def _right(seen: Observations) -> NDArray[np.float64]:
    right_N: NDArray[np.bool_] = seen.probabilities_NA.argmax(axis=1) == seen.action_N
    return right_N.astype(np.float64)
