"""Draw the dashboards from what a Prometheus really holds: ``python deploy/picture.py URL MINUTES FOLDER``.

There is not always a Grafana at hand. This runs the very queries of the dashboards over the last minutes and draws each
panel with matplotlib, one PNG for each dashboard.
"""

from __future__ import annotations

import json
import re
import sys
import time
import urllib.parse
import urllib.request
from pathlib import Path
from typing import Any

from matplotlib.figure import Figure

sys.path.insert(0, str(Path(__file__).resolve().parent))
from dashboards import DASHBOARDS, Graph

_POINTS = 200
_COLUMNS = 2


def answer(prometheus: str, expression: str, start: float, end: float) -> list[dict[str, Any]]:
    """The series of one query of a dashboard, with every run, over a stretch of time.

    Raises:
        ValueError: If Prometheus does not take the query.
    """
    asked = {
        "query": expression.replace("$run", ".*"),
        "start": start,
        "end": end,
        "step": max(1.0, (end - start) / _POINTS),
    }
    url = f"{prometheus}/api/v1/query_range?{urllib.parse.urlencode(asked)}"
    with urllib.request.urlopen(url, timeout=30) as reply:  # noqa: S310 - the address is the caller's own
        content = json.load(reply)
    if content["status"] != "success":
        raise ValueError(f"{expression}: {content.get('error')}")
    series: list[dict[str, Any]] = content["data"]["result"]
    return series


def draw(prometheus: str, name: str, start: float, end: float, path: Path) -> None:
    """Draw one dashboard."""
    title, question, graphs = DASHBOARDS[name]
    rows = (len(graphs) + 1) // _COLUMNS
    figure = Figure(figsize=(13, 2.5 * rows + 0.6), layout="constrained")
    figure.suptitle(f"{title}: {question}", fontsize=13)
    for index, graph in enumerate(graphs):
        axes = figure.add_subplot(rows, _COLUMNS, index + 1)
        axes.set_title(f"{graph.title} [{graph.unit}]", fontsize=10, loc="left")
        axes.grid(alpha=0.3)
        axes.tick_params(labelsize=8)
        for label, seconds, numbers in _lines(prometheus, graph, start, end):
            axes.plot(seconds, numbers, label=label, linewidth=1.4, marker="." if len(seconds) < 3 else None)  # noqa: PLR2004
        axes.set_xlim(0, end - start)
        if axes.lines:
            axes.legend(fontsize=7, loc="best")
    path.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(path, dpi=80)


def _lines(prometheus: str, graph: Graph, start: float, end: float) -> list[tuple[str, list[float], list[float]]]:
    lines = []
    for expression, legend in graph.queries:
        for series in answer(prometheus, expression, start, end):
            label = re.sub(r"{{(\w+)}}", lambda match, labels=series["metric"]: labels.get(match[1], ""), legend)  # type: ignore[misc]
            points = [(float(at) - start, float(value)) for at, value in series["values"]]
            lines.append((label, [at for at, _ in points], [value for _, value in points]))
    return lines


if __name__ == "__main__":
    url, minutes, folder = sys.argv[1:]
    now = time.time()
    for each in DASHBOARDS:
        draw(url, each, now - 60 * float(minutes), now, Path(folder) / f"dashboard-{each}.png")
