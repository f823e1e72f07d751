"""How sure a difference between two models is: the paired bootstrap over the images that both have seen.

Shape suffixes: N = images, A = action classes, R = resamples.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from lga_model.metrics import average_precision

Floats = NDArray[np.floating]
Ints = NDArray[np.integer]


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
    """Of the AP of each class, in the order of the classes."""


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
        confidence: Of the intervals, in (0, 1).
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
    counts_RN = _draws(action_N, resamples, seed)
    difference_RA = np.empty((resamples, scores_NA.shape[1]))
    estimate_A = np.empty(scores_NA.shape[1])
    for index in range(scores_NA.shape[1]):
        positives_N = action_N == index
        difference_RA[:, index] = _resampled(scores_NA[:, index], positives_N, counts_RN) - _resampled(
            reference_NA[:, index], positives_N, counts_RN
        )
        estimate_A[index] = average_precision(scores_NA[:, index], positives_N) - average_precision(
            reference_NA[:, index], positives_N
        )
    known_A = ~np.isnan(estimate_A)
    nothing = np.full(resamples, np.nan)
    return PrecisionDifference(
        mean=_interval(
            float(estimate_A[known_A].mean()) if known_A.any() else float("nan"),
            difference_RA[:, known_A].mean(axis=1) if known_A.any() else nothing,
            confidence,
        ),
        of_class=tuple(
            _interval(float(estimate), difference_R, confidence)
            for estimate, difference_R in zip(estimate_A, difference_RA.T, strict=True)
        ),
    )


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


def _interval(estimate: float, difference_R: NDArray[np.float64], confidence: float) -> Interval:
    tail = (1 - confidence) / 2
    low, high = np.quantile(difference_R, (tail, 1 - tail))
    return Interval(estimate=estimate, low=float(low), high=float(high), confidence=confidence)
