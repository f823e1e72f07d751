"""The actions of a model on its page: how well each is told, and which are taken for each other."""

from __future__ import annotations

from workers.documents import figures, items
from workers.report import figures as show
from workers.report.markup import Markup, element, table
from workers.report.model_files import ModelFiles
from workers.report.plots import bar

_PAIRS = 20


def actions(files: ModelFiles) -> Markup | None:
    """Average precision of each action, the best first; None when nothing was measured."""
    validation, evaluated = (figures(each, "average_precision") for each in (files.validation, files.evaluation))
    if not validation and not evaluated:
        return None
    images = figures(files.evaluation, "class_images")
    leading = evaluated or validation
    names = sorted({*validation, *evaluated}, key=lambda name: (-leading.get(name, -1.0), name))
    columns = [("validation", validation, 3)] if validation else []
    columns += [(files.evaluated_split, evaluated, 3), ("photographs", images, 0)] if evaluated else []
    head = element(
        "tr",
        (element("th", name, scope="col") for name in ("action", "")),
        (element("th", f"AP, {name}" if digits else name, scope="col", class_="number") for name, _, digits in columns),
    )
    body = [
        element(
            "tr",
            element("th", element("bdi", name), scope="row"),
            element("td", bar(leading.get(name, 0.0)), class_="wide"),
            (
                element("td", show.number(values.get(name), digits), class_="number", data_value=values.get(name, ""))
                for _, values, digits in columns
            ),
        )
        for name in names
    ]
    caption = element("caption", "average precision of each action (area under precision and recall, 1 is perfect)")
    return table(caption, element("thead", head), element("tbody", body), class_="sortable bars")


def confusions(files: ModelFiles) -> Markup | None:
    """The most frequent mistakes of the evaluation; None without one."""
    rows = [
        element(
            "tr",
            element("td", element("bdi", str(pair.get("action")))),
            element("td", element("bdi", str(pair.get("taken_for")))),
            element("td", show.count(pair.get("images")), class_="number"),
            element("td", show.percent(pair.get("share")), class_="number"),
        )
        for pair in items(files.evaluation, "confusions")[:_PAIRS]
    ]
    if not rows:
        return None
    heads = (("is", None), ("was called", None), ("photographs", "number"), ("share", "number"))
    head = element("tr", (element("th", name, scope="col", class_=kind) for name, kind in heads))
    return table(
        element("caption", f"the most frequent mistakes on {files.evaluated_split}"),
        element("thead", head),
        element("tbody", rows),
    )
