"""What a score is worth: temperature, conformal label sets and verdicts, fitted on validation images.

Shape suffixes: N = validation images, B = images, A = action classes. Plain numpy: tags are written without torch.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Literal, Self

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.floating]
Verdict = Literal["accept", "unsure", "no_person"]

NOTHING = 2.0
"""A confidence that no image reaches."""

_TEMPERATURES = (0.05, 20.0)
_MISSED_PEOPLE = 0.02
"""Share of photographs with people that may be called ``no_person``."""


class CalibrationError(ValueError):
    """The validation images cannot be calibrated on."""


@dataclass(frozen=True, kw_only=True)
class Calibration:
    """How to read a model's logits."""

    temperature: float
    """Logits are divided by it before softmax; above 1 the raw model was too sure of itself."""
    conformal_threshold: float
    """A class is in the label set when 1 - probability is at most this; 1 lets every class in."""
    coverage: float
    """Share of photographs whose label set holds the right label."""
    accept_confidence: float
    """Lowest confidence that is accepted; above 1 nothing is."""
    precision: float
    """Share of the accepted photographs that are right."""
    person_peak_min: float | None
    """Lowest heatmap maximum that counts as a person, or None when the model has no heatmap."""

    def __post_init__(self) -> None:
        """Refuse a temperature that no logit can be divided by.

        Raises:
            ValueError: If the temperature is not positive.
        """
        if not self.temperature > 0:
            raise ValueError(f"temperature must be positive; got {self.temperature}")

    @classmethod
    def none(cls) -> Self:
        """Promise nothing: raw softmax, every label possible, every image unsure."""
        return cls(
            temperature=1.0, conformal_threshold=1.0, coverage=1.0,
            accept_confidence=NOTHING, precision=1.0, person_peak_min=None,
        )  # fmt: skip

    def probabilities(self, logits_BA: Floats) -> NDArray[np.float64]:
        """Give the softmax of ``logits / temperature``, over the last axis."""
        return _softmax(logits_BA, self.temperature)

    def label_set(self, probabilities_BA: Floats) -> NDArray[np.bool_]:
        """Tell which labels may be the right one; the likeliest is always among them.

        Args:
            probabilities_BA: ``[A]`` or ``[B, A]``.

        Returns:
            Same shape, bool.
        """
        likeliest = probabilities_BA == probabilities_BA.max(axis=-1, keepdims=True)
        members: NDArray[np.bool_] = likeliest | (1 - probabilities_BA <= self.conformal_threshold)
        return members

    def verdict(self, confidence_B: Floats, person_peak_B: Floats | None = None) -> NDArray[np.str_]:
        """Decide what to do with each image.

        Args:
            confidence_B: Probability of the likeliest label.
            person_peak_B: Maximum of the heatmap; None or NaN for images without one.

        Returns:
            ``accept``, ``unsure`` or ``no_person`` for each image. No person comes first: a confident action of
            nobody is not to be accepted.
        """
        verdict_B = np.where(np.asarray(confidence_B) >= self.accept_confidence, "accept", "unsure")
        if person_peak_B is not None and self.person_peak_min is not None:
            verdict_B = np.where(np.asarray(person_peak_B) < self.person_peak_min, "no_person", verdict_B)
        return verdict_B


def fit_calibration(
    logits_NA: Floats,
    labels_N: NDArray[np.integer],
    person_peak_N: Floats | None = None,
    nobody_peak_M: Floats | None = None,
    *,
    coverage: float = 0.90,
    precision: float = 0.95,
) -> Calibration:
    """Fit every threshold on images that the model was not trained on.

    Args:
        logits_NA: Raw logits.
        labels_N: True classes, in [0, A).
        person_peak_N: Maximum of each heatmap, NaN where it is unknown whether somebody is there; None without
            heatmaps. At most 2 % of photographs with people fail.
        nobody_peak_M: Maximum of each heatmap of M images that show nobody; None when there are none.
        coverage: Wanted share of label sets that hold the right label.
        precision: Wanted share of accepted images that are right.

    Raises:
        CalibrationError: If there is no image, the shapes disagree, or a logit is not finite.
    """
    if logits_NA.ndim != 2 or len(logits_NA) == 0 or logits_NA.shape[:1] != labels_N.shape:  # noqa: PLR2004 -- [N, A]
        raise CalibrationError(
            f"calibration needs logits [N, A] and labels [N]; got {logits_NA.shape}, {labels_N.shape}"
        )
    if not np.isfinite(logits_NA).all():
        raise CalibrationError("calibration needs finite logits: did the training diverge?")
    if labels_N.min() < 0 or labels_N.max() >= logits_NA.shape[1]:
        raise CalibrationError(f"calibration needs labels below {logits_NA.shape[1]}; got {labels_N.max()}")
    if not (0 < coverage < 1 and 0 < precision <= 1):
        raise CalibrationError(f"coverage must be in (0, 1) and precision in (0, 1]; got {coverage} and {precision}")
    temperature = _fit_temperature(logits_NA, labels_N)
    probabilities_NA = _softmax(logits_NA, temperature)
    correct_N = probabilities_NA.argmax(axis=1) == labels_N
    return Calibration(
        temperature=temperature,
        conformal_threshold=_conformal_quantile(1 - probabilities_NA[np.arange(len(labels_N)), labels_N], coverage),
        coverage=coverage,
        accept_confidence=_lowest_precise(probabilities_NA.max(axis=1), correct_N, precision),
        precision=precision,
        person_peak_min=_lowest_person_peak(person_peak_N, nobody_peak_M),
    )


@dataclass(frozen=True, kw_only=True)
class ConfidenceBin:
    """Images whose confidence lies in one range: what the model promised, and what came true."""

    images: int
    confidence: float
    """Their mean; NaN without images."""
    accuracy: float
    """Share of them whose likeliest label is right; NaN without images."""


def confidence_bins(
    probabilities_NA: Floats, labels_N: NDArray[np.integer], bins: int = 15
) -> tuple[ConfidenceBin, ...]:
    """Sort images into equally wide ranges of confidence, the lowest first: a reliability diagram."""
    confidence_N = probabilities_NA.max(axis=1)
    correct_N = probabilities_NA.argmax(axis=1) == labels_N
    images, confidence, correct = (
        np.bincount(_bin_of(confidence_N, bins), weights=weights, minlength=bins)
        for weights in (None, confidence_N, correct_N)
    )
    with np.errstate(invalid="ignore"):
        columns = zip(images, confidence / images, correct / images, strict=True)
    return tuple(ConfidenceBin(images=int(n), confidence=float(c), accuracy=float(a)) for n, c, a in columns)


def expected_calibration_error(probabilities_NA: Floats, labels_N: NDArray[np.integer], bins: int = 15) -> float:
    """Mean gap between confidence and accuracy over equally wide bins of confidence, weighted by their images.

    Guo et al. 2017, Eq. 3 (arXiv:1706.04599).
    """
    filled = [one for one in confidence_bins(probabilities_NA, labels_N, bins) if one.images]
    return sum(one.images * abs(one.accuracy - one.confidence) for one in filled) / len(labels_N)


def calibration_error_by_chance(probabilities_NA: Floats, bins: int = 15) -> float:
    """Give the expected calibration error that so many images would show if every confidence were exactly right.

    In a bin with confidences c the number of right labels has the variance sum c (1 - c), and by the normal
    distribution the mean gap sqrt(2 / pi * variance). With few images much of a calibration error is this.
    """
    confidence_N = probabilities_NA.max(axis=1)
    variance = np.bincount(_bin_of(confidence_N, bins), weights=confidence_N * (1 - confidence_N))
    return float(np.sqrt(2 / np.pi * variance).sum() / len(confidence_N))


def _bin_of(confidence_N: Floats, bins: int) -> NDArray[np.intp]:
    return np.minimum((confidence_N * bins).astype(np.intp), bins - 1)


def _fit_temperature(logits_NA: Floats, labels_N: NDArray[np.integer]) -> float:
    """Minimise the negative log-likelihood of softmax(logits / T).

    In b = 1/T it is convex with the slope E_p[logit] - true logit, so bisection of the slope cannot miss the minimum.
    A perfect or a useless model has none: it gets the nearest allowed temperature.
    """
    true_N = logits_NA[np.arange(len(labels_N)), labels_N]
    low, high = (math.log(1 / temperature) for temperature in reversed(_TEMPERATURES))
    for _ in range(50):
        middle = (low + high) / 2
        probabilities_NA = _softmax(logits_NA, math.exp(-middle))
        slope = float(((probabilities_NA * logits_NA).sum(axis=1) - true_N).mean())
        low, high = (low, middle) if slope > 0 else (middle, high)
    return math.exp(-(low + high) / 2)


def _softmax(logits_NA: Floats, temperature: float) -> NDArray[np.float64]:
    scaled_NA = np.asarray(logits_NA, dtype=np.float64) / temperature
    exponential_NA = np.exp(scaled_NA - scaled_NA.max(axis=-1, keepdims=True))
    probabilities_NA: NDArray[np.float64] = exponential_NA / exponential_NA.sum(axis=-1, keepdims=True)
    return probabilities_NA


def _conformal_quantile(surprise_N: NDArray[np.float64], coverage: float) -> float:
    """Split-conformal threshold of the LAC score 1 - p(true), with the finite-sample correction.

    The k-th smallest of N with k = ceil((N + 1) * coverage) covers a new image with at least that probability; with
    too few images for that only the set of all labels does. Sadinle et al. 2019 (arXiv:1609.00451).
    """
    rank = math.ceil((len(surprise_N) + 1) * coverage)
    return 1.0 if rank > len(surprise_N) else float(np.sort(surprise_N)[rank - 1])


def _lowest_precise(confidence_N: NDArray[np.float64], correct_N: NDArray[np.bool_], precision: float) -> float:
    """Lowest confidence such that, of all images at or above it and one more that is wrong, the wanted share is right.

    The one more keeps luck out: without it the threshold goes down to wherever the validation images happen to be
    right, and other images are less often right than asked. So 95 % needs 19 images to be shown at all.
    """
    order_N = np.argsort(-confidence_N, kind="stable")
    confidence_N = confidence_N[order_N]
    precision_N = np.cumsum(correct_N[order_N]) / np.arange(2, len(order_N) + 2)
    # Images of equal confidence are accepted together.
    last_of_tie_N = np.append(confidence_N[1:] < confidence_N[:-1], True)
    (reached,) = np.nonzero(last_of_tie_N & (precision_N >= precision))
    return float(confidence_N[reached[-1]]) if len(reached) else NOTHING


def _lowest_person_peak(person_peak_N: Floats | None, nobody_peak_M: Floats | None) -> float | None:
    """Heatmap maximum below which an image is taken to show nobody.

    Of the thresholds that a new photograph with people fails with a probability of at most 2 %, the one that tells the
    two kinds apart best: the largest (share of nobody below it) - (share of people below it). The k-th smallest of N
    peaks with k = floor((N + 1) * 2 %) keeps that promise, as for the label sets; too few photographs keep none, and
    their smallest peak has to do. Without images of nobody it is the highest such threshold.
    """
    people_N = _known(person_peak_N)
    if not len(people_N):
        return None
    allowed_K = people_N[: max(1, math.floor((len(people_N) + 1) * _MISSED_PEOPLE))]
    nobody_M = _known(nobody_peak_M)
    if not len(nobody_M):
        return float(allowed_K[-1])
    caught_K = np.searchsorted(nobody_M, allowed_K) / len(nobody_M)
    missed_K = np.searchsorted(people_N, allowed_K) / len(people_N)
    return float(allowed_K[np.argmax(caught_K - missed_K)])


def _known(peaks: Floats | None) -> NDArray[np.float64]:
    """The finite ones in rising order."""
    return np.array([]) if peaks is None else np.sort(peaks[np.isfinite(peaks)].astype(np.float64))
