"""Plots as inline SVG, coloured by the page's style sheet, so that they follow light and dark.

Every plot is a figure with a caption, a name and a description for screen readers, and the value of each mark as a
tooltip. Units of a drawing: 360 x 220.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise

from workers.report.figures import count, direction, number, signed
from workers.report.markup import Markup, element, joined, table

_WIDTH, _HEIGHT = 360.0, 220.0
_LEFT, _RIGHT, _TOP, _BOTTOM = 44.0, 348.0, 12.0, 176.0
_SERIES = 4
_SMALLEST_PX, _LARGEST_PX = 2.0, 6.0
Point = tuple[float, float]
ReliabilityPoint = tuple[float, float, float]
"""Confidence, share of labels that are right, number of photographs."""


@dataclass(frozen=True, kw_only=True)
class Axis:
    """What one direction of a plot means."""

    label: str
    low: float = 0.0
    high: float = 1.0
    digits: int = 1
    """After the point, on the ticks."""
    ticks: int = 5


def histogram(
    title: str, x: Axis, counts: Sequence[int], caption: str, mark: tuple[float, str] | None = None
) -> Markup:
    """Bars over equally wide bins of ``x``; ``mark`` is a named vertical line."""
    y = Axis(label="photographs", high=_rounded_up(max(counts, default=0)), digits=0)
    frame = _Frame(x, y)
    step = (x.high - x.low) / max(1, len(counts))
    bars = []
    for index, amount in enumerate(counts):
        low = x.low + index * step
        left, right, top = frame.x(low), frame.x(low + step), frame.y(amount)
        name = f"{number(low, 2)} to {number(low + step, 2)}: {count(amount)}"
        bars.append(_rectangle(left + 0.5, top, right - left - 1, _BOTTOM - top, "bar", name))
    line = _vertical(frame, *mark) if mark else None
    return _figure(title, caption, frame, bars, line)


def density(title: str, x: Axis, y: Axis, grid: Sequence[Sequence[int]], caption: str) -> Markup:
    """Photographs by two figures: the darker a cell, the more of them.

    Args:
        title: Of the figure.
        x: Across.
        y: Upwards.
        grid: Counts by row of ``y`` (low first), then by column of ``x``.
        caption: What to look for.
    """
    frame = _Frame(x, y)
    most = max((amount for row in grid for amount in row), default=0)
    cells = []
    for row, amounts in enumerate(grid):
        for column, amount in enumerate(amounts):
            if not amount:
                continue
            x_low, x_high = (x.low + (x.high - x.low) * (column + end) / len(amounts) for end in (0, 1))
            y_low, y_high = (y.low + (y.high - y.low) * (row + end) / len(grid) for end in (0, 1))
            name = f"{x.label} {x_low:.2f} to {x_high:.2f}, {y.label} {y_low:.2f} to {y_high:.2f}: {count(amount)}"
            # By the root: counts of neighbours differ by factors, and single photographs should be seen.
            opacity = round(0.12 + 0.88 * math.sqrt(amount / most), 3)
            left, right, top, bottom = frame.x(x_low), frame.x(x_high), frame.y(y_high), frame.y(y_low)
            cells.append(
                _rectangle(left + 0.4, top + 0.4, right - left - 0.8, bottom - top - 0.8, "cell", name, opacity)
            )
    return _figure(title, caption, frame, cells)


def lines(title: str, x: Axis, y: Axis, series: Mapping[str, Sequence[Point]], caption: str) -> Markup:
    """A line with dots for each series, with a legend when there are several."""
    frame = _Frame(x, y)
    drawn = []
    for index, (name, points) in enumerate(series.items()):
        colour = f"s{index % _SERIES + 1}"
        corners = " ".join(f"{frame.x(a):.1f},{frame.y(b):.1f}" for a, b in points)
        drawn.append(element("polyline", points=corners, class_=f"line {colour}"))
        drawn += [
            _dot(frame, point, colour, f"{name}: {number(point[1], 4)} at {number(point[0], 2)}") for point in points
        ]
    return _figure(title, caption, frame, drawn, legend=list(series) if len(series) > 1 else [])


def reliability(title: str, series: Mapping[str, Sequence[ReliabilityPoint]], caption: str) -> Markup:
    """Confidence against the share that is right, beside the line on which both are the same.

    The area of a dot grows with the photographs behind it.
    """
    frame = _Frame(Axis(label="confidence"), Axis(label="share that is right"))
    ends = " ".join(f"{frame.x(value):.1f},{frame.y(value):.1f}" for value in (0, 1))
    drawn = [element("polyline", points=ends, class_="mark")]
    for index, points in enumerate(series.values()):
        colour = f"s{index % _SERIES + 1}"
        most = max(images for _, _, images in points)
        corners = " ".join(f"{frame.x(confidence):.1f},{frame.y(right):.1f}" for confidence, right, _ in points)
        drawn.append(element("polyline", points=corners, class_=f"line {colour}"))
        for confidence, right, images in points:
            name = f"{count(images)} photographs at confidence {number(confidence, 2)}: {number(right, 2)} right"
            radius = max(_SMALLEST_PX, _LARGEST_PX * math.sqrt(images / most))
            drawn.append(_dot(frame, (confidence, right), colour, name, round(radius, 1)))
    return _figure(title, caption, frame, drawn, legend=list(series))


def gains(title: str, rows: Sequence[tuple[str, float, str]], heads: tuple[str, str, str]) -> Markup:
    """A table with a bar to the left or right of zero for each row.

    Args:
        title: Of the table.
        rows: Name, gain, and a word on it.
        heads: Of the names, the gains and the words.
    """
    widest = max((abs(gain) for _, gain, _ in rows), default=0) or 1
    body = [
        element(
            "tr",
            element("th", element("bdi", name), scope="row"),
            element("td", _gain_bar(gain / widest), class_="wide"),
            element("td", signed(gain), class_=f"number {direction(signed(gain))}"),
            element("td", note, class_="number") if heads[2] else None,
        )
        for name, gain, note in rows
    ]
    names = (heads[0], "", *(element("th", each, scope="col", class_="number") for each in heads[1:] if each))
    head = element("tr", (each if isinstance(each, Markup) else element("th", each, scope="col") for each in names))
    return table(element("caption", title), element("thead", head), element("tbody", body), class_="bars")


def bar(share: float, *, kind: str = "bar") -> Markup:
    """A bar for a cell of a table: ``share`` of its width. The number stands beside it, so it says nothing aloud."""
    width = round(100 * min(1.0, max(0.0, share)), 2)
    return _strip([element("rect", x=0, y=0, width=width, height=8, rx=0, class_=kind)])


def stacked(parts: Sequence[tuple[str, float]]) -> Markup:
    """A bar whole of parts: class and amount of each."""
    total = sum(amount for _, amount in parts) or 1
    edges = [0.0]
    for _, amount in parts:
        edges.append(edges[-1] + 100 * amount / total)
    return _strip(
        [
            element("rect", x=round(low, 3), y=0, width=round(high - low, 3), height=8, class_=kind)
            for (kind, _), (low, high) in zip(parts, pairwise(edges), strict=True)
            if high > low
        ]
    )


class _Frame:
    """Axes of a plot, and where a value lies on the drawing."""

    def __init__(self, x: Axis, y: Axis) -> None:
        self._x, self._y = x, y

    def x(self, value: float) -> float:
        return _LEFT + (_RIGHT - _LEFT) * _position(value, self._x)

    def y(self, value: float) -> float:
        return _BOTTOM - (_BOTTOM - _TOP) * _position(value, self._y)

    def draw(self) -> list[Markup]:
        """Grid, ticks and names of the axes."""
        middle, up = (_LEFT + _RIGHT) / 2, (_TOP + _BOTTOM) / 2
        heights = [(value, round(self.y(value), 1)) for value in _ticks(self._y)]
        places = [(value, round(self.x(value), 1)) for value in _ticks(self._x)]
        return [
            *(element("line", x1=_LEFT, y1=y, x2=_RIGHT, y2=y, class_="grid") for _, y in heights),
            *(
                element("text", number(value, self._y.digits), x=_LEFT - 6, y=y + 3.5, class_="end")
                for value, y in heights
            ),
            *(element("text", number(value, self._x.digits), x=x, y=_BOTTOM + 15) for value, x in places),
            element("line", x1=_LEFT, y1=_BOTTOM, x2=_RIGHT, y2=_BOTTOM, class_="axis"),
            element("text", self._x.label, x=middle, y=_BOTTOM + 33, class_="name"),
            element("text", self._y.label, x=10, y=up, class_="name", transform=f"rotate(-90 10 {up})"),
        ]


def _position(value: float, axis: Axis) -> float:
    spread = axis.high - axis.low
    return min(1.0, max(0.0, (value - axis.low) / spread)) if spread else 0.0


def _ticks(axis: Axis) -> list[float]:
    steps = max(1, axis.ticks)
    values = [axis.low + (axis.high - axis.low) * step / steps for step in range(steps + 1)]
    # Whole numbers only where no digits are shown: "1, 1, 2" would be no scale.
    return sorted({float(round(value)) for value in values}) if axis.digits == 0 else values


def _rounded_up(value: float) -> float:
    """The next number of the kind 1, 2, 2.5, 5, 10 times a power of ten: ticks become readable."""
    if value <= 1:
        return 1.0
    power = 10.0 ** math.floor(math.log10(value))
    return float(next(step * power for step in (1, 1.5, 2, 2.5, 3, 4, 5, 6, 8, 10) if value <= step * power))


def upper(values: Sequence[float]) -> float:
    """A readable end for an axis that starts at zero."""
    highest = max((value for value in values if math.isfinite(value)), default=1.0)
    if highest <= 0:
        return 1.0
    power = 10.0 ** math.floor(math.log10(highest))
    return _rounded_up(highest / power) * power


def _rectangle(
    x: float, y: float, width: float, height: float, kind: str, name: str, opacity: float | None = None
) -> Markup:
    return element(
        "rect", element("title", name), x=round(x, 2), y=round(y, 2), width=round(max(0.0, width), 2),
        height=round(max(0.0, height), 2), class_=kind, fill_opacity=opacity,
    )  # fmt: skip


def _dot(frame: _Frame, point: Point, colour: str, name: str, radius: float = 2.6) -> Markup:
    where = {"cx": round(frame.x(point[0]), 1), "cy": round(frame.y(point[1]), 1), "r": radius}
    return element("circle", element("title", name), class_=f"dot {colour}", **where)


def _vertical(frame: _Frame, value: float, name: str) -> Markup:
    x = round(frame.x(value), 1)
    # The name stands on the side where there is room.
    left = x > (_LEFT + _RIGHT) / 2
    return joined(
        element("line", x1=x, y1=_TOP, x2=x, y2=_BOTTOM, class_="mark"),
        element("text", name, x=x - 5 if left else x + 5, y=_TOP + 8, class_="end" if left else "start"),
    )


def _gain_bar(gain: float) -> Markup:
    width = round(50 * min(1.0, abs(gain)), 2)
    left = 50 - width if gain < 0 else 50
    return _strip(
        [
            element("rect", x=left, y=1, width=width, height=6, class_="loss" if gain < 0 else "gain"),
            element("line", x1=50, y1=0, x2=50, y2=8, class_="zero"),
        ]
    )


def _strip(marks: Sequence[Markup]) -> Markup:
    return element("svg", marks, class_="strip", viewBox="0 0 100 8", preserveAspectRatio="none", aria_hidden="true")


def _figure(title: str, caption: str, frame: _Frame, *marks: object, legend: Sequence[str] = ()) -> Markup:
    drawing = element(
        "svg",
        frame.draw(),
        marks,
        viewBox=f"0 0 {_WIDTH:g} {_HEIGHT:g}",
        role="img",
        aria_label=f"{title}. {caption}",
    )
    names = [
        element("span", element("i", class_=f"swatch s{index % _SERIES + 1}"), name)
        for index, name in enumerate(legend)
    ]
    return element(
        "figure",
        element("h3", title),
        element("p", names, class_="legend") if names else None,
        drawing,
        element("figcaption", caption),
        class_="plot",
    )
