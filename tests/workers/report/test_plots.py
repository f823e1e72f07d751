"""Plots are well-formed, say what they show, and show what they were given."""

from __future__ import annotations

from xml.etree import ElementTree as ET

import pytest

from workers.report.plots import Axis, bar, density, gains, histogram, lines, reliability, stacked, upper

SHARE = Axis(label="confidence <&>")


def marks(plot, kind):
    """The drawn marks of one class, with their tooltips."""
    root = ET.fromstring(plot)
    return [node for node in root.iter() if kind in node.get("class", "").split()]


def titles(plot, kind):
    return [node.findtext("title") for node in marks(plot, kind)]


def test_a_histogram_draws_its_counts():
    """
    One bar for each bin, as high as its count; each says its range and count aloud.
    """
    plot = histogram("Confidence", SHARE, [0, 5, 10, 5], "caption", mark=(0.8, "accepted"))
    heights = [float(node.get("height")) for node in marks(plot, "bar")]

    assert [0.0, heights[2] / 2, heights[2], heights[2] / 2] == pytest.approx(heights)
    assert "0.25 to 0.50: 5" == titles(plot, "bar")[1]
    assert 1 == len(marks(plot, "mark"))


def test_a_reliability_diagram_shows_how_many_photographs_speak():
    """
    A dot for each range of confidence, its area by the photographs behind it, beside the line of truth.
    """
    plot = reliability("Confidence", {"raw": [(0.5, 0.25, 4)], "calibrated": [(0.3, 0.25, 1), (0.8, 0.75, 4)]}, "said")
    small, large = (float(dot.get("r")) for dot in marks(plot, "s2") if dot.get("r"))

    assert 2 * small == large
    assert "4 photographs at confidence 0.80: 0.75 right" in titles(plot, "dot")
    assert 1 == len(marks(plot, "mark"))


@pytest.mark.parametrize(
    "plot",
    [
        histogram("none", SHARE, [], "nothing there"),
        histogram("zero", SHARE, [0, 0], "nothing there"),
        density("none", SHARE, SHARE, [[0, 0], [0, 0]], "nothing there"),
        lines("one", Axis(label="epoch", low=0, high=1, digits=0), SHARE, {"a": [(1.0, 0.5)]}, "one point"),
    ],
    ids=["no bins", "empty bins", "empty grid", "one point"],
)
def test_a_plot_of_almost_nothing_is_still_a_plot(plot):
    """
    No division by zero; a name and a description for those who cannot see it.
    """
    (drawing,) = ET.fromstring(plot).iter("svg")

    assert "img" == drawing.get("role")
    assert drawing.get("aria-label").endswith((". nothing there", ". one point"))


def test_density_shows_only_cells_with_photographs():
    """
    Rows go upwards, columns to the right; the fullest cell is the darkest.
    """
    plot = density("d", Axis(label="x"), Axis(label="y"), [[0, 9], [1, 0]], "c")
    opacity = [float(node.get("fill-opacity")) for node in marks(plot, "cell")]

    assert ["x 0.50 to 1.00, y 0.00 to 0.50: 9", "x 0.00 to 0.50, y 0.50 to 1.00: 1"] == titles(plot, "cell")
    assert opacity[0] == 1.0 > opacity[1] > 0


def test_gains_point_to_their_side():
    """
    Losses reach from the middle to the left, gains to the right, the largest all the way.
    """
    table = gains("by action", [("a", 0.2, ""), ("b", -0.1, "")], ("action", "B − A", ""))
    (gain,), (loss,) = marks(table, "gain"), marks(table, "loss")

    assert ("50", "50.0") == (gain.get("x"), gain.get("width"))
    assert (25.0, 25.0) == (float(loss.get("x")), float(loss.get("width")))


def test_strips_fill_their_share():
    """
    A bar never leaves its cell; parts of a whole fill it.
    """
    assert 'width="100.0"' in bar(7.0)
    assert 'width="25.0"' in stacked([("accept", 1), ("unsure", 3)])
    assert "<rect" not in stacked([("accept", 0)])


@pytest.mark.parametrize(
    ("values", "expected"), [([0.07], 0.08), ([13.4, 8.8], 15.0), ([], 1.0), ([0.0], 1.0), ([1000], 1000)]
)
def test_an_axis_ends_at_a_readable_number(values, expected):
    """
    The next 1, 1.5, 2, 2.5, 3, 4, 5, 6, 8 or 10 times a power of ten.
    """
    assert expected == pytest.approx(upper(values))
