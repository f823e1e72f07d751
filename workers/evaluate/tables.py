"""What an evaluation shows to people: tables on stdout."""

from __future__ import annotations

import math

from rich.table import Table

from lga_model.intervals import FEWEST, Interval
from workers.console import result_console
from workers.evaluate.measure import Comparison, Evaluation

_CONFUSIONS = 10
_NAMES = {
    "mean_average_precision": "mAP",
    "top1": "top-1",
    "focus": "focus in the true box",
    "mask_iou": "mask IoU",
    "pixel_average_precision": "pixel AP of the heatmap",
}


def show_evaluation(evaluation: Evaluation, title: str) -> None:
    """Print every figure of one model, the best class first."""
    console = result_console()
    console.print(_summary(evaluation, title))
    console.print(_reliability(evaluation))
    console.print(_classes(evaluation))
    if evaluation.confusions:
        console.print(_confusions(evaluation))


def show_comparison(comparison: Comparison, title: str) -> None:
    """Print the difference of two models, the class that gained most first."""
    figures = Table(title=f"{title} minus {comparison.against} (95 % interval)", show_header=False)
    for name, interval in comparison.differences.items():
        figures.add_row(_NAMES[name], *_difference(interval))
    unjudged = sum(math.isnan(interval.low) for interval in comparison.class_differences.values())
    rare = f"; {unjudged} of fewer than {FEWEST} photographs not judged" if unjudged else ""
    classes = Table(title=f"average precision of each action (95 % intervals of all together{rare})")
    for column in ("action", "difference", "interval", ""):
        classes.add_column(column, justify="left" if column in {"action", ""} else "right")
    ranked = sorted(
        comparison.class_differences.items(),
        key=lambda item: (math.isnan(item[1].estimate), -item[1].estimate, item[0]),
    )
    for action, interval in ranked:
        sure = {action in comparison.surely_better: "better", action in comparison.surely_worse: "worse"}.get(True, "")
        classes.add_row(action, *_difference(interval), sure)
    console = result_console()
    console.print(figures)
    console.print(classes)


def _summary(evaluation: Evaluation, title: str) -> Table:
    table = Table(title=f"{title}: {evaluation.images} photographs", show_header=False)
    for name, interval in evaluation.intervals.items():
        table.add_row(_NAMES[name], _figure(interval.estimate), _range(interval))
    return table


def _reliability(evaluation: Evaluation) -> Table:
    found = evaluation.reliability
    table = Table(title="what its promises are worth here", show_header=False)
    for name, value in (
        ("calibration error", found.calibration_error),
        ("a perfect calibration's, on so few", found.calibration_error_by_chance),
        ("label set holds the right label", found.label_set_coverage),
        ("labels in a set", found.label_set_size),
        ("share accepted", found.accepted),
        ("precision of the accepted", found.accepted_precision),
        ("area under risk-coverage", found.risk_area),
        ("people called no_person", found.people_missed),
        (f"nobody called no_person (of {found.nobody_images})", found.nobody_found),
        ("nobody accepted", found.nobody_accepted),
        ("AUROC of person_peak", found.person_auroc),
    ):
        table.add_row(name, _figure(value))
    for coverage, risk in found.risk_at_coverage:
        table.add_row(f"wrong among the surest {coverage:.0%}", _figure(risk))
    return table


def _classes(evaluation: Evaluation) -> Table:
    table = Table(title="average precision of each action")
    table.add_column("action")
    for column in ("photographs", "AP", "95 % interval"):
        table.add_column(column, justify="right")
    # Classes without a photograph go last: NaN has no place in an order.
    ranked = sorted(evaluation.average_precision.items(), key=lambda item: (math.isnan(item[1]), -item[1], item[0]))
    for action, precision in ranked:
        interval = _range(evaluation.class_intervals[action])
        table.add_row(action, str(evaluation.class_images[action]), _figure(precision), interval)
    return table


def _confusions(evaluation: Evaluation) -> Table:
    table = Table(title="most confused")
    for column in ("action", "taken for", "photographs", "share of the action"):
        table.add_column(column, justify="right" if column not in {"action", "taken for"} else "left")
    for pair in evaluation.confusions[:_CONFUSIONS]:
        table.add_row(pair.action, pair.taken_for, str(pair.images), f"{pair.share:.0%}")
    return table


def _figure(value: float) -> str:
    return "-" if math.isnan(value) else f"{value:.4f}"


def _range(interval: Interval) -> str:
    return "-" if math.isnan(interval.low) else f"{interval.low:.4f} to {interval.high:.4f}"


def _difference(interval: Interval) -> tuple[str, str]:
    if math.isnan(interval.estimate):
        return "-", "-"
    ends = "-" if math.isnan(interval.low) else f"{interval.low:+.4f} to {interval.high:+.4f}"
    return f"{interval.estimate:+.4f}", ends
