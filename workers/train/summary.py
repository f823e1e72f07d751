"""What a finished training tells its user: one table on stdout."""

from __future__ import annotations

import math

from rich.table import Table

from workers.console import result_console
from workers.train.publish import Published


def print_summary(published: Published, run: str) -> None:
    """Print where the new version is and how good it is."""
    version, summary = published.version, published.summary
    scores = summary.scores
    rows = {
        "version": str(version),
        "run": run,
        "best epoch": str(summary.epoch),
        "mAP": _number(scores.map),
        "top-1": _number(scores.top1),
        "focus in the true boxes": _number(scores.focus),
        "mask IoU": _number(scores.mask_iou),
        "empty heatmaps": _number(scores.dead_heatmaps),
        "calibration error": f"{_number(summary.ece_before)} -> {_number(summary.ece_after)}",
        "images/s": f"{summary.images_per_s:.1f}",
        "validation images": str(scores.images),
        "files": version.uri,
    }
    table = Table(show_header=False, box=None)
    for name, value in rows.items():
        table.add_row(name, value, style=None)
    result_console().print(table)


def _number(value: float) -> str:
    return "-" if math.isnan(value) else f"{value:.4f}"
