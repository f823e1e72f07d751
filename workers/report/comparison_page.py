"""The page about two models: the paper's Fig. 4 (average precision by action) and Fig. 5 (what they look at)."""

from __future__ import annotations

from collections.abc import Sequence

from workers.documents import Document, inside, section
from workers.report import figures as show
from workers.report.markup import Markup, element, joined, names, table
from workers.report.model_files import ModelFiles
from workers.report.model_page import FIGURES
from workers.report.page import Gallery, Page, Section, facts
from workers.report.plots import gains


def comparison_page(
    first: ModelFiles, second: ModelFiles, gallery: Gallery | None, sources: Sequence[tuple[str, str]]
) -> Page:
    """Lay out the second model against the first."""
    chapters = (
        ("figures", "Figures", _figures(first, second)),
        ("actions", "Average precision of each action", _by_action(first, second)),
        ("differences", "What was done differently", _differences(first, second)),
    )
    return Page(
        kind="comparison",
        title=f"{second.name} against {first.name}",
        summary=joined(
            facts((("A", element("bdi", first.name)), ("B", element("bdi", second.name)))),
            element("p", "Differences are B − A: above zero, B is better."),
        ),
        sections=tuple(Section(name=name, title=title, body=body) for name, title, body in chapters),
        gallery=gallery,
        sources=tuple(sources),
    )


def _figures(first: ModelFiles, second: ModelFiles) -> Markup:
    rows = []
    ranges = section(_comparison(first, second), "differences")
    for in_metrics, in_evaluation, name in FIGURES:
        pairs = [("validation", first.validation.get(in_metrics), second.validation.get(in_metrics))]
        if first.evaluation and second.evaluation:
            pairs.append(
                (first.evaluated_split, first.evaluation.get(in_evaluation), second.evaluation.get(in_evaluation))
            )
        for split, before, after in pairs:
            if {show.number(before), show.number(after)} != {show.NOTHING}:
                interval = None if split == "validation" else ranges.get(in_evaluation)
                rows.append(_row(name, split, before, after, interval))
    numbers = [(text, "number") for text in ("A", "B", "B − A", "95 % interval" if ranges else "")]
    heads = (("", None), ("measured on", None), *numbers)
    head = element("tr", (element("th", name, scope="col", class_=kind) for name, kind in heads))
    caption = element(
        "caption",
        "one training each; ",
        "the intervals are of the photographs, not of repeated trainings"
        if ranges
        else "whether a difference is more than luck, lga evaluate --against tells",
    )
    return joined(_same_photographs(first, second), table(caption, element("thead", head), element("tbody", rows)))


def _row(name: str, split: str, before: object, after: object, interval: object) -> Markup:
    both = isinstance(before, int | float) and isinstance(after, int | float)
    gain = show.signed(after - before if both else None)  # type: ignore[operator]
    return element(
        "tr",
        element("th", name, scope="row"),
        element("td", split),
        element("td", show.number(before), class_="number"),
        element("td", show.number(after), class_="number"),
        element("td", gain, class_=f"number {show.direction(gain)}"),
        element("td", _range(interval), class_="number"),
    )


def _same_photographs(first: ModelFiles, second: ModelFiles) -> Markup | None:
    digests = [inside(files.training, "manifest", "digest") for files in (first, second)]
    evaluated = [(files.evaluation.get("manifest_sha256"), files.evaluation.get("split")) for files in (first, second)]
    if digests[0] == digests[1] is not None and evaluated[0] == evaluated[1]:
        return None
    return element(
        "p",
        "The two were not measured on the same photographs, as far as their files tell: "
        "the differences below mix the models with the data.",
        class_="warning",
    )


def _by_action(first: ModelFiles, second: ModelFiles) -> Markup:
    (split_a, before), (split_b, after) = first.average_precision(), second.average_precision()
    if split_a != split_b or not before:
        return element("p", "Their files hold no figures by action for the same split.", class_="note")
    ranges = section(_comparison(first, second), "class_differences")
    gain = {name: after[name] - before[name] for name in before if name in after}
    rows = [(name, gain[name], _range(ranges.get(name))) for name in sorted(gain, key=lambda name: (-gain[name], name))]
    better, worse = (sum(1 for each in gain.values() if each * sign > 0) for sign in (1, -1))
    only = sorted(before.keys() ^ after.keys())
    return joined(
        element("p", f"B is better in {better} of {len(rows)} actions, worse in {worse}."),
        gains(
            f"average precision on {split_a}, sorted by gain (the paper's Fig. 4)",
            rows,
            ("action", "B − A", "95 % interval, all together" if ranges else ""),
        ),
        element("p", "Known to one of them only: ", names(only), ".", class_="note") if only else None,
    )


def _comparison(first: ModelFiles, second: ModelFiles) -> Document:
    """The intervals that `lga evaluate --against` wrote, when they are of these two models."""
    comparison = section(second.evaluation, "comparison")
    return comparison if comparison.get("against") == first.name else {}


def _range(interval: object) -> str:
    low, high = (inside(interval, end) for end in ("low", "high"))
    return "" if low is None or high is None else f"{show.signed(low)} to {show.signed(high)}"


def _differences(first: ModelFiles, second: ModelFiles) -> Markup:
    """What differs between the two plans, setting by setting."""
    plans = [_flat(inside(files.training, "plan") or files.record) for files in (first, second)]
    names = sorted(name for name in plans[0].keys() | plans[1].keys() if plans[0].get(name) != plans[1].get(name))
    if not names:
        return element("p", "Nothing that their files tell: the same plan.", class_="note")
    head = element("tr", (element("th", name, scope="col") for name in ("setting", "A", "B")))
    body = [
        element("tr", element("th", name, scope="row"), (element("td", plan.get(name, show.NOTHING)) for plan in plans))
        for name in names
    ]
    return table(element("thead", head), element("tbody", body))


def _flat(document: object, prefix: str = "") -> dict[str, str]:
    if not isinstance(document, dict):
        return {prefix: str(document)}
    found: dict[str, str] = {}
    for name, value in document.items():
        found |= _flat(value, f"{prefix}.{name}" if prefix else str(name))
    return found
