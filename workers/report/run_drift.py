"""How far a run's photographs lie from those that its model was validated on."""

from __future__ import annotations

from workers.documents import Document, figures, inside, section
from workers.report import figures as show
from workers.report.markup import Markup, element, joined, table
from workers.report.plots import Axis, lines, upper

_OUTPUTS = ("confidence", "focus", "classes")
_COUNTS = ("images", "failed")
_FOLDERS = 30


def drift(record: Document, reference: Document) -> Markup | None:
    """The chapter, None where the files do not tell.

    Args:
        record: The ``run.json``.
        reference: What the model said about its validation photographs; empty when not known.
    """
    quality = section(record, "quality")
    now = section(quality, "distribution")
    if not figures(quality, "drift") and not (now and reference):
        return None
    pairs = (_against_validation(name, now, reference) for name in ("confidence", "focus"))
    plots = [plot for plot in pairs if plot is not None]
    return joined(
        element("p", "How far these photographs lie from those of the validation, by what the model said of both."),
        element("div", plots, class_="plots") if plots else None,
        _table(quality),
    )


def _table(quality: Document) -> Markup:
    """The stability index of everything and of each folder, the most different first."""
    folders = sorted(
        section(quality, "prefixes").items(), key=lambda item: -max(figures(item[1], "drift").values(), default=0.0)
    )
    total = {key: sum(figures(each).get(key, 0) for _, each in folders) for key in _COUNTS} if folders else {}
    rows = [("all of it", quality | total)]
    if len(folders) > 1:
        rows += [(name or "(in no folder)", each) for name, each in folders[:_FOLDERS]]
    head = element(
        "tr",
        element("th", "folder", scope="col"),
        (element("th", name, scope="col", class_="number") for name in ("objects", "failed", *_OUTPUTS)),
    )
    body = [
        element(
            "tr",
            element("th", element("bdi", name), scope="row"),
            (element("td", show.count(inside(each, key)), class_="number") for key in _COUNTS),
            (element("td", show.number(inside(each, "drift", key)), class_="number") for key in _OUTPUTS),
        )
        for name, each in rows
    ]
    caption = element("caption", "population stability index of each output; below 0.1 alike, above 0.25 worth a look")
    indices = table(caption, element("thead", head), element("tbody", body))
    more = element("p", f"The {_FOLDERS} folders that differ most.", class_="note") if len(folders) > _FOLDERS else None
    return joined(indices, more)


def _against_validation(name: str, now: Document, reference: Document) -> Markup | None:
    """Shares of the photographs in each bin, this run's and the validation split's."""
    series = {}
    for title, counts in (("this run", now.get(name)), ("validation", reference.get(name))):
        if not isinstance(counts, list) or not all(isinstance(each, int) for each in counts) or not sum(counts):
            return None
        total = sum(counts)
        series[title] = [((bin_ + 0.5) / len(counts), each / total) for bin_, each in enumerate(counts)]
    high = upper([share for points in series.values() for _, share in points])
    y = Axis(label="share of photographs", high=high, digits=2)
    caption = "The same model on both: where the lines part, the photographs are of another kind."
    return lines(f"{name.capitalize()}: run and validation", Axis(label=name), y, series, caption)
