"""The labels that a run gave, how sure it was, and where it looked."""

from __future__ import annotations

from workers.report import figures as show
from workers.report.markup import Markup, element, joined, table
from workers.report.plots import Axis, density, histogram, stacked
from workers.report.run_facts import ClassFacts, RunFacts

VERDICTS = (("accept", "accepted"), ("unsure", "unsure"), ("no_person", "nobody seen"))
"""Each verdict, and how the page calls its photographs."""


def label_table(tags: RunFacts) -> Markup:
    """A row for each label that was given, with its photographs by verdict."""
    if not tags.classes:
        return element("p", "No photograph has a label.", class_="note")
    most = max(each.photographs for each in tags.classes)
    absent = None if tags.known_classes is None else tags.known_classes - len(tags.classes)
    numbers = ("photographs", "share", "accepted", "unsure", "nobody", "median confidence", "median focus")
    head = element(
        "tr",
        (element("th", name, scope="col") for name in ("label", "")),
        (element("th", name, scope="col", class_="number") for name in numbers),
    )
    return joined(
        element(
            "p",
            f"{show.count(len(tags.classes))} labels were given"
            + (f"; {show.count(absent)} that the model knows were not." if absent else "."),
        ),
        table(
            element("caption", "photographs of each label; a click on a label shows those on this page"),
            element("thead", head),
            element("tbody", (_label_row(each, most, tags.ok) for each in tags.classes)),
            class_="sortable bars",
        ),
    )


def _label_row(each: ClassFacts, most: int, total: int) -> Markup:
    parts = [(name, getattr(each, name)) for name, _ in VERDICTS]
    rest = most - sum(amount for _, amount in parts)
    cells = (
        (each.photographs, show.count(each.photographs)),
        (each.photographs / total, show.percent(each.photographs / total)),
        (each.accept / each.photographs, show.percent(each.accept / each.photographs, 0)),
        (each.unsure / each.photographs, show.percent(each.unsure / each.photographs, 0)),
        (each.no_person / each.photographs, show.percent(each.no_person / each.photographs, 0)),
        (each.confidence, show.number(each.confidence, 2)),
        (each.focus, show.number(each.focus, 2)),
    )
    link = element("a", element("bdi", each.label or show.NOTHING), href="#photographs", data_label=each.label)
    return element(
        "tr",
        element("th", link, scope="row"),
        element("td", stacked([*parts, ("nothing", rest)]), class_="wide"),
        (
            element("td", text, class_="number", data_value="" if value is None else round(value, 6))
            for value, text in cells
        ),
    )


def label_plots(tags: RunFacts) -> Markup:
    """Confidence, focus, and both together."""
    confidence, focus = Axis(label="confidence"), Axis(label="focus")
    mark = None
    if tags.accepted_from is not None:
        mark = (tags.accepted_from, f"accepted from {show.number(tags.accepted_from, 2)}")
    plots = [
        histogram(
            "Confidence", confidence, tags.confidence_bins,
            "Probability of the label, calibrated on validation: of those at 0.8, eight in ten should be right.",
            mark,
        )
    ]  # fmt: skip
    if any(tags.focus_bins):
        plots += [
            histogram(
                "Focus", focus, tags.focus_bins,
                "Share of the evidence for the label that lies on the person. Low: the label came from the background.",
            ),
            density(
                "Confidence and focus", confidence, focus, tags.density,
                "Lower right is where to look first: the model is sure, and looked elsewhere.",
            ),
        ]  # fmt: skip
    else:
        plots.append(element("p", "The model has no location heatmap, so there is no focus.", class_="note"))
    return element("div", plots, class_="plots")
