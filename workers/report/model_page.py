"""The page about one model: figures, curves, classes, calibration, engines, lineage, card, and what it looks at."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence

from workers.report import figures as show
from workers.report.documents import Document, figures, inside, items, section
from workers.report.markup import Markup, element, joined
from workers.report.model_card import model_card
from workers.report.model_files import ModelFiles
from workers.report.page import Gallery, Page, Section, facts, tiles
from workers.report.plots import Axis, bar, lines, upper

FIGURES = (
    ("map", "mean_average_precision", "mAP"),
    ("top1", "top1", "top-1"),
    ("focus", "focus", "focus in the true box"),
    ("mask_iou", "mask_iou", "heatmap and box, IoU"),
)
"""Name in ``metrics.json``, in an evaluation, and for people."""

_CURVES = (
    ("Loss", "loss", {"loss": "whole", "loss_classification": "classification", "loss_mask": "human mask"}),
    ("Quality on validation", None, {"map": "mAP", "top1": "top-1"}),
    ("Where it looks", None, {"focus": "focus in the true box", "mask_iou": "heatmap and box, IoU"}),
)
_PAIRS = 20
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


def model_page(files: ModelFiles, gallery: Gallery | None, sources: Sequence[tuple[str, str]]) -> Page:
    """Lay out one model."""
    chapters = (
        ("card", "Model card", model_card(files)),
        ("training", "Training", _training(files)),
        ("classes", "Actions", _classes(files)),
        ("confusions", "What it confuses", _confusions(files)),
        ("calibration", "Calibration", _calibration(files)),
        ("engines", "Engines", _engines(files)),
        ("lineage", "Where it comes from", _lineage(files)),
    )
    return Page(
        kind="model",
        title=files.name,
        summary=_summary(files),
        sections=tuple(
            Section(name=name, title=title, body=body) for name, title, body in chapters if body is not None
        ),
        gallery=gallery,
        sources=tuple(sources),
    )


def _summary(files: ModelFiles) -> Markup:
    config = section(files.record, "config")
    size = inside(config, "image", "size_px")
    boxes = [
        (
            name,
            show.number(files.validation.get(key)),
            f"validation, {show.count(files.validation.get('images'))} photographs",
        )
        for key, _, name in FIGURES
        if show.number(files.validation.get(key)) != show.NOTHING
    ]
    boxes += [
        (
            name,
            show.number(files.evaluation.get(key)),
            f"{files.evaluated_split}, {show.count(files.evaluation.get('images'))} photographs",
        )
        for _, key, name in FIGURES
        if show.number(files.evaluation.get(key)) != show.NOTHING
    ]
    return joined(
        facts(
            (
                ("aliases", ", ".join(f"{files.version.name}@{alias}" for alias in files.aliases)),
                ("network", ", ".join(str(config[key]) for key in ("backbone", "variant") if key in config)),
                ("input", f"{size} × {size} pixels" if size else None),
                ("actions", show.count(len(files.classes))),
                ("files", element("bdi", files.version.uri)),
            )
        ),
        tiles(boxes) if boxes else element("p", "The files hold no figures.", class_="note"),
    )


def _training(files: ModelFiles) -> Markup | None:
    history = items(files.metrics, "history")
    if not history:
        return None
    plots = [plot for curve in _CURVES if (plot := _curve(history, *curve)) is not None]
    best = inside(files.training, "best_epoch") or files.validation.get("epoch")
    return joined(
        element("p", f"Epoch {best} of {len(history)} was the best on validation and is this model.") if best else None,
        element("div", plots, class_="plots"),
    )


def _curve(history: Sequence[Document], title: str, unit: str | None, names: dict[str, str]) -> Markup | None:
    """A curve over the epochs; a share without a unit ends at 1."""
    series = {}
    for key, name in names.items():
        points = [
            (float(row.get("epoch", number)), float(row[key]))
            for number, row in enumerate(history, start=1)
            if isinstance(row.get(key), int | float) and math.isfinite(row[key])
        ]
        if points and (unit is None or any(value for _, value in points)):
            series[name] = points
    if not series:
        return None
    last = max(epoch for points in series.values() for epoch, _ in points)
    high = 1.0 if unit is None else upper([value for points in series.values() for _, value in points])
    x = Axis(label="epoch", low=1 if last > 1 else 0, high=last, digits=0)
    ends = "; ".join(f"{name} {show.number(points[-1][1])}" for name, points in series.items())
    return lines(
        title, x, Axis(label=unit or "", high=high, digits=1 if high >= 1 else 2), series, f"At the end: {ends}."
    )


def _classes(files: ModelFiles) -> Markup | None:
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
    table = element("table", caption, element("thead", head), element("tbody", body), class_="sortable bars")
    return element("div", table, class_="scroll")


def _confusions(files: ModelFiles) -> Markup | None:
    pairs = (
        items(files.evaluation, "confusions")
        or items(files.metrics, "confusions")
        or items(files.validation, "confusions")
    )
    rows = [
        element(
            "tr",
            element("td", element("bdi", str(pair.get("action")))),
            element("td", element("bdi", str(pair.get("taken_for")))),
            element("td", show.count(pair.get("images")), class_="number"),
            element("td", show.percent(pair.get("share")), class_="number"),
        )
        for pair in pairs[:_PAIRS]
    ]
    if not rows:
        return None
    head = element("tr", (element("th", name, scope="col") for name in ("is", "was called", "photographs", "share")))
    return element(
        "table",
        element("caption", f"the most frequent mistakes on {files.evaluated_split}"),
        element("thead", head),
        element("tbody", rows),
    )


def _calibration(files: ModelFiles) -> Markup | None:
    calibration = figures(files.record, "calibration")
    errors = figures(files.metrics, "calibration")
    if not calibration:
        return None
    return joined(
        facts(
            (
                ("temperature", show.number(calibration.get("temperature"), 3)),
                ("calibration error of the raw scores", show.number(errors.get("ece_before"))),
                (
                    "after calibration",
                    f"{show.number(errors.get('ece_after'))} (on the photographs that it was fitted on)",
                ),
                (
                    f"on {files.evaluated_split}",
                    show.number(files.evaluation["calibration_error"])
                    if "calibration_error" in files.evaluation
                    else None,
                ),
            )
        ),
        _kept_promises(files),
    )


def _kept_promises(files: ModelFiles) -> Markup | None:
    """What verdicts and label sets were worth on the evaluated photographs."""
    reliability = section(files.evaluation, "reliability")
    if not reliability:
        return None
    rows = (
        element("tr", element("th", name, scope="row"), element("td", form(reliability.get(key)), class_="number"))
        for key, name, form in _PROMISES
        if show.number(reliability.get(key)) != show.NOTHING
    )
    caption = element("caption", f"what the promises were worth on {files.evaluated_split}")
    return joined(element("table", caption, element("tbody", rows)), _risk(reliability.get("risk_at_coverage")))


def _risk(points: object) -> Markup | None:
    """The risk-coverage curve, from pairs of the share that is kept and the share of it that is wrong."""
    try:
        curve = [(float(kept), float(wrong)) for kept, wrong in points]  # type: ignore[attr-defined]
    except (TypeError, ValueError):
        return None
    x = Axis(label="share kept, the surest first")
    y = Axis(label="wrong among them", high=upper([wrong for _, wrong in curve]), digits=2)
    caption = "How many labels are wrong when only the surest share of the photographs is used."
    return element("div", lines("Risk and coverage", x, y, {"risk": curve}, caption), class_="plots")


def _engines(files: ModelFiles) -> Markup:
    if not files.engines:
        return element("p", "No engine yet. Make one with ", element("code", f"lga compile --model {files.name}"))
    numbers = ("photographs", "same label", "probability off by", "heatmap off by", "PAM off by", "mAP, engine − model")
    head = element(
        "tr",
        (element("th", name, scope="col") for name in ("engine", "runs on")),
        (element("th", name, scope="col", class_="number") for name in numbers),
    )
    body = [
        element(
            "tr",
            element("th", f"{engine.get('target')} {engine.get('precision')}", scope="row"),
            element("td", " ".join(_runs_on(engine))),
            element("td", show.count(inside(engine, "parity", "images")), class_="number"),
            element("td", show.percent(inside(engine, "parity", "top1_agreement"), 2), class_="number"),
            (
                element("td", show.small(inside(engine, "parity", key)), class_="number")
                for key in ("max_probability_difference", "max_heatmap_difference", "max_pam_difference")
            ),
            element("td", show.signed(_lost(engine), 4), class_="number"),
        )
        for engine in files.engines
    ]
    caption = element("caption", "each engine was compared with the model on real photographs; the largest differences")
    return element("div", element("table", caption, element("thead", head), element("tbody", body)), class_="scroll")


def _lost(engine: Document) -> float | None:
    """What the engine's mAP differs by, where it was measured."""
    parity = figures(engine, "parity")
    try:
        return parity["mean_average_precision"] - parity["model_mean_average_precision"]
    except KeyError:
        return None


def _runs_on(engine: Document) -> Iterator[str]:
    yield from (str(engine[key]) for key in ("target", "backend_version") if key in engine)
    yield from (f"on {each}" for each in (inside(engine, "gpu", "name"), inside(engine, "parity", "device")) if each)


def _lineage(files: ModelFiles) -> Markup:
    training, recipe = files.training, section(files.record, "recipe")
    versions = section(training, "versions")
    return facts(
        (
            ("training run", training.get("run")),
            ("time", show.seconds(training["wall_s"]) if "wall_s" in training else None),
            ("speed", f"{show.number(_last(files).get('images_per_s'), 1)} images/s in the last epoch"),
            ("manifest", inside(training, "manifest", "uri")),
            ("its sha256", inside(training, "manifest", "digest")),
            ("first weights", inside(training, "pretrained", "source")),
            ("their sha256", inside(training, "pretrained", "sha256")),
            ("parent model", _parent(training)),
            ("weights, sha256", files.record.get("weights_sha256")),
            ("method, sha256", training.get("method_sha256")),
            ("seed", inside(training, "plan", "seed")),
            (
                "recipe",
                ", ".join(f"{name} {_plain(value)}" for name, value in recipe.items() if not isinstance(value, dict)),
            ),
            ("libraries", ", ".join(f"{name} {value}" for name, value in versions.items() if value)),
        )
    )


def _last(files: ModelFiles) -> Document:
    """Figures of the last epoch."""
    return (items(files.metrics, "history") or [{}])[-1]


def _parent(training: Document) -> object:
    parent = training.get("parent")
    return parent if not isinstance(parent, dict) else parent.get("model") or parent.get("version")


def _plain(value: object) -> str:
    return f"{value:g}" if isinstance(value, float) else str(value)
