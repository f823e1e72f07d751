from __future__ import annotations

import numpy as np
import pytest

from lga_model import intervals
from lga_model.intervals import _draws, _resampled, mean_interval, precision_difference, precision_intervals
from lga_model.metrics import average_precision

CLASSES = 3


def scored(images: int, noise: float, seed: int):
    """True actions, and scores that are right up to some noise."""
    action_N = np.arange(images) % CLASSES
    scores_NA = np.eye(CLASSES)[action_N] + np.random.default_rng(seed).normal(0, noise, (images, CLASSES))
    return scores_NA, action_N


def test_a_model_against_itself_is_nothing_gained():
    """
    The interval of no difference at all has no width.
    """
    scores_NA, action_N = scored(60, 1.0, seed=0)
    difference = precision_difference(scores_NA, scores_NA, action_N)

    assert (0.0, 0.0, 0.0) == (difference.mean.estimate, difference.mean.low, difference.mean.high)


def test_a_clearly_better_model_is_surely_better_and_the_other_surely_worse():
    """
    The interval lies on one side of zero; turned around it is the mirror image.
    """
    good, action_N = scored(300, 0.5, seed=1)
    bad, _ = scored(300, 2.0, seed=2)
    gain, loss = precision_difference(good, bad, action_N).mean, precision_difference(bad, good, action_N).mean

    assert gain.low > 0
    assert pytest.approx((-gain.high, -gain.low)) == (loss.low, loss.high)


@pytest.mark.parametrize("seed", range(5))
def test_no_precision_is_above_one(seed):
    """
    Nor is the end of its interval, for a model that is nearly always right.
    """
    mean, of_class = precision_intervals(*scored(60, 0.3, seed))

    assert all(0 <= each.low <= each.estimate <= each.high <= 1 for each in (mean, *of_class))


def test_pairing_tells_apart_what_two_separate_intervals_could_not():
    """
    A small gain on the very same images is surer than the spread of either model alone.
    """
    reference, action_N = scored(150, 1.0, seed=3)
    better = reference + 0.2 * np.eye(CLASSES)[action_N]
    paired = precision_difference(better, reference, action_N).mean
    alone = precision_difference(reference, np.zeros_like(reference), action_N).mean

    assert paired.low > 0
    assert paired.high - paired.low < (alone.high - alone.low) / 2


def test_each_resample_is_the_plain_average_precision_of_what_was_drawn():
    """
    Weighing by counts equals drawing the images one by one, equal scores included.
    """
    random = np.random.default_rng(4)
    scores_N, action_N = random.integers(0, 5, 40) / 4, np.arange(40) % 2
    counts_RN = _draws(action_N, 20, seed=5)
    drawn = [np.repeat(np.arange(40), counts_N) for counts_N in counts_RN]
    expected = [average_precision(scores_N[each], action_N[each] == 1) for each in drawn]

    assert pytest.approx(expected) == _resampled(scores_N, action_N == 1, counts_RN)


def test_a_class_without_images_is_unknown_and_left_out_of_the_mean():
    """
    NaN for that class alone; the mean is over the others, as mAP is.
    """
    scores_NA, action_N = scored(60, 1.0, seed=6)
    with_another = np.column_stack([scores_NA, np.zeros(60)])
    difference = precision_difference(with_another, np.zeros_like(with_another), action_N)

    assert np.isnan(difference.of_class[3].estimate)
    assert np.isnan(difference.of_class[3].low)
    assert pytest.approx(np.mean([each.estimate for each in difference.of_class[:3]])) == difference.mean.estimate


def test_intervals_cover_as_often_as_they_say():
    """
    Of 100 small data sets whose two models are equally good, about 95 % of the intervals hold the truth, 0.
    """
    held = 0
    for seed in range(100):
        first, action_N = scored(90, 1.5, seed=1000 + seed)
        second, _ = scored(90, 1.5, seed=5000 + seed)
        interval = precision_difference(first, second, action_N, resamples=100).mean
        held += interval.low <= 0 <= interval.high

    assert held >= 88


def test_the_intervals_of_many_classes_hold_all_together():
    """
    Two equally good models, 20 classes of 5 images: in about 95 % of such pairs no class at all is called different. A
    class of fewer images has no interval.
    """
    action_N, together = np.append(np.repeat(np.arange(20), 5), [20] * 4), 0
    for seed in range(40):
        random = np.random.default_rng(seed)
        first, second = (random.normal(0, 1, (104, 21)) + 2.5 * np.eye(21)[action_N] for _ in range(2))
        *judged, last = precision_difference(first, second, action_N, resamples=100).of_class
        together += all(interval.low <= 0 <= interval.high for interval in judged)

    assert 35 <= together
    assert not np.isnan(last.estimate)
    assert np.isnan([last.low, last.high]).all()


def test_classes_of_one_image_do_not_make_a_mean_surer_than_it_is():
    """
    Every resample holds that one image; of two equally good models the interval still holds 0 nearly always.
    """
    action_N, held = np.append(np.arange(20), np.repeat(np.arange(20, 30), 2)), 0
    for seed in range(60):
        random = np.random.default_rng(seed)
        first, second = (random.normal(0, 1, (40, 30)) + 2.5 * np.eye(30)[action_N] for _ in range(2))
        interval = precision_difference(first, second, action_N, resamples=100).mean
        held += interval.low <= 0 <= interval.high

    assert held >= 52


def test_what_does_not_fit_together_is_refused():
    """
    Other images or other classes cannot be paired.
    """
    scores_NA, action_N = scored(6, 1.0, seed=0)
    with pytest.raises(ValueError, match="not of the same images"):
        precision_difference(scores_NA, scores_NA[:5], action_N)


def test_the_interval_of_a_mean_is_as_wide_as_theory_says():
    """
    Of 400 coins: 1.96 standard errors to each side; unknown values are left out.
    """
    coins = np.append(np.arange(400) % 2, [np.nan] * 50)
    found = mean_interval(coins, resamples=4000)

    assert 0.5 == found.estimate
    assert pytest.approx(1.96 * 0.5 / 20, rel=0.1) == (found.high - found.low) / 2
    assert np.isnan(mean_interval(np.array([np.nan])).low)


def test_the_interval_of_one_model_covers_the_truth_as_often_as_promised():
    """
    The mAP over very many images lies in the interval of 150 of them in about nine of ten cases: a little less than
    promised, because an AP of few images is itself a little too good.
    """
    scores_NA, action_N = scored(30_000, 1.0, seed=0)
    truth = np.mean([average_precision(scores_NA[:, k], action_N == k) for k in range(CLASSES)])
    covered = []
    for seed in range(100):
        mean, _ = precision_intervals(*scored(150, 1.0, seed=seed + 1), resamples=200)
        covered.append(mean.low <= truth <= mean.high)

    assert 0.85 <= np.mean(covered) < 1.0


def test_memory_is_bounded_and_the_figures_stay(monkeypatch):
    """
    Drawn in portions, an interval moves no more than the luck of the draw; the estimate not at all.
    """
    scores_NA, action_N = scored(120, 1.0, seed=0)
    whole, _ = precision_intervals(scores_NA, action_N)
    monkeypatch.setattr(intervals, "_DRAWN_AT_ONCE", 120 * 50)
    parts, of_class = precision_intervals(scores_NA, action_N)

    assert whole.estimate == parts.estimate
    assert pytest.approx((whole.low, whole.high), abs=0.02) == (parts.low, parts.high)
    assert CLASSES == len(of_class)
