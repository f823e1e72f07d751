"""What a finished training tells its user, as tables on stdout."""

from __future__ import annotations

import math

from rich.table import Table

from workers.console import result_console
from workers.registry import Version
from workers.train.bundle import Summary
from workers.train.gate import Decision


def print_summary(version: Version, summary: Summary, run: str) -> None:
    """Print where the new version is and how good it is."""
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


def print_decision(decision: Decision) -> None:
    """Print every figure that the gate looked at, what the rule wants, and whether it holds."""
    if not decision.checks:
        return
    against = f"against {decision.against}" if decision.against else "no production model to beat"
    table = Table(title=f"gate: {against}, {decision.images} validation photographs")
    for title, justify in (("figure", "left"), ("production", "right"), ("candidate", "right"), ("wanted", "left")):
        table.add_column(title, justify=justify)  # type: ignore[arg-type]
    table.add_column("")
    for check in decision.checks:
        table.add_row(
            check.name,
            _number(check.production),
            _number(check.candidate),
            check.wanted,
            "ok" if check.passed else "REFUSED",
        )
    result_console().print(table)


def _number(value: float | None) -> str:
    return "-" if value is None or math.isnan(value) else f"{value:.4f}"
