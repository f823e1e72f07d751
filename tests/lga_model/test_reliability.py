from __future__ import annotations

import math
from dataclasses import replace

import numpy as np
import pytest
from sklearn.metrics import roc_auc_score

from lga_model.calibration import Calibration, expected_calibration_error
from lga_model.reliability import measure_reliability, risk_coverage

CALIBRATION = replace(
    Calibration.none(), conformal_threshold=0.5, accept_confidence=0.8, person_peak_min=0.3
)  # fmt: skip
PROBABILITIES = np.array([[0.9, 0.1], [0.85, 0.15], [0.6, 0.4], [0.3, 0.7]])
ACTIONS = np.array([0, 1, 0, 0])
PEAKS = np.array([0.9, 0.9, 0.1, math.nan])


def test_every_share_by_hand():
    """
    Four photographs: two accepted, one of them right; a person whose heatmap is faint; one that nobody drew a box on.
    """
    found = measure_reliability(
        CALIBRATION, PROBABILITIES, ACTIONS, PEAKS, np.array([0.95, 0.95, 0.5]), np.array([0.2, 0.5, 0.0])
    )

    assert (0.5, 0.5) == (found.accepted, found.accepted_precision)
    assert (0.5, 1.0) == (found.label_set_coverage, found.label_set_size)
    assert pytest.approx(1 / 3) == found.people_missed
    assert pytest.approx((2 / 3, 1 / 3)) == (found.nobody_found, found.nobody_accepted)
    assert 3 == found.nobody_images


def test_the_calibration_error_sums_up_the_bins():
    """
    Confidences 0.9 and 0.85 share a bin, in which one of two is right; empty bins say nothing.
    """
    found = measure_reliability(CALIBRATION, PROBABILITIES, ACTIONS)
    filled = [one for one in found.bins if one.images]
    gap = sum(one.images * abs(one.accuracy - one.confidence) for one in filled) / 4

    assert 15 == len(found.bins)
    assert [(1, 0.6, 1.0), (1, 0.7, 0.0), (1, 0.85, 0.0), (1, 0.9, 1.0)] == [
        (one.images, pytest.approx(one.confidence), one.accuracy) for one in filled
    ]
    assert all(math.isnan(one.accuracy) for one in found.bins if not one.images)
    assert pytest.approx(found.calibration_error) == gap


def test_a_perfect_calibration_shows_the_error_of_chance():
    """
    Labels drawn with the very probabilities that were told, 400 times: the mean error is what was foretold, within a
    few percent, and it is far from nothing.
    """
    random = np.random.default_rng(0)
    probabilities_NA = random.dirichlet(np.full(5, 0.4), 300)
    errors = [
        expected_calibration_error(probabilities_NA, (random.random((300, 1)) > probabilities_NA.cumsum(axis=1)).sum(1))
        for _ in range(400)
    ]

    found = measure_reliability(CALIBRATION, probabilities_NA, probabilities_NA.argmax(axis=1))

    assert pytest.approx(np.mean(errors), rel=0.05) == found.calibration_error_by_chance
    assert found.calibration_error_by_chance > 0.03


def test_risk_rises_as_less_sure_photographs_are_kept():
    """
    Kept in the order of confidence 0.9, 0.85, 0.7, 0.6: right, wrong, wrong, right.
    """
    found = measure_reliability(CALIBRATION, PROBABILITIES, ACTIONS)

    assert [0, 1 / 2, 2 / 3, 1 / 2] == risk_coverage(PROBABILITIES.max(axis=1), ACTIONS == [0, 0, 0, 1]).tolist()
    assert pytest.approx((0 + 1 / 2 + 2 / 3 + 1 / 2) / 4) == found.risk_area
    assert (0.5, 0.5) in found.risk_at_coverage
    assert (1.0, 0.5) == found.risk_at_coverage[-1]


def test_the_auroc_is_scikit_learns():
    """
    With ties and unknown peaks.
    """
    random = np.random.default_rng(0)
    people, nobody = random.integers(3, 9, 50) / 10, random.integers(0, 7, 40) / 10
    peaks = np.append(people, math.nan)
    probabilities = np.tile([0.6, 0.4], (51, 1))
    found = measure_reliability(CALIBRATION, probabilities, np.zeros(51, int), peaks, np.full(40, 0.5), nobody)
    expected = roc_auc_score([1] * 50 + [0] * 40, np.concatenate([people, nobody]))

    assert pytest.approx(expected) == found.person_auroc


def test_nothing_to_count_is_nan():
    """
    No photographs, no heatmap, nobody.
    """
    nothing = measure_reliability(CALIBRATION, np.zeros((0, 2)), np.zeros(0, int))
    bare = measure_reliability(CALIBRATION, PROBABILITIES, ACTIONS)

    assert math.isnan(nothing.accepted)
    assert () == nothing.risk_at_coverage
    assert all(math.isnan(value) for value in (bare.people_missed, bare.nobody_found, bare.person_auroc))
