"""Counts that add up, and the index against its formula."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from lga_model.drift import BINS, Distribution, drift, drift_beyond_chance, population_stability_index

COUNTS = st.lists(st.integers(0, 1000), min_size=4, max_size=4)


def test_photographs_are_counted_in_tenths():
    """
    A value on a border belongs to the upper bin, 1 to the last; what is not known is left out.
    """
    counted = Distribution.of(np.array([0.0, 0.1, 0.99, 1.0]), np.array([0.55, np.nan]), ["run", "climb", "run", "run"])

    assert (1, 1, 0, 0, 0, 0, 0, 0, 0, 2) == counted.confidence
    assert (0, 0, 0, 0, 0, 1, 0, 0, 0, 0) == counted.focus
    assert {"climb": 1, "run": 3} == counted.classes
    assert 4 == counted.images


def test_parts_add_up_to_the_whole():
    """
    Shards may be counted in any order.
    """
    confidence = np.random.default_rng(0).random(100)
    labels = [f"class {number % 3}" for number in range(100)]
    parts = [
        Distribution.of(confidence[start : start + 30], confidence[start : start + 30], labels[start : start + 30])
        for start in range(0, 100, 30)
    ]

    assert Distribution.of(confidence, confidence, labels) == sum(parts[::-1], Distribution())


def test_the_index_is_its_formula():
    """
    A case that can be worked out by hand.
    """
    by_hand = (0.5 - 0.25) * math.log(0.5 / 0.25) + (0.5 - 0.75) * math.log(0.5 / 0.75)

    assert by_hand == pytest.approx(population_stability_index([25, 75], [200, 200]))


@given(COUNTS, COUNTS)
def test_the_index_is_a_distance(first, second):
    """
    Never negative, symmetric, 0 for equal shares, finite even where a bin is empty; None for nothing.
    """
    there, back = population_stability_index(first, second), population_stability_index(second, first)
    if not sum(first) or not sum(second):
        assert there is None
        return

    assert 0 <= there < math.inf
    assert there == pytest.approx(back)
    assert 0 == pytest.approx(population_stability_index(first, first), abs=1e-12)


@pytest.mark.parametrize("photographs", [20, 100, 1000])
def test_chance_is_no_drift(photographs):
    """
    Nights of few photographs out of the very distribution of the reference: of 200 nights the index of 40 actions calls
    most a shift where there are 20 or 100, and hardly one of them is left beyond chance.
    """
    random = np.random.default_rng(photographs)
    labels = [f"action {number}" for number in range(40)]

    def night(count: int) -> Distribution:
        confidence = random.beta(4, 2, count)
        return Distribution.of(confidence, confidence / 2, random.choice(labels, count).tolist())

    reference = night(400)
    nights = [night(photographs) for _ in range(200)]

    assert photographs == 1000 or np.mean([drift(reference, one).classes > 0.25 for one in nights]) > 0.9
    for output in ("confidence", "focus", "classes"):
        assert np.mean([getattr(drift_beyond_chance(reference, one), output) > 0.25 for one in nights]) < 0.02


def test_a_shift_is_more_than_chance():
    """
    A hundred photographs of one action, where the reference has forty; a model without heatmaps has no focus.
    """
    none = np.array([])
    before = Distribution.of(np.full(400, 0.9), none, [f"action {number % 40}" for number in range(400)])
    after = Distribution.of(np.full(100, 0.9), none, ["action 1"] * 100)
    found = drift_beyond_chance(before, after)

    assert found.classes > 1
    assert 0 == found.confidence
    assert found.focus is None


def test_drift_speaks_of_each_output():
    """
    A shift of the labels is not one of the confidence; a model without heatmaps has no focus to compare.
    """
    none = np.array([])
    before = Distribution.of(np.full(50, 0.9), none, ["run"] * 25 + ["climb"] * 25)
    after = Distribution.of(np.full(50, 0.9), none, ["run"] * 49 + ["swim"])
    found = drift(before, after)

    assert 0 == found.confidence
    assert found.focus is None
    assert found.classes > 0.25
    assert len(before.confidence) == BINS
