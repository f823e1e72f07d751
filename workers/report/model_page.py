"""The page about one model: figures, curves, classes, calibration, engines, lineage, card, and what it looks at."""

from __future__ import annotations

from collections.abc import Sequence

from workers.documents import Document, inside, section
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
        box for in_metrics, in_evaluation, name in FIGURES if (box := _box(files, in_metrics, in_evaluation, name))
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


def _box(files: ModelFiles, in_metrics: str, in_evaluation: str, name: str) -> tuple[str, str, str] | None:
    """A figure of the evaluation, where there is one, with that of the validation beside it."""
    validation = show.number(files.validation.get(in_metrics))
    evaluation = show.number(files.evaluation.get(in_evaluation))
    if evaluation != show.NOTHING:
        beside = "" if validation == show.NOTHING else f"; validation {validation}"
        return name, evaluation, _on(files.evaluated_split, files.evaluation) + beside
    return None if validation == show.NOTHING else (name, validation, _on("validation", files.validation))


def _on(split: str, figures: Document) -> str:
    """What a figure was measured on."""
    images = show.count(figures.get("images"))
    return split if images == show.NOTHING else f"{split}, {images} photographs"
