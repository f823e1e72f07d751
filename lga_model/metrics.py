"""How good a model is: average precision, mask IoU, focus. Each metric: update / compute / reset, in numpy.

Shape suffixes: N = images so far, B = images of a batch, A = action classes, H W = cells of the feature map.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from lga_model.activations import focus

Floats = NDArray[np.floating]
Bools = NDArray[np.bool_]
Ints = NDArray[np.integer]

_ON = 0.5


def average_precision(scores_N: Floats, positives_N: Bools) -> float:
    """Area under the precision-recall curve: AP = sum_n (R_n - R_{n-1}) P_n over the distinct scores, highest first.

    P_n and R_n are precision and recall when everything that scores at least the n-th score is retrieved, so equal
    scores are retrieved together and their order does not matter. No interpolation.

    Args:
        scores_N: Score of each image for one class, higher is more likely.
        positives_N: Whether the image is of this class.

    Returns:
        A value in [0, 1], or NaN without any positive.

    Raises:
        ValueError: If a score is NaN: it has no place in the ranking.
    """
    if np.isnan(scores_N).any():
        raise ValueError("average precision needs scores to rank; some are NaN")
    order_N = np.argsort(-scores_N, kind="stable")
    scores_N, positives_N = scores_N[order_N], positives_N[order_N].astype(bool)
    last_of_tie_N = np.append(scores_N[1:] != scores_N[:-1], True)[: len(scores_N)]
    hits = np.cumsum(positives_N)[last_of_tie_N]
    retrieved = np.flatnonzero(last_of_tie_N) + 1
    if len(hits) == 0 or hits[-1] == 0:
        return float("nan")
    return float(np.sum(np.diff(hits, prepend=0) / hits[-1] * hits / retrieved))


@dataclass(frozen=True, kw_only=True)
class ClassificationReport:
    """What a classifier achieved on a set of images."""

    mean_average_precision: float
    """Mean over the classes that have a positive; NaN if none has."""
    average_precision: tuple[float, ...]
    """Of each class, in the order of the classes; NaN without positives."""
    top1: float
    """Share of images whose highest score is the true action; NaN without images."""
    images: int


class MeanAveragePrecision:
    """Per-class AP, mAP and top-1 over all batches since the last reset."""

    def __init__(self) -> None:
        """Start empty."""
        self.reset()

    def reset(self) -> None:
        """Forget every image."""
        self._scores: list[Floats] = []
        self._actions: list[Ints] = []

    def update(self, scores_BA: Floats, action_B: Ints) -> None:
        """Add a batch: a score of each class, and the true class.

        Raises:
            ValueError: If the shapes disagree.
        """
        if scores_BA.ndim != 2 or scores_BA.shape[:1] != action_B.shape:  # noqa: PLR2004 -- [B, A]
            raise ValueError(f"scores {list(scores_BA.shape)} do not fit actions {list(action_B.shape)}")
        self._scores.append(scores_BA)
        self._actions.append(action_B)

    def compute(self) -> ClassificationReport:
        """Summarise the images so far."""
        if not self._actions:
            return ClassificationReport(mean_average_precision=np.nan, average_precision=(), top1=np.nan, images=0)
        scores_NA, action_N = np.concatenate(self._scores), np.concatenate(self._actions)
        per_class_A = [average_precision(scores_N, action_N == index) for index, scores_N in enumerate(scores_NA.T)]
        return ClassificationReport(
            mean_average_precision=_mean_of_known(np.array(per_class_A)),
            average_precision=tuple(per_class_A),
            top1=_mean_of_known((scores_NA.argmax(axis=1) == action_N).astype(np.float64)),
            images=len(action_N),
        )


class MeanOfKnown:
    """Mean of values that may be unknown (NaN); those are left out."""

    def __init__(self) -> None:
        """Start empty."""
        self.reset()

    def reset(self) -> None:
        """Forget every value."""
        self._sum, self._known = 0.0, 0

    def compute(self) -> float:
        """Give the mean of the known values, NaN if there is none."""
        return self._sum / self._known if self._known else float("nan")

    def _add(self, values_B: Floats) -> None:
        self._sum += float(np.nansum(values_B))
        self._known += int(np.count_nonzero(~np.isnan(values_B)))


class MaskIoU(MeanOfKnown):
    """Mean over the images of ``mask_iou``."""

    def update(self, heatmap_BHW: Floats, mask_BHW: Floats, has_boxes_B: Bools) -> None:
        """Add a batch. Images without boxes, and those where nobody is seen nor expected, are left out."""
        self._add(mask_iou(heatmap_BHW, mask_BHW)[has_boxes_B])


class MeanFocus(MeanOfKnown):
    """Mean focus on the true human mask: how much of the choices came from the person."""

    def update(self, pam_BHW: NDArray[np.float32], mask_BHW: NDArray[np.float32], has_boxes_B: Bools) -> None:
        """Add a batch. Images without boxes, and those where no cell speaks for the action, are left out."""
        self._add(focus(pam_BHW, mask_BHW)[has_boxes_B])


def mask_iou(heatmap_BHW: Floats, mask_BHW: Floats) -> NDArray[np.float64]:
    """Overlap of heatmap and human mask, each cut at 0.5: intersection / union, ``[B]``; NaN where both are empty."""
    seen_BHW, true_BHW = heatmap_BHW > _ON, mask_BHW > _ON
    with np.errstate(invalid="ignore"):
        iou_B: NDArray[np.float64] = (seen_BHW & true_BHW).sum(axis=(1, 2)) / (seen_BHW | true_BHW).sum(axis=(1, 2))
    return iou_B


def pixel_average_precision(heatmap_BHW: Floats, mask_BHW: Floats) -> NDArray[np.float64]:
    """Average precision of each heatmap as a ranking of its own cells by how likely they lie on a person, ``[B]``.

    No threshold has to be chosen for it. NaN where no cell, or every cell, lies on a person: nothing can be ranked.
    """
    true_BN = mask_BHW.reshape(len(mask_BHW), -1) > _ON
    scores_BN = heatmap_BHW.reshape(true_BN.shape)
    return np.array(
        [
            average_precision(scores_N, true_N) if true_N.any() and not true_N.all() else np.nan
            for scores_N, true_N in zip(scores_BN, true_BN, strict=True)
        ]
    )


@dataclass(frozen=True, kw_only=True)
class Confusion:
    """Photographs of one action that were taken for another."""

    action: int
    taken_for: int
    images: int
    share: float
    """Of the photographs of the action."""


def confusions(scores_NA: Floats, action_N: Ints) -> tuple[Confusion, ...]:
    """Every pair of actions that was confused, the most frequent first."""
    classes = scores_NA.shape[1]
    counts_AA = np.bincount(action_N * classes + scores_NA.argmax(axis=1), minlength=classes**2)
    counts_AA = counts_AA.reshape(classes, classes)
    of_action_A = counts_AA.sum(axis=1)
    wrong_AA = counts_AA * ~np.eye(classes, dtype=bool)
    pairs = sorted(zip(*np.nonzero(wrong_AA), strict=True), key=lambda pair: (-wrong_AA[pair], pair))
    return tuple(
        Confusion(
            action=int(action),
            taken_for=int(other),
            images=int(wrong_AA[action, other]),
            share=float(wrong_AA[action, other] / of_action_A[action]),
        )
        for action, other in pairs
    )


def _mean_of_known(values: Floats) -> float:
    """Mean without the NaN, and NaN without a warning when nothing is left."""
    known = values[~np.isnan(values)]
    return float(known.mean()) if len(known) else float("nan")
