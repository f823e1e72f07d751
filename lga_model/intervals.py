"""How sure a figure of a model, or a difference between two models, is: the bootstrap over the images.

Efron and Tibshirani 1993: draw as many images as there are, with replacement, compute the figure again, and take the
middle share of what comes out, moved so that its mean is the figure itself. An AP needs that: a resample holds some
images twice, and a hit that counts twice at one rank makes every resampled AP a little too good. Of two models both
are computed from the same draw. What is drawn within a class of n images has (n - 1) / n of the variance of n new
images; that is made up for.

Shape suffixes: N = images, A = action classes, R = resamples.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from lga_model.metrics import average_precision

Floats = NDArray[np.floating]
Ints = NDArray[np.integer]

FEWEST = 5
"""Images that a class needs for an interval of its own. Fewer prove nothing: with 4, among 40 classes, an AP has to
fall by about 0.8 before it is more than chance."""

_DRAWN_AT_ONCE = 4_000_000
"""Images drawn at once, over all resamples: 32 MB, and a few times that for what is computed of them."""


@dataclass(frozen=True, kw_only=True)
class Interval:
    """An estimate and the range that it lies in with the given confidence; NaN where nothing could be measured."""

    estimate: float
    low: float
    high: float
    confidence: float


@dataclass(frozen=True, kw_only=True)
class PrecisionDifference:
    """How much better one model ranks than another, on the same images."""

    mean: Interval
    """Of mAP."""
    of_class: tuple[Interval, ...]
    """Of the AP of each class, in the order of the classes. They hold all together with this confidence, so that among
    many classes none stands out by chance; NaN at both ends for a class of fewer than ``FEWEST`` images."""


def precision_difference(
    scores_NA: Floats,
    reference_NA: Floats,
    action_N: Ints,
    *,
    confidence: float = 0.95,
    resamples: int = 1000,
    seed: int = 0,
) -> PrecisionDifference:
    """Bootstrap the gain in AP of one model over a reference (Efron and Tibshirani 1993, percentile intervals).

    Each resample draws as many images as there are, with replacement, and scores both models on the very same draw:
    what is hard for both cancels out. Images are drawn within their class, so that no resample loses a class.

    Args:
        scores_NA: Score of each image for each class, of the model in question.
        reference_NA: The same of the model it is compared with.
        action_N: True classes, in [0, A).
        confidence: Of the interval of mAP, and of those of the classes together, in (0, 1).
        resamples: More give steadier ends.
        seed: The same seed gives the same intervals.

    Raises:
        ValueError: If the shapes disagree or a score is NaN.
    """
    if scores_NA.shape != reference_NA.shape or scores_NA.shape[:1] != action_N.shape:
        raise ValueError(
            f"scores {list(scores_NA.shape)}, reference {list(reference_NA.shape)} and actions "
            f"{list(action_N.shape)} are not of the same images and classes"
        )
    estimate_A = _class_precision(scores_NA, action_N) - _class_precision(reference_NA, action_N)
    difference_RA = np.concatenate(
        [
            _resampled_classes(scores_NA, action_N, counts_RN) - _resampled_classes(reference_NA, action_N, counts_RN)
            for counts_RN in _portions(action_N, resamples, seed)
        ]
    )
    images_A = np.bincount(action_N, minlength=len(estimate_A))
    strayed_RA = _strayed(difference_RA, images_A)
    return PrecisionDifference(
        mean=_mean(estimate_A, strayed_RA, images_A, confidence),
        of_class=_together(estimate_A, strayed_RA, images_A, confidence),
    )


def precision_intervals(
    scores_NA: Floats, action_N: Ints, *, confidence: float = 0.95, resamples: int = 1000, seed: int = 0
) -> tuple[Interval, tuple[Interval, ...]]:
    """Bootstrap mAP and the AP of each class of one model; arguments as for ``precision_difference``.

    Each interval holds by itself with that confidence; a class of fewer than ``FEWEST`` images has NaN at both ends.

    Raises:
        ValueError: If a score is NaN.
    """
    sampled_RA = np.concatenate(
        [_resampled_classes(scores_NA, action_N, counts_RN) for counts_RN in _portions(action_N, resamples, seed)]
    )
    estimate_A, images_A = _class_precision(scores_NA, action_N), np.bincount(action_N, minlength=scores_NA.shape[1])
    strayed_RA = _strayed(sampled_RA, images_A)
    of_class = tuple(
        _possible(_interval(float(estimate), strayed_R, confidence))
        if images >= FEWEST
        else _unknown(float(estimate), confidence)
        for estimate, strayed_R, images in zip(estimate_A, strayed_RA.T, images_A, strict=True)
    )
    return _possible(_mean(estimate_A, strayed_RA, images_A, confidence)), of_class


def mean_interval(values_N: Floats, *, confidence: float = 0.95, resamples: int = 1000, seed: int = 0) -> Interval:
    """Bootstrap the mean of one value for each image, or of the difference of two models on each image.

    Args:
        values_N: NaN where an image has no such value; those are left out.
        confidence: Of the interval, in (0, 1).
        resamples: More give steadier ends.
        seed: The same seed gives the same interval.
    """
    known_N = np.asarray(values_N, np.float64)[~np.isnan(values_N)]
    if not len(known_N):
        return _unknown(np.nan, confidence)
    random = np.random.default_rng(seed)
    means_R = np.array([known_N[random.integers(0, len(known_N), len(known_N))].mean() for _ in range(resamples)])
    return _interval(float(known_N.mean()), means_R, confidence)


def _class_precision(scores_NA: Floats, action_N: Ints) -> NDArray[np.float64]:
    return np.array([average_precision(scores_N, action_N == index) for index, scores_N in enumerate(scores_NA.T)])


def _resampled_classes(scores_NA: Floats, action_N: Ints, counts_RN: NDArray[np.int64]) -> NDArray[np.float64]:
    """AP of each class in every resample, ``[R, A]``; NaN for a class without images."""
    return np.stack(
        [_resampled(scores_N, action_N == index, counts_RN) for index, scores_N in enumerate(scores_NA.T)], axis=1
    )


def _strayed(sampled_RA: NDArray[np.float64], images_A: Ints) -> NDArray[np.float64]:
    """How far each resample lies from their mean, widened to what as many new images would stray."""
    strayed_RA: NDArray[np.float64] = sampled_RA - sampled_RA.mean(axis=0)
    return strayed_RA * np.sqrt(images_A / np.maximum(images_A - 1, 1))


def _mean(
    estimate_A: NDArray[np.float64], strayed_RA: NDArray[np.float64], images_A: Ints, confidence: float
) -> Interval:
    """The interval of the mean over the classes that have images."""
    known_A, varied_A = images_A > 0, images_A > 1
    if not known_A.any():
        return _unknown(np.nan, confidence)
    strayed_R = strayed_RA[:, known_A].mean(axis=1)
    if varied_A.any():
        # A single image is always drawn: what it strays is taken from the others, whose variance goes with 1 / n.
        strayed_R = strayed_R * np.sqrt((1 / images_A[known_A]).sum() / (1 / images_A[varied_A]).sum())
    return _interval(float(estimate_A[known_A].mean()), strayed_R, confidence)


def _together(
    estimate_A: NDArray[np.float64], strayed_RA: NDArray[np.float64], images_A: Ints, confidence: float
) -> tuple[Interval, ...]:
    """Intervals that all hold at once: as wide as the class that strays furthest in each resample asks for.

    The width goes with 1 / sqrt(n) and is found for all classes together: what a few images of one class show of their
    own spread is too little.
    """
    root_A = np.sqrt(images_A)
    furthest_R = np.abs(strayed_RA * root_A)[:, images_A >= FEWEST].max(axis=1, initial=0.0)
    reach = float(np.quantile(furthest_R, confidence))
    return tuple(
        Interval(
            estimate=float(estimate),
            low=float(estimate - reach / root),
            high=float(estimate + reach / root),
            confidence=confidence,
        )
        if images >= FEWEST
        else _unknown(float(estimate), confidence)
        for estimate, root, images in zip(estimate_A, root_A, images_A, strict=True)
    )


def _possible(interval: Interval) -> Interval:
    """Without what a precision cannot be: moved and widened resamples may lie beyond 1."""
    return replace(interval, low=float(np.clip(interval.low, 0, 1)), high=float(np.clip(interval.high, 0, 1)))


def _unknown(estimate: float, confidence: float) -> Interval:
    return Interval(estimate=estimate, low=np.nan, high=np.nan, confidence=confidence)


def _portions(action_N: Ints, resamples: int, seed: int) -> Iterator[NDArray[np.int64]]:
    """All draws, as many at once as memory should hold."""
    at_once = max(1, _DRAWN_AT_ONCE // max(1, len(action_N)))
    for portion, start in enumerate(range(0, resamples, at_once)):
        yield _draws(action_N, min(at_once, resamples - start), seed + portion)


def _draws(action_N: Ints, resamples: int, seed: int) -> NDArray[np.int64]:
    """How often each image is drawn in each resample, ``[R, N]``."""
    random = np.random.default_rng(seed)
    counts_RN = np.zeros((resamples, len(action_N)), np.int64)
    for action in np.unique(action_N):
        (members,) = np.nonzero(action_N == action)
        counts_RN[:, members] = random.multinomial(len(members), np.full(len(members), 1 / len(members)), resamples)
    return counts_RN


def _resampled(scores_N: Floats, positives_N: NDArray[np.bool_], counts_RN: NDArray[np.int64]) -> NDArray[np.float64]:
    """``average_precision`` of every resample, ``[R]``: one sort serves all of them."""
    order_N = np.argsort(-scores_N, kind="stable")
    sorted_N = scores_N[order_N]
    last_of_tie_N = np.append(sorted_N[1:] != sorted_N[:-1], True)[: len(sorted_N)]
    drawn_RN = counts_RN[:, order_N]
    retrieved_RN = drawn_RN.cumsum(axis=1)[:, last_of_tie_N]
    hits_RN = (drawn_RN * positives_N[order_N]).cumsum(axis=1)[:, last_of_tie_N]
    with np.errstate(invalid="ignore", divide="ignore"):
        gained_RN = np.diff(hits_RN, axis=1, prepend=0) / hits_RN[:, -1:]
        # Nothing drawn at this score or above: nothing gained either.
        precision_RN = hits_RN / np.maximum(retrieved_RN, 1)
        average_R: NDArray[np.float64] = (gained_RN * precision_RN).sum(axis=1)
    return average_R


def _interval(estimate: float, sampled_R: NDArray[np.float64], confidence: float) -> Interval:
    tail = (1 - confidence) / 2
    low, high = np.quantile(sampled_R, (tail, 1 - tail)) - sampled_R.mean() + estimate
    return Interval(estimate=estimate, low=float(low), high=float(high), confidence=confidence)
