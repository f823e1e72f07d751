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

from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import FuncFormatter

sys.path.insert(0, str(Path(__file__).resolve().parent))
from dashboards import DASHBOARDS, Graph

_POINTS = 200
_COLUMNS = 2
Line = tuple[str, list[float], list[float]]
"""Legend, seconds since the start, values."""


def plain_query(expression: str, rate_s: int = 300) -> str:
    """A query of a dashboard as Prometheus takes it: every run, and rates over so many seconds."""
    return expression.replace("$run", ".*").replace("$__rate_interval", f"{rate_s}s")


def answer(prometheus: str, expression: str, start: float, end: float) -> list[dict[str, Any]]:
    """The series of one query of a dashboard, with every run, over a stretch of time.

    Raises:
        ValueError: If Prometheus does not take the query.
    """
    step_s = max(1.0, (end - start) / _POINTS)
    query = plain_query(expression, rate_s=max(15, round(4 * step_s)))
    asked = {"query": query, "start": start, "end": end, "step": step_s}
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
    figure = Figure(figsize=(13, 0), layout="constrained")
    numbers = [graph for graph in graphs if graph.number]
    lines = [graph for graph in graphs if not graph.number]
    rows = (len(lines) + 1) // _COLUMNS
    heights = [0.8] * bool(numbers) + [2.4] * rows
    figure.set_figheight(sum(heights) + 0.6)
    figure.suptitle(f"{title}: {question}", fontsize=13)
    grid = figure.add_gridspec(len(heights), 12, height_ratios=heights)
    for index, graph in enumerate(numbers):
        width = 12 // len(numbers)
        axes = figure.add_subplot(grid[0, index * width : (index + 1) * width])
        _write_numbers(axes, graph, _lines(prometheus, graph, start, end), end - start)
    for index, graph in enumerate(lines):
        row, column = divmod(index, _COLUMNS)
        width = 12 // _COLUMNS
        axes = figure.add_subplot(grid[bool(numbers) + row, column * width : (column + 1) * width])
        _draw_lines(axes, graph, _lines(prometheus, graph, start, end), end - start)
    path.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(path, dpi=80)


def _write_numbers(axes: Axes, graph: Graph, lines: list[Line], duration_s: float) -> None:
    """The value that each series has at the end, as text; one that has ended has none."""
    now = [line for line in lines if duration_s - line[1][-1] <= max(1.0, duration_s / _POINTS)]
    shown = [f"{FuncFormatter(_UNITS.get(graph.unit, _plain))(line[2][-1])}  {line[0]}" for line in now]
    axes.set_title(graph.title, fontsize=10, loc="left")
    axes.text(0, 0.9, "\n".join(shown) or "none", fontsize=10, verticalalignment="top")
    axes.set_axis_off()


def _draw_lines(axes: Axes, graph: Graph, lines: list[Line], duration_s: float) -> None:
    axes.set_title(graph.title, fontsize=10, loc="left")
    axes.grid(alpha=0.3)
    axes.tick_params(labelsize=8)
    for label, seconds, numbers in lines:
        axes.plot(seconds, numbers, label=label, linewidth=1.4, marker="." if len(seconds) < 3 else None)  # noqa: PLR2004
    axes.set_xlim(0, duration_s)
    axes.xaxis.set_major_formatter(FuncFormatter(_clock))
    axes.yaxis.set_major_formatter(FuncFormatter(_UNITS.get(graph.unit, _plain)))
    if axes.lines:
        axes.legend(fontsize=7, loc="best", ncols=2 if len(axes.lines) > 5 else 1)  # noqa: PLR2004


def _plain(number: float, _position: int | None = None) -> str:
    return f"{number:.4g}"


def _clock(seconds: float, _position: int | None = None) -> str:
    minutes, rest = divmod(round(seconds), 60)
    return f"{minutes}:{rest:02d}"


def _percent(share: float, _position: int | None = None) -> str:
    return f"{100 * share:.3g}%"


def _bytes(number: float, _position: int | None = None) -> str:
    return f"{number / 1e6:.3g} MB/s"


def _rate(number: float, _position: int | None = None) -> str:
    return f"{number:.3g}/s"


_UNITS = {"percentunit": _percent, "s": _clock, "Bps": _bytes, "cps": _rate, "reqps": _rate}
"""How Grafana's units are written; anything else is a plain number."""


def _lines(prometheus: str, graph: Graph, start: float, end: float) -> list[Line]:
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
