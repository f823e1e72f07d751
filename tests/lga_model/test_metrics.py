from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import assume, given
from hypothesis import strategies as st
from sklearn.metrics import average_precision_score

from lga_model.metrics import (
    MaskIoU,
    MeanAveragePrecision,
    MeanFocus,
    average_precision,
    confusions,
    pixel_average_precision,
)


def test_average_precision_by_hand():
    """
    Hits at ranks 1 and 3: (1/1 + 2/3) / 2.
    """
    scores, positives = np.array([0.2, 0.9, 0.5, 0.1]), np.array([True, True, False, False])

    assert pytest.approx((1 + 2 / 3) / 2) == average_precision(scores, positives)


@given(st.lists(st.tuples(st.integers(0, 6), st.booleans()), min_size=1, max_size=60))
def test_average_precision_equals_scikit_learns_with_any_ties(rows):
    """
    Few distinct scores, so that most images share theirs.
    """
    scores, positives = (np.array(column) for column in zip(*rows, strict=True))
    assume(positives.any())

    assert pytest.approx(average_precision_score(positives, scores)) == average_precision(scores / 6, positives)


def test_average_precision_without_positives_is_nan():
    """
    There is nothing to retrieve, in no image or in some.
    """
    assert math.isnan(average_precision(np.array([0.1, 0.2]), np.array([False, False])))
    assert math.isnan(average_precision(np.array([]), np.array([], dtype=bool)))


def test_a_score_that_is_nan_is_refused():
    """
    A diverged model must not get a rank.
    """
    with pytest.raises(ValueError, match="NaN"):
        average_precision(np.array([0.1, np.nan]), np.array([True, False]))


def test_map_over_batches_is_that_of_all_images_and_leaves_absent_classes_out():
    """
    Two batches, one class that no image shows.
    """
    generator = np.random.default_rng(0)
    scores, actions = generator.random((30, 4)), generator.integers(0, 3, 30)
    metric = MeanAveragePrecision()
    metric.update(scores[:10], actions[:10])
    metric.update(scores[10:], actions[10:])
    report = metric.compute()
    expected = [average_precision_score(actions == index, scores[:, index]) for index in range(3)]

    assert pytest.approx(expected) == report.average_precision[:3]
    assert math.isnan(report.average_precision[3])
    assert pytest.approx(np.mean(expected)) == report.mean_average_precision
    assert np.mean(scores.argmax(axis=1) == actions) == report.top1
    assert 30 == report.images


def test_map_after_a_reset_knows_nothing():
    """
    And says so with NaN, not with an error or a zero.
    """
    metric = MeanAveragePrecision()
    metric.update(np.array([[0.1, 0.9]]), np.array([1]))
    metric.reset()
    report = metric.compute()

    assert 0 == report.images
    assert math.isnan(report.mean_average_precision)
    assert math.isnan(report.top1)


def test_scores_and_actions_of_different_batches_are_refused():
    """
    One score row for each action.
    """
    with pytest.raises(ValueError, match="do not fit"):
        MeanAveragePrecision().update(np.zeros((3, 2)), np.zeros(2, dtype=int))


@pytest.mark.filterwarnings("error")
def test_mask_iou_by_hand():
    """
    Overlaps 1/3 and 1; an image without boxes and one where nobody is seen or expected are left out.
    """
    heatmap = np.array([[[0.9, 0.6, 0.5]], [[0.0, 0.0, 1.0]], [[1.0, 1.0, 1.0]], [[0.0, 0.0, 0.0]]])
    mask = np.array([[[1.0, 0.0, 1.0]], [[0.0, 0.0, 1.0]], [[0.0, 0.0, 0.0]], [[0.0, 0.0, 0.0]]])
    metric = MaskIoU()
    metric.update(heatmap[:1], mask[:1], np.array([True]))
    metric.update(heatmap[1:], mask[1:], np.array([True, False, True]))

    assert pytest.approx((1 / 3 + 1) / 2) == metric.compute()


def test_mean_focus_leaves_out_what_is_unknown():
    """
    Focus 0.75 and 0.25; one image without boxes, one without evidence.
    """
    pam = np.array([[[3, 1]], [[1, 3]], [[1, 0]], [[0, -1]]], dtype=np.float32)
    mask = np.tile(np.array([[1, 0]], dtype=np.float32), (4, 1, 1))
    metric = MeanFocus()
    metric.update(pam, mask, np.array([True, True, False, True]))

    assert 0.5 == metric.compute()
    metric.reset()
    assert math.isnan(metric.compute())


def test_pixel_precision_ranks_the_cells_of_one_image():
    """
    The person's two cells at ranks 1 and 3; an image that is all person, or has none, ranks nothing.
    """
    heatmap = np.tile(np.array([[0.9, 0.5], [0.2, 0.1]]), (3, 1, 1))
    mask = np.array([[[1, 0], [1, 0]], [[1, 1], [1, 1]], [[0, 0], [0, 0]]], np.float64)
    found = pixel_average_precision(heatmap, mask)

    assert pytest.approx((1 + 2 / 3) / 2) == found[0]
    assert np.isnan(found[1:]).all()


def test_confusions_by_hand():
    """
    Of three photographs of action 0 two are taken for 2, of two of action 1 one for 0; none is taken for 1.
    """
    scores = np.eye(3)[[2, 2, 0, 1, 0]]
    found = confusions(scores, np.array([0, 0, 0, 1, 1]))

    assert [(0, 2, 2, 2 / 3), (1, 0, 1, 1 / 2)] == [
        (pair.action, pair.taken_for, pair.images, pair.share) for pair in found
    ]
    assert () == confusions(np.eye(3), np.arange(3))
