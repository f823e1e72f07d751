"""A pen that draws smooth shapes on a square picture, in units of the picture or of the thing being drawn.

Coordinates: x to the right, y downwards. Colours are RGB, each channel in [0, 255].
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import cv2
import numpy as np
from numpy.typing import NDArray

Colour = tuple[float, float, float]
Points = Sequence[tuple[float, float]] | NDArray[np.float64]

SUPERSAMPLING = 2
_FRACTION_BITS = 4  # OpenCV takes coordinates in sixteenths of a pixel
_SMOOTH_RIM_PX = 0.7  # OpenCV's anti-aliased shapes are that much too wide on every side (measured, 5.0)
_CIRCLE_22 = np.array([(np.cos(a), np.sin(a)) for a in np.linspace(0, 2 * np.pi, 22, endpoint=False)])


def toned(colour: Colour, factor: float) -> Colour:
    """Make a colour darker (factor below 1) or lighter (above 1)."""
    red, green, blue = (min(255.0, channel * factor) for channel in colour)
    return red, green, blue


def varied(rng: np.random.Generator, colour: Colour, spread: float = 12.0) -> Colour:
    """Take a colour near the given one: each channel moves by at most ``spread``."""
    moves = rng.uniform(-spread, spread, 3).tolist()
    red, green, blue = (min(255.0, max(0.0, channel + move)) for channel, move in zip(colour, moves, strict=True))
    return red, green, blue


def blank(size_px: int) -> NDArray[np.uint8]:
    """Make a black picture, supersampled: ``[2 * size_px, 2 * size_px, 3]``."""
    return np.zeros((SUPERSAMPLING * size_px, SUPERSAMPLING * size_px, 3), np.uint8)


def reduced(pixels_HWC: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """Average a supersampled picture down to its final size."""
    size_px = pixels_HWC.shape[0] // SUPERSAMPLING
    return np.asarray(cv2.resize(pixels_HWC, (size_px, size_px), interpolation=cv2.INTER_AREA), np.uint8)


@dataclass(frozen=True, kw_only=True)
class Pen:
    """Draws on ``pixels``; a coordinate ``p`` means ``origin + unit * p``, in fractions of the picture's side."""

    pixels: NDArray[np.uint8]
    """The supersampled picture, uint8 ``[H, H, 3]``; every stroke changes it."""
    origin: tuple[float, float] = (0.0, 0.0)
    unit: float = 1.0

    def moved(self, x: float, y: float, unit: float) -> Pen:
        """Return a pen for one thing: its origin at (x, y) of this pen, its unit ``unit`` of this pen's."""
        origin = (self.origin[0] + x * self.unit, self.origin[1] + y * self.unit)
        return Pen(pixels=self.pixels, origin=origin, unit=self.unit * unit)

    def polygon(self, points: Points, colour: Colour) -> None:
        """Fill a polygon."""
        cv2.fillPoly(self.pixels, [self._fixed(points)], colour, cv2.LINE_AA, _FRACTION_BITS)

    def box(self, x0: float, y0: float, x1: float, y1: float, colour: Colour) -> None:
        """Fill an upright rectangle."""
        self.polygon([(x0, y0), (x1, y0), (x1, y1), (x0, y1)], colour)

    def disc(self, x: float, y: float, radius: float, colour: Colour) -> None:
        """Fill a circle."""
        self.hull(np.array([[x, y, radius]]), colour)

    def hull(self, discs_N3: NDArray[np.float64], colour: Colour) -> None:
        """Fill the convex hull of some discs (x, y, radius), as wide as they are: a limb is two, a trunk is four."""
        radii = np.maximum(discs_N3[:, None, 2:] - _SMOOTH_RIM_PX / (self.unit * self.pixels.shape[0]), 0)
        rims = discs_N3[:, None, :2] + radii * _CIRCLE_22
        corners = cv2.convexHull(self._fixed(rims.reshape(-1, 2)))
        cv2.fillConvexPoly(self.pixels, corners, colour, cv2.LINE_AA, _FRACTION_BITS)

    def line(self, points: Points, width: float, colour: Colour, *, closed: bool = False) -> None:
        """Draw a line through points; it is never thinner than a pixel."""
        width_px = max(1, round(width * self.unit * self.pixels.shape[0]))
        cv2.polylines(self.pixels, [self._fixed(points)], closed, colour, width_px, cv2.LINE_AA, _FRACTION_BITS)

    def ring(self, x: float, y: float, radius: float, width: float, colour: Colour) -> None:
        """Draw a circle's outline."""
        self.line(np.array([x, y]) + radius * _CIRCLE_22, width, colour, closed=True)

    def blend(self, points: Points, colour: Colour, opacity: float) -> None:
        """Fill a polygon with a translucent colour: shadows, glows, reflections."""
        fixed = self._fixed(points)
        x, y, width, height = cv2.boundingRect(fixed >> _FRACTION_BITS)
        x0, y0, x1, y1 = max(x - 1, 0), max(y - 1, 0), x + width + 1, y + height + 1
        region = self.pixels[y0:y1, x0:x1]
        if region.size:
            painted = region.copy()
            corner = np.array([x0, y0], np.int32) << _FRACTION_BITS
            cv2.fillPoly(painted, [fixed - corner], colour, cv2.LINE_AA, _FRACTION_BITS)
            cv2.addWeighted(painted, opacity, region, 1 - opacity, 0, dst=painted)
            region[:] = painted

    def shadow(self, x: float, y: float, radius: float) -> None:
        """Darken a flat ellipse of the ground under a thing, softer towards its rim."""
        for share in (1.0, 0.7):
            self.blend(np.array([x, y]) + _CIRCLE_22 * radius * share * np.array([1.0, 0.2]), (10, 10, 20), 0.22)

    def _fixed(self, points: Points) -> NDArray[np.int32]:
        """Units of this pen -> sixteenths of a pixel. OpenCV counts from a pixel's centre, we from its corner."""
        side = self.pixels.shape[0]
        pixels = np.asarray(points, np.float64) * (self.unit * side) + np.asarray(self.origin) * side - 0.5
        fixed: NDArray[np.int32] = np.rint(pixels * (1 << _FRACTION_BITS)).astype(np.int32)
        return fixed
