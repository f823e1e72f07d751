"""May a candidate be published? Decides from figures alone, and does nothing: ``job.py`` acts on it.

The candidate has to beat the production model on the same photographs of the validation split. It chose its best epoch
and its calibration by that split, so it has a small advantage there; the rule's margins are the place to answer that.

Shape suffixes: N = photographs, A = actions.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from lga_model.intervals import FEWEST, Interval, precision_difference
from lga_model.metrics import average_precision
from workers.settings import TrainSettings


@dataclass(frozen=True, kw_only=True)
class Rule:
    """What a candidate has to hold. Every figure is a share."""

    min_gain: float
    """mAP has to grow by more than this."""
    max_loss: float
    """With ``confidence``, mAP did not fall by more than this."""
    confidence: float
    class_floor: float
    """Least AP of every action."""
    class_floors: Mapping[str, float]
    """Least AP of single actions, in place of ``class_floor``. It has to be shown: without photographs it is missed."""
    class_drop: float
    """No action that surely lost, with ``confidence`` over all of them together, may have lost more AP than this."""
    focus_drop: float
    """Focus in the true boxes, and the heatmap's overlap with them, may fall by this much."""
    calibration_rise: float
    """The calibration error may grow by this much."""

    @classmethod
    def of(cls, settings: TrainSettings) -> Rule:
        """The rule in the settings."""
        return cls(
            min_gain=settings.gate_min_gain,
            max_loss=settings.gate_max_loss,
            confidence=settings.gate_confidence,
            class_floor=settings.gate_class_floor,
            class_floors=settings.gate_class_floors,
            class_drop=settings.gate_class_drop,
            focus_drop=settings.gate_focus_drop,
            calibration_rise=settings.gate_calibration_rise,
        )


@dataclass(frozen=True, kw_only=True)
class Judged:
    """What one model said about photographs of the validation split."""

    model: str
    classes: tuple[str, ...]
    """That it knows, in the order of its probabilities."""
    actions: Sequence[str]
    """True action of each photograph."""
    probabilities_NA: NDArray[np.floating]
    """Calibrated; of all of its own classes."""
    focus: float
    """Mean focus in the true boxes; NaN without boxes."""
    has_heatmap: bool
    """Whether it says where people are: not without a localisation branch, nor when every heatmap is empty."""
    mask_iou: float
    """Mean overlap of heatmap and true boxes; NaN without one of them."""
    calibration_error: float


@dataclass(frozen=True, kw_only=True)
class Check:
    """One line of the table."""

    name: str
    production: float | None
    candidate: float
    wanted: str
    passed: bool


@dataclass(frozen=True, kw_only=True)
class Decision:
    """What the gate says."""

    against: str | None
    """The production model; None when there is none yet, or the gate is off."""
    images: int
    checks: tuple[Check, ...]
    gain: Interval | None
    """How much the candidate gains in mAP."""

    @property
    def passed(self) -> bool:
        """Whether the candidate may be published."""
        return all(check.passed for check in self.checks)

    def to_json(self) -> dict[str, Any]:
        """As plain JSON, for the version's lineage."""
        return {**asdict(self), "passed": self.passed}


def decide(rule: Rule, candidate: Judged, met: tuple[Judged, Judged] | None) -> Decision:
    """Hold a candidate against the rule.

    Args:
        rule: What it has to hold.
        candidate: What it said about all of its photographs: the floors hold for every action that it knows.
        met: What candidate and production said about the photographs whose action both know, in the same order. None
            when there is no production model.
    """
    floors = _floors(rule, candidate)
    if met is None:
        return Decision(against=None, images=len(candidate.actions), checks=tuple(floors), gain=None)
    candidate, production = met
    known = [name for name in candidate.classes if name in production.classes]
    action_N = _numbers(candidate.actions, known)
    scores_NA = _columns(candidate, known)
    reference_NA = _columns(production, known)
    difference = precision_difference(scores_NA, reference_NA, action_N, confidence=rule.confidence)
    gain = difference.mean
    before, after = _map(reference_NA, action_N), _map(scores_NA, action_N)
    lost = sorted(set(production.classes) - set(candidate.classes))
    checks = [
        Check(
            name="mAP",
            production=before,
            candidate=after,
            wanted=f"more than {rule.min_gain:+.4f}; it is {gain.estimate:+.4f}",
            passed=gain.estimate > rule.min_gain,
        ),
        Check(
            name=f"mAP, {rule.confidence:.0%} sure",
            production=before,
            candidate=after,
            wanted=f"not below {-rule.max_loss:+.4f}; it is {gain.low:+.4f} to {gain.high:+.4f}",
            passed=gain.low >= -rule.max_loss,
        ),
        *floors,
        *_class_drops(rule, known, difference.of_class, (reference_NA, scores_NA), action_N),
        Check(
            name="focus",
            production=production.focus,
            candidate=candidate.focus,
            wanted=f"not lower by more than {rule.focus_drop:.4f}",
            # Without boxes, or against a model without positive evidence, there is nothing to compare.
            passed=math.isnan(production.focus) or candidate.focus >= production.focus - rule.focus_drop,
        ),
        *_heatmap(rule, candidate, production),
        Check(
            name="calibration error",
            production=production.calibration_error,
            candidate=candidate.calibration_error,
            wanted=f"not higher by more than {rule.calibration_rise:.4f}",
            passed=candidate.calibration_error <= production.calibration_error + rule.calibration_rise,
        ),
    ]
    if lost:
        checks.append(
            Check(
                name=f"actions lost: {', '.join(lost[:4])}",
                production=float(len(production.classes)),
                candidate=float(len(candidate.classes)),
                wanted="every action that production knows",
                passed=False,
            )
        )
    return Decision(against=production.model, images=len(action_N), checks=tuple(checks), gain=gain)


def _floors(rule: Rule, candidate: Judged) -> list[Check]:
    """Actions below their floor; one line that says so when there is none."""
    action_N = _numbers(candidate.actions, candidate.classes)
    precisions = [_ap(candidate.probabilities_NA, action_N, index) for index in range(len(candidate.classes))]
    found = []
    for name, precision in zip(candidate.classes, precisions, strict=True):
        floor = rule.class_floors.get(name, rule.class_floor)
        # NaN, an action without photographs, is below no floor that is meant for all.
        if precision < floor or (math.isnan(precision) and name in rule.class_floors):
            found.append(
                Check(
                    name=f"AP of {name}",
                    production=None,
                    candidate=precision,
                    wanted=f"at least {floor:.4f}",
                    passed=False,
                )
            )
    if found:
        return found
    lowest = min((precision for precision in precisions if not math.isnan(precision)), default=math.nan)
    return [Check(name="lowest AP", production=None, candidate=lowest, wanted="every action's floor", passed=True)]


def _class_drops(
    rule: Rule,
    known: Sequence[str],
    intervals: Sequence[Interval],
    scores: tuple[NDArray[np.floating], NDArray[np.floating]],
    action_N: NDArray[np.int64],
) -> list[Check]:
    """Actions that surely lost, and too much; and how many were not judged, as a few photographs prove nothing."""
    unjudged = sum(math.isnan(interval.high) for interval in intervals)
    checks = [
        Check(
            name=f"AP of {name}",
            production=_ap(scores[0], action_N, index),
            candidate=_ap(scores[1], action_N, index),
            wanted=f"not lower by more than {rule.class_drop:.4f}, unless by chance; "
            f"it is {interval.low:+.4f} to {interval.high:+.4f}",
            passed=False,
        )
        for index, (name, interval) in enumerate(zip(known, intervals, strict=True))
        if interval.high < 0 and interval.estimate < -rule.class_drop
    ]
    if unjudged:
        checks.append(
            Check(
                name="actions too rare to compare",
                production=None,
                candidate=float(unjudged),
                wanted=f"of {len(known)}; an AP is compared from {FEWEST} photographs on",
                passed=True,
            )
        )
    return checks


def _heatmap(rule: Rule, candidate: Judged, production: Judged) -> list[Check]:
    """Whether the candidate says where people are as well as production does, where that does.

    Focus is measured in the true boxes and would not show it; tags have no boxes.
    """
    if not production.has_heatmap:
        return []
    return [
        Check(
            name="mask IoU",
            production=production.mask_iou,
            candidate=candidate.mask_iou,
            wanted=f"a heatmap that is not empty, and not lower by more than {rule.focus_drop:.4f}",
            # NaN: without boxes there is nothing to compare.
            passed=candidate.has_heatmap and not candidate.mask_iou < production.mask_iou - rule.focus_drop,
        )
    ]


def _numbers(actions: Sequence[str], known: Sequence[str]) -> NDArray[np.int64]:
    return np.array([known.index(action) for action in actions], np.int64)


def _columns(judged: Judged, known: Sequence[str]) -> NDArray[np.floating]:
    return judged.probabilities_NA[:, [judged.classes.index(name) for name in known]]


def _ap(scores_NA: NDArray[np.floating], action_N: NDArray[np.int64], index: int) -> float:
    return average_precision(scores_NA[:, index], action_N == index)


def _map(scores_NA: NDArray[np.floating], action_N: NDArray[np.int64]) -> float:
    precisions = [_ap(scores_NA, action_N, index) for index in range(scores_NA.shape[1])]
    return float(np.nanmean(precisions)) if len(action_N) else math.nan
