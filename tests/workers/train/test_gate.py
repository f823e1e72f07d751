from __future__ import annotations

import dataclasses
import json
import math

import numpy as np
import pytest

from lga_model.calibration import Calibration
from workers.errors import SettingsError
from workers.registry import Registry
from workers.settings import TrainSettings
from workers.train.gate import Decision, Judged, Rule, decide
from workers.train.rivals import Rival, _measure, judge, meet
from workers.train.validation import Outputs

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
    fields |= {"focus": 0.6, "has_heatmap": True, "mask_iou": 0.5, "calibration_error": 0.05}
    return Judged(**(fields | changes))


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
        (judged(0.4, mask_iou=0.44), MIDDLING, {}, ["mask IoU"]),
        (judged(0.4, mask_iou=0.46), MIDDLING, {}, []),
        (judged(0.4, has_heatmap=False, mask_iou=math.nan), MIDDLING, {}, ["mask IoU"]),
        (judged(0.4, has_heatmap=False), dataclasses.replace(MIDDLING, mask_iou=0.0), {}, ["mask IoU"]),
        (judged(0.4, mask_iou=0.1), dataclasses.replace(MIDDLING, mask_iou=math.nan), {}, []),
        (judged(0.4, has_heatmap=False), dataclasses.replace(MIDDLING, has_heatmap=False), {}, []),
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


def of_two_models(images_A, better_A, worse_A, seed: int) -> Decision:
    """Two models judge the same photographs; the rule looks at single actions alone."""
    random = np.random.default_rng(seed)
    classes = tuple(f"action {number}" for number in range(len(images_A)))
    action_N = np.repeat(np.arange(len(images_A)), images_A)
    rivals = []
    for quality_A in (worse_A, better_A):
        scores_NA = random.normal(0, 1, (len(action_N), len(classes)))
        scores_NA[np.arange(len(action_N)), action_N] += quality_A[action_N]
        actions = [classes[action] for action in action_N]
        rivals.append(dataclasses.replace(GOOD, classes=classes, actions=actions, probabilities_NA=scores_NA))
    rule = dataclasses.replace(RULE, min_gain=-1.0, max_loss=1.0)
    return decide(rule, rivals[0], (rivals[0], rivals[1]))


def test_of_many_actions_none_is_refused_by_chance():
    """
    A model as good as production, with few photographs of each of many actions: 10 such candidates pass. Actions of
    fewer than 5 photographs are counted, not judged.
    """
    quality_A, images_A = np.full(20, 2.5), np.array([1, 2, 4, *[5] * 17])
    decisions = [of_two_models(images_A, quality_A, quality_A, seed) for seed in range(10)]

    assert all(decision.passed for decision in decisions)
    assert {3.0} == {
        check.candidate
        for decision in decisions
        for check in decision.checks
        if check.name == "actions too rare to compare"
    }


def test_of_many_actions_the_one_that_collapsed_is_named():
    """
    From an AP of about 0.8 to 0.2, shown by 15 photographs, among 20 actions.
    """
    before_A = np.full(20, 2.9)
    after_A = np.where(np.arange(20) == 7, 0.5, before_A)
    found = of_two_models(np.full(20, 15), before_A, after_A, seed=0)

    assert ["AP of action 7"] == [check.name for check in found.checks if not check.passed]


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


def rival(heatmap: float | None, index_N: np.ndarray) -> Rival:
    """A model whose heatmap has one value in the true boxes; it is right about every photograph."""
    images, action_N = len(index_N), index_N % 2
    mask_NHW = np.zeros((images, 4, 4), np.float32)
    mask_NHW[:, 1:3, 1:3] = 1.0
    outputs = Outputs(
        logits_NA=5 * np.eye(2, dtype=np.float32)[action_N],
        action_N=action_N,
        pam_NHW=mask_NHW,
        heatmap_NHW=np.zeros((images, 0, 0), np.float32) if heatmap is None else heatmap * mask_NHW,
        mask_NHW=mask_NHW,
        has_boxes_N=np.ones(images, bool),
        index_N=index_N,
    )
    return Rival(model="pose:1", classes=("a", "b"), calibration=Calibration.none(), outputs=outputs)


@pytest.mark.parametrize(("heatmap", "expected"), [(1.0, (True, 1.0)), (0.0, (False, 0.0)), (None, (False, math.nan))])
def test_a_dead_or_missing_heatmap_is_none(heatmap, expected):
    """
    Focus is measured in the true boxes, so it is the same in all three cases.
    """
    found = judge(rival(heatmap, np.arange(8)))

    assert pytest.approx(expected, nan_ok=True) == (found.has_heatmap, found.mask_iou)
    assert 1.0 == found.focus


def test_models_without_a_photograph_in_common_are_told():
    """
    Each could use only photographs that the other could not: a message with the way out.
    """
    with pytest.raises(SettingsError, match=r"pose:1 have judged no validation photograph both.*--no-gate"):
        meet(rival(1.0, np.arange(4)), rival(1.0, np.arange(4, 8)))


def test_a_production_model_of_another_preprocessing_is_not_measured(make_bundle, tmp_path, own_cache):
    """
    It would see other pixels than it learnt from, and lose for that.
    """
    bundle = make_bundle()
    document = json.loads((bundle / "model.json").read_text()) | {"preprocessing": "another"}
    (bundle / "model.json").write_text(json.dumps(document))
    registry = Registry(str(tmp_path / "registry"))
    version = registry.publish("pose", bundle)
    with pytest.raises(SettingsError, match=r"cannot load pose:1: .*prepared as 'another'.*--no-gate"):
        _measure(registry.uri, version, [], ("running",), 0.0)
