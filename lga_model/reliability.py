"""What a calibrated model's promises are worth on photographs whose right labels are known.

Shape suffixes: N = images, M = images of nobody, A = action classes.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from lga_model.calibration import (
    Calibration,
    ConfidenceBin,
    calibration_error_by_chance,
    confidence_bins,
    expected_calibration_error,
)

Floats = NDArray[np.floating]

_COVERAGES = tuple(round(0.1 * tenth, 1) for tenth in range(1, 11))


@dataclass(frozen=True, kw_only=True)
class Reliability:
    """How well a calibration keeps what it promises. NaN where nothing was there to count."""

    calibration_error: float
    """Expected calibration error, 15 bins."""
    calibration_error_by_chance: float
    """What a perfect calibration would show on so many images."""
    label_set_coverage: float
    """Share of label sets that hold the right label."""
    label_set_size: float
    """Labels in a set, on average."""
    accepted: float
    """Share of the photographs with the verdict ``accept``."""
    accepted_precision: float
    """Share of the accepted that are right."""
    people_missed: float
    """Share of the photographs with people that have the verdict ``no_person``."""
    nobody_found: float
    """Share of the images of nobody that have the verdict ``no_person``."""
    nobody_accepted: float
    """Share of the images of nobody that have the verdict ``accept``."""
    nobody_images: int
    person_auroc: float
    """Probability that the heatmap's peak is higher on a photograph with people than on an image of nobody."""
    risk_at_coverage: tuple[tuple[float, float], ...]
    """Share of the photographs that are kept, the surest first, and the share of wrong labels among them."""
    risk_area: float
    """Area under the whole risk-coverage curve: the mean of the risk over all shares; lower is better."""
    bins: tuple[ConfidenceBin, ...]
    """The reliability diagram that the calibration error sums up."""


def measure_reliability(
    calibration: Calibration,
    probabilities_NA: Floats,
    action_N: NDArray[np.integer],
    person_peak_N: Floats | None = None,
    nobody_confidence_M: Floats | None = None,
    nobody_peak_M: Floats | None = None,
) -> Reliability:
    """Measure a calibration on photographs.

    Args:
        calibration: What is promised.
        probabilities_NA: Calibrated probabilities.
        action_N: True classes, in [0, A).
        person_peak_N: Maximum of each heatmap, NaN where it is unknown whether somebody is there.
        nobody_confidence_M: Probability of the likeliest label for images of nobody.
        nobody_peak_M: Maximum of their heatmaps.
    """
    nobody = np.zeros(0) if nobody_confidence_M is None else nobody_confidence_M
    if not len(action_N):
        return _nothing(len(nobody))
    confidence_N = probabilities_NA.max(axis=1)
    correct_N = probabilities_NA.argmax(axis=1) == action_N
    verdict_N = calibration.verdict(confidence_N, person_peak_N)
    nobody_verdict_M = calibration.verdict(nobody, nobody_peak_M)
    members_NA = calibration.label_set(probabilities_NA)
    risk_N = risk_coverage(confidence_N, correct_N)
    seen_N = np.zeros(len(action_N), bool) if person_peak_N is None else np.isfinite(person_peak_N)
    return Reliability(
        calibration_error=expected_calibration_error(probabilities_NA, action_N),
        calibration_error_by_chance=calibration_error_by_chance(probabilities_NA),
        label_set_coverage=float(members_NA[np.arange(len(action_N)), action_N].mean()),
        label_set_size=float(members_NA.sum(axis=1).mean()),
        accepted=_share(verdict_N == "accept"),
        accepted_precision=_share(correct_N[verdict_N == "accept"]),
        people_missed=_share(verdict_N[seen_N] == "no_person"),
        nobody_found=_share(nobody_verdict_M == "no_person"),
        nobody_accepted=_share(nobody_verdict_M == "accept"),
        nobody_images=len(nobody),
        person_auroc=_auroc(person_peak_N, nobody_peak_M),
        risk_at_coverage=tuple(
            (coverage, float(risk_N[max(0, math.ceil(coverage * len(risk_N)) - 1)])) for coverage in _COVERAGES
        ),
        risk_area=float(risk_N.mean()),
        bins=confidence_bins(probabilities_NA, action_N),
    )


def risk_coverage(confidence_N: Floats, correct_N: NDArray[np.bool_]) -> NDArray[np.float64]:
    """Give the risk-coverage curve: the share of wrong labels among the k surest photographs, for k = 1 ... N.

    Photographs of equal confidence are kept in the order they come. Geifman and El-Yaniv 2017 (arXiv:1705.08500).
    """
    order_N = np.argsort(-confidence_N, kind="stable")
    risk_N: NDArray[np.float64] = np.cumsum(~correct_N[order_N]) / np.arange(1, len(order_N) + 1)
    return risk_N


def _share(which: NDArray[np.bool_]) -> float:
    return float(which.mean()) if len(which) else math.nan


def _auroc(positive_N: Floats | None, negative_M: Floats | None) -> float:
    """Mann-Whitney: how often a positive value is above a negative one, half for a tie."""
    if positive_N is None or negative_M is None:
        return math.nan
    positive_N, negative_M = positive_N[np.isfinite(positive_N)], np.sort(negative_M[np.isfinite(negative_M)])
    if not len(positive_N) or not len(negative_M):
        return math.nan
    below_N = np.searchsorted(negative_M, positive_N, "left") + np.searchsorted(negative_M, positive_N, "right")
    return float(below_N.mean() / 2 / len(negative_M))


def _nothing(nobody_images: int) -> Reliability:
    return Reliability(
        calibration_error=math.nan, calibration_error_by_chance=math.nan, label_set_coverage=math.nan,
        label_set_size=math.nan, accepted=math.nan, accepted_precision=math.nan,
        people_missed=math.nan, nobody_found=math.nan, nobody_accepted=math.nan, nobody_images=nobody_images,
        person_auroc=math.nan, risk_at_coverage=(), risk_area=math.nan, bins=(),
    )  # fmt: skip
