"""The calibration of a model on its page: what a confidence is worth, and whether verdicts and label sets hold."""

from __future__ import annotations

from collections.abc import Callable

from workers.documents import Document, figures, items, section
from workers.report import figures as show
from workers.report.markup import Markup, element, joined, table
from workers.report.model_files import ModelFiles
from workers.report.page import facts
from workers.report.plots import Axis, ReliabilityPoint, lines, reliability, upper

_PROMISES: tuple[tuple[str, str, Callable[[object], str]], ...] = (
    ("accepted", "photographs accepted", show.percent),
    ("accepted_precision", "of those, right", show.percent),
    ("label_set_coverage", "label sets that hold the right label", show.percent),
    ("label_set_size", "labels in a set", show.number),
    ("people_missed", "photographs of people called no_person", show.percent),
    ("nobody_found", "pictures of nobody called no_person", show.percent),
    ("nobody_accepted", "pictures of nobody accepted", show.percent),
)
"""Of an evaluation's ``reliability``: name, what it says, how it is written."""


def calibration(files: ModelFiles) -> Markup | None:
    """Reliability diagram, and what the promises were worth; None for a model that promises nothing."""
    fitted = figures(files.record, "calibration")
    errors = figures(files.metrics, "calibration")
    if not fitted:
        return None
    before, after, evaluated = (
        None if (shown := show.number(value)) == show.NOTHING else shown
        for value in (errors.get("ece_before"), errors.get("ece_after"), files.evaluation.get("calibration_error"))
    )
    return joined(
        facts(
            (
                ("temperature", show.number(fitted.get("temperature"), 3)),
                ("calibration error of the raw scores", before),
                ("after calibration", after and f"{after} (on the photographs that it was fitted on)"),
                (f"on {files.evaluated_split}", evaluated and evaluated + _by_chance(files)),
            )
        ),
        element("div", _diagram(files), _risk(files), class_="plots"),
        _kept_promises(files),
    )


def _by_chance(files: ModelFiles) -> str:
    """How much of the calibration error means nothing; empty for files of a release that did not tell."""
    chance = show.number(figures(files.evaluation, "reliability").get("calibration_error_by_chance"))
    return "" if chance == show.NOTHING else f" (a perfect calibration's, on so few: {chance})"


def _diagram(files: ModelFiles) -> Markup | None:
    """Confidence against the share that is right, before and after; None for files of a release without bins."""
    series = {
        name: points
        for name, points in (
            ("raw, validation", _bins(files.metrics, "calibration", "bins_before")),
            ("calibrated, validation", _bins(files.metrics, "calibration", "bins")),
            (f"calibrated, {files.evaluated_split}", _bins(files.evaluation, "reliability", "bins")),
        )
        if points
    }
    if not series:
        return None
    gaps = "; ".join(f"{name} {show.number(_mean_gap(points))}" for name, points in series.items())
    return reliability(
        "Confidence and truth",
        series,
        "On the dashed line a confidence is the share of labels that are right; below it the model is too sure. The "
        f"larger a dot, the more photographs. Mean distance from the line (expected calibration error): {gaps}.",
    )


def _bins(document: Document, *path: str) -> list[ReliabilityPoint]:
    """The ranges of confidence that hold photographs."""
    names = ("confidence", "accuracy", "images")
    filled = [
        each for each in items(document, *path) if all(show.number(each.get(name)) != show.NOTHING for name in names)
    ]
    points = [(float(each["confidence"]), float(each["accuracy"]), float(each["images"])) for each in filled]
    return [point for point in points if point[2] > 0]


def _mean_gap(points: list[ReliabilityPoint]) -> float:
    return sum(images * abs(accuracy - confidence) for confidence, accuracy, images in points) / sum(
        images for _, _, images in points
    )


def _kept_promises(files: ModelFiles) -> Markup | None:
    """What verdicts and label sets were worth on the evaluated photographs."""
    kept = section(files.evaluation, "reliability")
    if not kept:
        return None
    rows = (
        element("tr", element("th", name, scope="row"), element("td", form(kept.get(key)), class_="number"))
        for key, name, form in _PROMISES
        if show.number(kept.get(key)) != show.NOTHING
    )
    caption = element("caption", f"what the promises were worth on {files.evaluated_split}")
    return table(caption, element("tbody", rows))


def _risk(files: ModelFiles) -> Markup | None:
    """The risk-coverage curve, from pairs of the share that is kept and the share of it that is wrong."""
    points = section(files.evaluation, "reliability").get("risk_at_coverage") or ()
    try:
        curve = [(float(kept), float(wrong)) for kept, wrong in points]
    except (TypeError, ValueError):
        return None
    if not curve:
        return None
    x = Axis(label="share kept, the surest first")
    y = Axis(label="wrong among them", high=upper([wrong for _, wrong in curve]), digits=2)
    caption = "How many labels are wrong when only the surest share of the photographs is used."
    return lines("Risk and coverage", x, y, {"risk": curve}, caption)
