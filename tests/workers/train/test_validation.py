from __future__ import annotations

import math

import numpy as np
import pytest

from lga_model.losses import NOBODY
from workers.errors import SettingsError
from workers.train.validation import Outputs, joined, summarise


def outputs(**changes) -> Outputs:
    """Two images, both right, each with a person in the left half that the network looks at."""
    left_NHW = np.tile(np.array([[1, 0], [1, 0]], dtype=np.float32), (2, 1, 1))
    fields = {
        "logits_NA": np.array([[3, 0], [0, 3]], dtype=np.float32),
        "action_N": np.array([0, 1]),
        "pam_NHW": left_NHW,
        "heatmap_NHW": left_NHW,
        "mask_NHW": left_NHW,
        "has_boxes_N": np.array([True, True]),
        "index_N": np.arange(2),
    }
    return Outputs(**(fields | changes))


def test_a_perfect_network_has_perfect_figures():
    """
    All right, all on the person, no heatmap empty.
    """
    scores = summarise(outputs())

    assert (1, 1, 1, 1, 0, 2) == (
        scores.map, scores.top1, scores.focus, scores.mask_iou, scores.dead_heatmaps, scores.images
    )  # fmt: skip
    assert (1, 1) == scores.average_precision


def test_a_network_that_looks_elsewhere_is_told_so():
    """
    The label may be right and still come from the background.
    """
    right_NHW = 1 - outputs().pam_NHW
    scores = summarise(outputs(pam_NHW=right_NHW, heatmap_NHW=right_NHW))

    assert (1, 0, 0) == (scores.map, scores.focus, scores.mask_iou)


def test_empty_heatmaps_are_counted():
    """
    A relu that has died gives zeros for everything.
    """
    dead_NHW = outputs().heatmap_NHW.copy()
    dead_NHW[0] = 0

    assert 0.5 == summarise(outputs(heatmap_NHW=dead_NHW)).dead_heatmaps


def test_images_of_nobody_are_in_no_figure():
    """
    They have no action to be right about and no box to look at; their heatmaps are for the calibration.
    """
    strange = outputs(action_N=np.array([NOBODY, NOBODY]), heatmap_NHW=np.zeros((2, 2, 2), np.float32))
    everything = joined([outputs(), strange])

    assert summarise(outputs()) == summarise(everything)
    assert [0, 0] == everything.nobody.person_peak_N.tolist()


def test_a_peak_is_at_most_one():
    """
    As engines and tags cut it: a threshold above 1 would call every photograph empty.
    """
    assert [1, 1] == outputs(heatmap_NHW=outputs().heatmap_NHW * 3).person_peak_N.tolist()


def test_without_a_branch_there_is_nothing_to_say():
    """
    No heatmap gives no figure rather than a bad one.
    """
    scores = summarise(outputs(heatmap_NHW=np.zeros((2, 0, 0), dtype=np.float32)))

    assert math.isnan(scores.mask_iou)
    assert math.isnan(scores.dead_heatmaps)
    assert 1 == scores.focus


def test_parts_of_several_workers_are_one():
    """
    Joined outputs give the figures of the whole.
    """
    wrong = outputs(logits_NA=np.array([[0, 3], [3, 0]], dtype=np.float32))

    assert 0.5 == summarise(joined([outputs(), wrong])).top1


def test_scores_that_are_not_finite_stop_the_training():
    """
    They cannot be ranked; the message says what to change.
    """
    with pytest.raises(SettingsError, match="diverged"):
        summarise(outputs(logits_NA=np.array([[np.nan, 0], [0, 3]], dtype=np.float32)))
