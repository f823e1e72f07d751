"""What is worth a label: several reasons take turns, and of copies only one is taken. Decides from figures alone."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

_SAME_SCORES = 0.02
"""Largest difference of any class's probability between two copies; the heatmaps have to agree as well."""
_SAME_HEATMAP = 4
"""Largest mean difference of two heatmaps of copies, of 255."""


@dataclass(frozen=True, kw_only=True)
class Tagged:
    """What the tags say about one photograph."""

    namespace: str
    """The bucket or folder that knows it by its key."""
    key: str
    etag: str
    label: str
    confidence: float
    width: int
    height: int
    scores_A: NDArray[np.floating]
    heatmap_N: NDArray[np.uint8]


@dataclass(frozen=True, kw_only=True)
class Pick:
    """A photograph to label, and why."""

    tagged: Tagged
    reason: str


def choose(ranked: Mapping[str, Sequence[Tagged]], limit: int) -> list[Pick]:
    """Let the reasons take turns, each with its next best photograph that is no copy of one taken before.

    Args:
        ranked: For each reason its photographs, the most worthwhile first.
        limit: Most photographs to take.
    """
    waiting = {reason: iter(photographs) for reason, photographs in ranked.items()}
    taken: list[Pick] = []
    while waiting and len(taken) < limit:
        for reason in list(waiting):
            fresh = (each for each in waiting[reason] if not any(_copies(each, pick.tagged) for pick in taken))
            if (photograph := next(fresh, None)) is None:
                del waiting[reason]
                continue
            taken.append(Pick(tagged=photograph, reason=reason))
            if len(taken) == limit:
                break
    return taken


def _copies(one: Tagged, other: Tagged) -> bool:
    """Whether two photographs are the same object, the same bytes, or the same to the model's eye."""
    if (one.namespace, one.key) == (other.namespace, other.key) or one.etag == other.etag:
        return True
    if one.scores_A.shape != other.scores_A.shape or one.heatmap_N.shape != other.heatmap_N.shape:
        return False
    # Without scores and heatmap nothing says that two photographs are alike.
    if not one.scores_A.size or not one.heatmap_N.size:
        return False
    difference_N = np.abs(one.heatmap_N.astype(np.int16) - other.heatmap_N)
    return bool(np.abs(one.scores_A - other.scores_A).max() <= _SAME_SCORES and difference_N.mean() <= _SAME_HEATMAP)
