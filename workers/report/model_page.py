"""The page about one model: figures, curves, classes, calibration, engines, lineage, card, and what it looks at."""

from __future__ import annotations

from collections.abc import Sequence

from workers.documents import inside, section
from workers.report import figures as show
from workers.report.markup import Markup, element, joined
from workers.report.model_actions import actions, confusions
from workers.report.model_calibration import calibration
from workers.report.model_card import model_card
from workers.report.model_curves import training
from workers.report.model_files import ModelFiles
from workers.report.model_origin import engines, lineage
from workers.report.page import Gallery, Page, Section, facts, tiles

FIGURES = (
    ("map", "mean_average_precision", "mAP"),
    ("top1", "top1", "top-1"),
    ("focus", "focus", "focus in the true box"),
    ("mask_iou", "mask_iou", "heatmap and box, IoU"),
)
"""Name in ``metrics.json``, in an evaluation, and for people."""


def model_page(files: ModelFiles, gallery: Gallery | None, sources: Sequence[tuple[str, str]]) -> Page:
    """Lay out one model."""
    chapters = (
        ("card", "Model card", model_card(files)),
        ("training", "Training", training(files)),
        ("classes", "Actions", actions(files)),
        ("confusions", "What it confuses", confusions(files)),
        ("calibration", "Calibration", calibration(files)),
        ("engines", "Engines", engines(files)),
        ("lineage", "Where it comes from", lineage(files)),
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
