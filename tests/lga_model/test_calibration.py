from __future__ import annotations

import numpy as np
import pytest

from lga_model.calibration import NOTHING, Calibration, CalibrationError, expected_calibration_error, fit_calibration

CLASSES = 8


def photographs(seed, count, true_temperature=2.5):
    """Logits of a model that is too sure of itself by ``true_temperature``, and labels drawn as it should have said."""
    generator = np.random.default_rng(seed)
    logits = generator.normal(size=(count, CLASSES)) * 4 * true_temperature
    probabilities = np.exp(logits / true_temperature)
    probabilities /= probabilities.sum(axis=1, keepdims=True)
    labels = (probabilities.cumsum(axis=1) < generator.random((count, 1))).sum(axis=1)
    return logits, labels


def calibration(**fields):
    return Calibration(**{**vars(Calibration.none()), **fields})


def negative_log_likelihood(logits, labels, temperature):
    probabilities = calibration(temperature=temperature).probabilities(logits)
    return -np.log(probabilities[np.arange(len(labels)), labels]).mean()


def test_probabilities_are_the_softmax_of_the_cooled_logits():
    """
    By hand for two classes; huge logits do not overflow.
    """
    cooled = calibration(temperature=2.0)

    assert pytest.approx([0.75, 0.25]) == cooled.probabilities(np.array([2 * np.log(3), 0.0])).tolist()
    assert [1.0, 0.0] == cooled.probabilities(np.array([1e6, -1e6])).tolist()


def test_the_temperature_that_spoilt_the_logits_is_found():
    """
    And no other temperature explains the labels better.
    """
    logits, labels = photographs(0, 5000)
    found = fit_calibration(logits, labels).temperature
    others = [negative_log_likelihood(logits, labels, found * factor) for factor in (0.9, 0.99, 1.01, 1.1)]

    assert pytest.approx(2.5, rel=0.06) == found
    assert negative_log_likelihood(logits, labels, found) < min(others)


@pytest.mark.parametrize(("right", "expected"), [(True, 0.05), (False, 20.0)])
def test_a_perfect_or_a_useless_model_gets_the_nearest_allowed_temperature(right, expected):
    """
    Its likelihood has no best temperature; the search still ends.
    """
    labels = np.arange(20) % 4
    logits = np.eye(4)[labels if right else (labels + 1) % 4]

    assert pytest.approx(expected, rel=1e-3) == fit_calibration(logits, labels).temperature


def test_calibrated_confidence_is_honest():
    """
    The gap between confidence and accuracy nearly closes, on other images than those of the fit.
    """
    fitted = fit_calibration(*photographs(0, 4000))
    logits, labels = photographs(1, 4000)

    assert expected_calibration_error(Calibration.none().probabilities(logits), labels) > 0.1
    assert expected_calibration_error(fitted.probabilities(logits), labels) < 0.03


def test_calibration_error_by_hand():
    """
    Half the images at 0.6 and all right, half at 1.0 and half right: (0.4 + 0.5) / 2.
    """
    probabilities = np.array([[0.6, 0.4], [0.6, 0.4], [1.0, 0.0], [1.0, 0.0]])

    assert pytest.approx(0.45) == expected_calibration_error(probabilities, np.array([0, 0, 0, 1]))


@pytest.mark.parametrize("coverage", [0.8, 0.9, 0.97])
def test_label_sets_hold_the_right_label_as_often_as_promised(coverage):
    """
    Averaged over many small calibrations, as the guarantee is: at least the coverage, at most 1 / (N + 1) more.
    """
    hits = []
    for seed in range(150):
        fitted = fit_calibration(*photographs(2 * seed, 99), coverage=coverage)
        logits, labels = photographs(2 * seed + 1, 200)
        hits.append(fitted.label_set(fitted.probabilities(logits))[np.arange(200), labels].mean())

    assert pytest.approx(coverage + 0.005, abs=0.01) == np.mean(hits)


def test_the_conformal_threshold_is_the_corrected_quantile():
    """
    Of 9 images at coverage 0.8 the 8th surprise, ceil(10 * 0.8); of 3 images none suffices for 0.9.
    """
    logits, labels = photographs(0, 9)
    fitted = fit_calibration(logits, labels, coverage=0.8)
    surprise = np.sort(1 - fitted.probabilities(logits)[np.arange(9), labels])

    assert surprise[7] == fitted.conformal_threshold
    assert fit_calibration(logits[:3], labels[:3], coverage=0.9).label_set(np.array([0.9, 0.1, 0.0])).all()


def test_a_label_set_always_holds_the_likeliest_label():
    """
    Even when no probability reaches the threshold; for one image and for a batch.
    """
    strict = calibration(conformal_threshold=0.3)

    assert [True, False, False] == strict.label_set(np.array([0.4, 0.3, 0.3])).tolist()
    assert [[False, True], [True, False]] == strict.label_set(np.array([[0.1, 0.9], [0.7, 0.3]])).tolist()


def test_accepted_images_are_as_precise_as_asked():
    """
    By hand: down to 0.7 three of four are right, and three of five with one more that is wrong; below it fewer.
    """
    confidence = np.array([0.9, 0.8, 0.75, 0.7, 0.6, 0.55])
    right = np.array([True, True, False, True, False, False])
    logits = np.log(np.stack([confidence, 1 - confidence], axis=1))
    fitted = fit_calibration(logits, np.where(right, 0, 1), precision=0.6)
    accepted = fitted.verdict(fitted.probabilities(logits).max(axis=1)) == "accept"

    assert [True, True, True, True, False, False] == accepted.tolist()


def test_images_of_equal_confidence_are_accepted_together_or_not_at_all():
    """
    One right and one wrong at the same confidence are half right, in whichever order they come.
    """
    logits = np.array([[2.0, 0.0], [2.0, 0.0]])
    for labels in ([0, 1], [1, 0]):
        fitted = fit_calibration(logits, np.array(labels), precision=0.9)

        assert NOTHING == fitted.accept_confidence
        assert ["unsure"] == fitted.verdict(np.array([1.0])).tolist()


def test_accepted_images_hold_the_precision_on_other_images():
    """
    95 % on photographs that the fit has not seen, and a good part of them is accepted.
    """
    fitted = fit_calibration(*photographs(0, 4000), precision=0.95)
    logits, labels = photographs(1, 4000)
    probabilities = fitted.probabilities(logits)
    accepted = fitted.verdict(probabilities.max(axis=1)) == "accept"

    assert accepted.mean() > 0.2
    assert pytest.approx(0.95, abs=0.02) == (probabilities.argmax(axis=1) == labels)[accepted].mean()


@pytest.mark.parametrize(("images", "accepted"), [(18, False), (19, True)])
def test_a_precision_has_to_be_shown(images, accepted):
    """
    All right on 18 images is no evidence of 95 %; on 19 it is: 19 of 20 with one more that is wrong.
    """
    logits = np.tile([3.0, 0.0], (images, 1))
    fitted = fit_calibration(logits, np.zeros(images, int), precision=0.95)

    assert accepted == (fitted.accept_confidence != NOTHING)


def test_small_calibrations_keep_the_precision_on_average():
    """
    Over many fits on 150 images the accepted among other images are right as often as asked.
    """
    right, accepted = 0, 0
    for seed in range(60):
        fitted = fit_calibration(*photographs(2 * seed, 150), precision=0.9)
        logits, labels = photographs(2 * seed + 1, 300)
        probabilities = fitted.probabilities(logits)
        chosen = fitted.verdict(probabilities.max(axis=1)) == "accept"
        right += (probabilities.argmax(axis=1) == labels)[chosen].sum()
        accepted += chosen.sum()

    assert right / accepted > 0.89


def test_nobody_comes_before_confidence():
    """
    A confident action without a person is not accepted; an image without a heatmap is judged by confidence.
    """
    fitted = calibration(accept_confidence=0.8, person_peak_min=0.3)
    verdict = fitted.verdict(np.array([0.9, 0.9, 0.5, 0.9]), np.array([0.1, 0.3, 0.4, np.nan]))

    assert ["no_person", "accept", "unsure", "accept"] == verdict.tolist()
    assert ["accept"] == fitted.verdict(np.array([0.9])).tolist()


def test_nearly_every_person_passes_the_peak_threshold():
    """
    Of 500 the 10th faintest, floor(501 * 2 %): one more photograph fails in 10 of 501 cases. NaN does not count.
    """
    logits, labels = photographs(0, 1000)
    peaks = np.random.default_rng(0).random(1000)
    peaks[:500] = np.nan
    fitted = fit_calibration(logits, labels, peaks)

    assert np.sort(peaks[500:])[9] == fitted.person_peak_min
    assert fit_calibration(logits, labels).person_peak_min is None
    assert fit_calibration(logits, labels, np.full(1000, np.nan)).person_peak_min is None


def test_images_of_nobody_choose_the_threshold_that_tells_best():
    """
    Of the thresholds that 2 % of the people may fail, the one between the two kinds: it loses one person of 200 and not
    three, for the same 60 images of nobody.
    """
    logits, labels = photographs(0, 200)
    people = np.concatenate([[0.1], np.linspace(0.5, 1, 199)])
    nobody = np.concatenate([np.linspace(0, 0.4, 60), [0.9] * 40])
    fitted = fit_calibration(logits, labels, people, nobody)

    assert people[1] == fitted.person_peak_min
    assert people[3] == fit_calibration(logits, labels, people).person_peak_min
    assert 60 == (fitted.verdict(np.full(100, 0.99), nobody) == "no_person").sum()


def test_a_new_photograph_with_people_seldom_fails():
    """
    At most 2 % of other photographs, over many small calibrations, whatever the images of nobody look like.
    """
    random, missed = np.random.default_rng(0), []
    for _ in range(200):
        fitted = fit_calibration(*photographs(0, 120), random.random(120), random.random(30))
        missed.append((random.random(500) < fitted.person_peak_min).mean())

    assert np.mean(missed) < 0.022


def test_without_calibration_nothing_is_promised():
    """
    Raw softmax, every label possible, every image unsure.
    """
    raw = Calibration.none()
    probabilities = np.array([1.0, 0.0])

    assert raw.label_set(probabilities).all()
    assert ["unsure"] == raw.verdict(np.array([1.0]), np.array([0.0])).tolist()


@pytest.mark.parametrize(
    ("logits", "labels", "fields", "message"),
    [
        (np.empty((0, 3)), np.empty(0, dtype=int), {}, "logits"),
        (np.zeros((2, 3)), np.array([0]), {}, "labels"),
        (np.array([[0.0, np.nan]]), np.array([0]), {}, "finite"),
        (np.zeros((1, 3)), np.array([3]), {}, "below 3"),
        (np.zeros((1, 3)), np.array([0]), {"coverage": 1.0}, "coverage"),
    ],
)
def test_what_cannot_be_calibrated_on_is_refused(logits, labels, fields, message):
    """
    With what is wrong, instead of thresholds that mean nothing.
    """
    with pytest.raises(CalibrationError, match=message):
        fit_calibration(logits, labels, **fields)


def test_a_temperature_that_is_not_positive_is_refused():
    """
    Division by it would turn the order of the labels around.
    """
    with pytest.raises(ValueError, match="temperature"):
        calibration(temperature=0.0)
