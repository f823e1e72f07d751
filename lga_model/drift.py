"""How a model's outputs are distributed, and how far one set of photographs lies from another.

Counts are kept, not values: they add up over shards and runs, and a million photographs take as much room as ten.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Self

import numpy as np
from numpy.typing import NDArray

BINS = 10
"""Equally wide bins over [0, 1]."""

_RARE = 0.5  # Photographs that an empty bin counts as: the index would be infinite.


@dataclass(frozen=True, kw_only=True)
class Distribution:
    """What a model said about some photographs."""

    confidence: tuple[int, ...] = (0,) * BINS
    """Photographs in each bin of the label's probability."""
    focus: tuple[int, ...] = (0,) * BINS
    """Photographs in each bin of the focus; those without one are left out."""
    classes: dict[str, int] = field(default_factory=dict)
    """Photographs of each label."""

    @property
    def images(self) -> int:
        """Photographs that were counted."""
        return sum(self.confidence)

    @classmethod
    def of(
        cls,
        confidence_N: NDArray[np.floating],
        focus_N: NDArray[np.floating],
        labels: Iterable[str] | Mapping[str, int],
    ) -> Self:
        """Count photographs.

        Args:
            confidence_N: Probability of each label, in [0, 1].
            focus_N: In [0, 1]; NaN where there is none. Its length may differ.
            labels: The label of each, or how many have each.
        """
        return cls(
            confidence=_histogram(confidence_N),
            focus=_histogram(focus_N),
            classes=dict(sorted(Counter(labels).items())),
        )

    def __add__(self, other: Distribution) -> Distribution:
        return Distribution(
            confidence=tuple(a + b for a, b in zip(self.confidence, other.confidence, strict=True)),
            focus=tuple(a + b for a, b in zip(self.focus, other.focus, strict=True)),
            classes=dict(sorted((Counter(self.classes) + Counter(other.classes)).items())),
        )


@dataclass(frozen=True, kw_only=True)
class Drift:
    """Population stability index of each output against a reference; None where one side has nothing to compare.

    Below 0.1 is usually called stable, above 0.25 a shift that somebody should look at.
    """

    confidence: float | None
    focus: float | None
    classes: float | None


def drift(reference: Distribution, now: Distribution) -> Drift:
    """Compare two distributions output by output."""
    return Drift(**{name: population_stability_index(*counts) for name, counts in _counts(reference, now).items()})


def drift_beyond_chance(reference: Distribution, now: Distribution) -> Drift:
    """``drift``, less what chance alone makes of so few photographs; 0 where that explains it all.

    Between N and M photographs of one kind the index is (1/N + 1/M) times a chi-squared variable with a degree of
    freedom for each filled bin but one (Yurdakul 2018). Its mean and two standard deviations are taken off: with 40
    actions 0.7 between a night of 100 photographs and a validation split of 400.
    """
    return Drift(**{name: _index_beyond_chance(*counts) for name, counts in _counts(reference, now).items()})


def _counts(reference: Distribution, now: Distribution) -> dict[str, tuple[Sequence[int], Sequence[int]]]:
    """What is compared, by output: counts of the same bins on both sides."""
    names = sorted(reference.classes.keys() | now.classes.keys())
    return {
        "confidence": (reference.confidence, now.confidence),
        "focus": (reference.focus, now.focus),
        "classes": (
            [reference.classes.get(name, 0) for name in names],
            [now.classes.get(name, 0) for name in names],
        ),
    }


def _index_beyond_chance(expected: Sequence[int], actual: Sequence[int]) -> float | None:
    index = population_stability_index(expected, actual)
    return None if index is None else max(0.0, index - _chance(expected, actual))


def _chance(expected: Sequence[int], actual: Sequence[int]) -> float:
    freedom = sum(1 for e, a in zip(expected, actual, strict=True) if e or a) - 1
    return (1 / sum(expected) + 1 / sum(actual)) * (freedom + 2 * math.sqrt(2 * freedom))


def population_stability_index(expected: Sequence[int], actual: Sequence[int]) -> float | None:
    """PSI = sum over bins of (a - e) ln(a / e), with a and e the shares of the bin; symmetric, 0 when they are equal.

    Args:
        expected: Counts of the reference. Bins that are empty on both sides say nothing; one that is empty on one side
            counts as half a photograph.
        actual: Counts of the same bins.

    Returns:
        None when either side has no photograph at all.
    """
    if not sum(expected) or not sum(actual):
        return None
    filled = [(e or _RARE, a or _RARE) for e, a in zip(expected, actual, strict=True) if e or a]
    all_expected, all_actual = sum(e for e, _ in filled), sum(a for _, a in filled)
    shares = [(e / all_expected, a / all_actual) for e, a in filled]
    return sum((a - e) * math.log(a / e) for e, a in shares)


def _histogram(values_N: NDArray[np.floating]) -> tuple[int, ...]:
    known_N = values_N[np.isfinite(values_N)]
    bin_N = np.clip((known_N * BINS).astype(int), 0, BINS - 1)
    return tuple(int(count) for count in np.bincount(bin_N, minlength=BINS))
