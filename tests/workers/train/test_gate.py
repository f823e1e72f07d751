from __future__ import annotations

import dataclasses
import math

import numpy as np
import pytest

from workers.settings import TrainSettings
from workers.train.gate import Decision, Judged, Rule, decide

CLASSES = ("a", "b", "c")
RULE = Rule.of(TrainSettings(manifest="m", name="model"))
IMAGES = 240
ACTIONS = [CLASSES[number % 3] for number in range(IMAGES)]


def judged(noise: float, *, seed: int = 0, classes=CLASSES, bad: str | None = None, **changes) -> Judged:
    """A model that is right up to some noise; of one action it knows nothing."""
    true_NA = np.array([[float(name == action) for name in classes] for action in ACTIONS])
    scores_NA = true_NA + np.random.default_rng(seed).normal(0, noise, true_NA.shape)
    if bad in classes:
        scores_NA[:, classes.index(bad)] = np.random.default_rng(seed + 1).random(IMAGES)
    fields = {"model": f"model-{seed}", "classes": classes, "actions": ACTIONS, "probabilities_NA": scores_NA}
    return Judged(**({**fields, "focus": 0.6, "calibration_error": 0.05} | changes))


def decision(candidate: Judged, production: Judged | None, **rule) -> Decision:
    return decide(dataclasses.replace(RULE, **rule), candidate, production and (candidate, production))


def without(judged: Judged, action: str) -> Judged:
    """The same model on the photographs of the other actions."""
    chosen = np.array([each != action for each in ACTIONS])
    return dataclasses.replace(
        judged, actions=[each for each in ACTIONS if each != action], probabilities_NA=judged.probabilities_NA[chosen]
    )


def refusals(*arguments, **rule) -> list[str]:
    return [check.name for check in decision(*arguments, **rule).checks if not check.passed]


GOOD, MIDDLING, POOR = judged(0.4), judged(0.8, seed=1), judged(2.0, seed=2)
OTHER = judged(0.8, seed=3)


@pytest.mark.parametrize(
    ("candidate", "production", "rule", "expected"),
    [
        (GOOD, None, {}, []),
        (POOR, None, {}, []),
        (GOOD, MIDDLING, {}, []),
        (GOOD, MIDDLING, {"min_gain": 0.5}, ["mAP"]),
        (GOOD, GOOD, {}, ["mAP"]),
        (GOOD, GOOD, {"min_gain": -0.01}, []),
        (GOOD, POOR, {"max_loss": 0.0}, []),
        (OTHER, MIDDLING, {"min_gain": -1.0, "max_loss": 0.0}, ["mAP, 95% sure"]),
        (OTHER, MIDDLING, {"min_gain": -1.0, "max_loss": 0.2}, []),
        (POOR, None, {"class_floors": {"b": 0.9}}, ["AP of b"]),
        (GOOD, None, {"class_floors": {"b": 0.9}}, []),
        (POOR, None, {"class_floor": 0.9, "class_floors": {"b": 0.1}}, ["AP of a", "AP of c"]),
        (judged(0.3, bad="c"), MIDDLING, {"min_gain": -1.0, "max_loss": 1.0}, ["AP of c"]),
        (judged(0.4, focus=0.54), dataclasses.replace(MIDDLING, focus=0.6), {}, ["focus"]),
        (judged(0.4, focus=0.56), dataclasses.replace(MIDDLING, focus=0.6), {}, []),
        (judged(0.4, focus=math.nan), dataclasses.replace(MIDDLING, focus=0.6), {}, ["focus"]),
        (judged(0.4, focus=0.5), dataclasses.replace(MIDDLING, focus=math.nan), {}, []),
        (judged(0.4, calibration_error=0.2), MIDDLING, {}, ["calibration error"]),
        (judged(0.4, calibration_error=0.2), MIDDLING, {"calibration_rise": 0.2}, []),
        (judged(0.4, classes=("a", "b", "c", "d")), MIDDLING, {}, []),
    ],
)
def test_the_rule_decides(candidate, production, rule, expected):
    """
    Every part of the rule refuses by its own name, and lets pass what holds it.
    """
    assert expected == refusals(candidate, production, **rule)


@pytest.mark.parametrize(
    ("rule", "expected"), [({"class_floor": 0.1}, []), ({"class_floors": {"c": 0.1}}, ["AP of c"])]
)
def test_a_floor_of_one_action_has_to_be_shown(rule, expected):
    """
    Without photographs of it nobody knows; a floor for all is one for those that there are.
    """
    assert expected == refusals(without(GOOD, "c"), None, **rule)


@pytest.mark.parametrize("rule", [{"class_floor": 0.6}, {"class_floors": {"c": 0.9}}])
def test_floors_hold_for_an_action_that_production_does_not_know(rule):
    """
    A new action has nothing to be compared with, and photographs that show what it is worth all the same.
    """
    candidate, production = judged(0.2, bad="c"), without(judged(0.8, seed=1, classes=("a", "b")), "c")
    found = decide(dataclasses.replace(RULE, **rule), candidate, (without(candidate, "c"), production))

    assert ["AP of c"] == [check.name for check in found.checks if not check.passed]


def test_a_candidate_may_not_forget_an_action():
    """
    However good it is at the others: who asks for the action would get another one.
    """
    candidate, production = without(judged(0.2, classes=("a", "b")), "c"), without(MIDDLING, "c")
    found = decide(RULE, candidate, (candidate, production))

    assert ["actions lost: c"] == [check.name for check in found.checks if not check.passed]
    assert not found.passed


def test_the_decision_says_how_sure_it_is():
    """
    The gain lies in its interval, and every line has both figures.
    """
    found = decision(GOOD, POOR)

    assert found.passed
    assert 0 < found.gain.low < found.gain.estimate < found.gain.high
    assert (IMAGES, "model-2") == (found.images, found.against)
    assert all(check.production is not None for check in found.checks if check.name != "lowest AP")
    assert found.to_json()["passed"]
