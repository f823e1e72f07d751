"""Which images an epoch shows, and in which order. It follows from the seed and the number of the epoch alone."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from lga_model.config import Recipe
from lga_model.losses import NOBODY

Indices = NDArray[np.int64]


def epoch_order(action_N: Indices, recipe: Recipe, seed: int, epoch: int) -> Indices:
    """Draw the images of one epoch.

    An action with more places than images shows some of them again, each equally often up to one; an action with fewer
    shows another part in each epoch. Without balancing each image has one place.

    Args:
        action_N: Action of each image, ``NOBODY`` for those that show nobody.
        recipe: Gives ``class_balance`` and ``nobody_share``.
        seed: Of the training.
        epoch: Finished epochs.

    Returns:
        Places, as many as there are images with an action. A place is the index of its image, plus the number of all
        images for each place before that shows the same one: no two places are equal.
    """
    random = np.random.default_rng((seed, epoch))
    total = int((action_N != NOBODY).sum())
    shuffle = random.permutation(total)
    nobody = round(recipe.nobody_share * total) if total < len(action_N) else 0
    actions, count_A = np.unique(action_N[action_N != NOBODY], return_counts=True)
    places_A = _shared(total - nobody, count_A ** (1.0 - recipe.class_balance))
    drawn = [
        _cycled(np.flatnonzero(action_N == action), int(places), random)
        for action, places in zip((*actions, NOBODY), (*places_A, nobody), strict=True)
    ]
    shown = np.sort(np.concatenate(drawn))
    times_before = np.arange(len(shown)) - np.searchsorted(shown, shown)
    return (shown + times_before * len(action_N))[shuffle]


def _shared(total: int, weight_A: NDArray[np.floating]) -> Indices:
    """Share places out by weight; those that rounding leaves go to the largest remainders."""
    exact_A = total * weight_A / weight_A.sum()
    places_A: Indices = np.floor(exact_A + 1e-9).astype(np.int64)
    remainders = np.argsort(places_A - exact_A, kind="stable")
    places_A[remainders[: total - places_A.sum()]] += 1
    return places_A


def _cycled(members: Indices, places: int, random: np.random.Generator) -> Indices:
    """Members in a random order, again and again until every place is taken."""
    return np.resize(random.permutation(members), places) if places else members[:0]
