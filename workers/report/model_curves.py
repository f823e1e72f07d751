"""The training of a model on its page: a curve over the epochs for each kind of figure."""

from __future__ import annotations

import math
from collections.abc import Sequence

from workers.documents import Document, inside, items
from workers.report import figures as show
from workers.report.markup import Markup, element, joined
from workers.report.model_files import ModelFiles
from workers.report.plots import Axis, lines, upper

_CURVES = (
    ("Loss", "loss", {"loss": "whole", "loss_classification": "classification", "loss_mask": "human mask"}),
    ("Quality on validation", None, {"map": "mAP", "top1": "top-1"}),
    ("Where it looks", None, {"focus": "focus in the true box", "mask_iou": "heatmap and box, IoU"}),
)


def training(files: ModelFiles) -> Markup | None:
    """The curves; None when the files hold no history."""
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
