from __future__ import annotations

import numpy as np
import pytest

from lga_model.losses import NOBODY
from workers.train.bundle import _calibrate, _calibration_error, _reliability
from workers.train.validation import Outputs


def outputs(peaks, actions, has_boxes):
    """Images whose network is right about every action, with these maxima of their heatmaps."""
    count = len(peaks)
    heatmap_NHW = np.zeros((count, 2, 2), np.float32)
    heatmap_NHW[:, 0, 0] = peaks
    return Outputs(
        logits_NA=np.eye(2, dtype=np.float32)[np.maximum(actions, 0)] * 3,
        action_N=np.asarray(actions),
        pam_NHW=heatmap_NHW,
        heatmap_NHW=heatmap_NHW,
        mask_NHW=heatmap_NHW.round(),
        has_boxes_N=np.asarray(has_boxes),
        index_N=np.arange(count),
    )


@pytest.fixture
def validation():
    """60 people between 0.5 and 1.3, 20 photographs without boxes at 0.01, 40 images of nobody below 0.3."""
    peaks = np.concatenate([np.linspace(0.5, 1.3, 60), np.full(20, 0.01), np.linspace(0, 0.3, 40)])
    actions = [*([0, 1] * 40), *[NOBODY] * 40]
    return outputs(peaks, actions, [*[True] * 60, *[False] * 60])


def test_nobody_is_told_from_people(validation):
    """
    The threshold lies between the two; photographs without boxes say nothing about it and are no missed people.
    """
    calibration = _calibrate(validation)
    found = _reliability(validation, calibration)

    assert 0.3 < calibration.person_peak_min <= 0.5 + 1e-6
    assert (0, 1, 1, 40) == (found.people_missed, found.nobody_found, found.person_auroc, found.nobody_images)
    assert 0 == found.nobody_accepted


def test_nobody_has_no_part_in_what_is_said_of_actions(validation):
    """
    Temperature, label sets and the calibration error are those of the 80 photographs with an action.
    """
    calibration, alone = _calibrate(validation), _calibrate(validation.people)

    assert (calibration.temperature, calibration.accept_confidence, calibration.conformal_threshold) == (
        alone.temperature, alone.accept_confidence, alone.conformal_threshold
    )  # fmt: skip
    assert _calibration_error(validation, calibration) == _calibration_error(validation.people, calibration)


def test_a_model_without_a_heatmap_never_says_no_person(validation):
    """
    There is no threshold, and nothing to measure.
    """
    bare = Outputs(**{**vars(validation), "heatmap_NHW": np.zeros((120, 0, 0), np.float32)})
    calibration = _calibrate(bare)

    assert calibration.person_peak_min is None
    assert np.isnan(_reliability(bare, calibration).person_auroc)
