"""The places of rendered scenes: eight backgrounds that nobody confuses, each with a ground to stand on.

A painter gets a pen for the whole picture and the height of the horizon (a fraction of the side, 0 is the top).
"""

from __future__ import annotations

import itertools
from collections.abc import Callable

import cv2
import numpy as np

from lga_model.datasets.scene_pen import Colour, Pen, toned, varied

Painter = Callable[[Pen, np.random.Generator, float], None]


def meadow(pen: Pen, rng: np.random.Generator, horizon: float) -> None:
    """Blue sky with clouds over mown grass."""
    _gradient(pen, 0, horizon, varied(rng, (84, 160, 235)), varied(rng, (188, 222, 248)))
    for _ in range(rng.integers(2, 5)):
        _cloud(pen.moved(rng.random(), rng.uniform(0.05, 0.8 * horizon), rng.uniform(0.08, 0.18)), rng)
    grass = varied(rng, (86, 158, 52))
    _ridge(pen, rng, horizon, 0.06, toned(grass, 0.72))
    _gradient(pen, horizon, 1, toned(grass, 0.85), toned(grass, 1.12))
    middle = rng.uniform(0.3, 0.7)
    for stripe in np.arange(-6, 7, 2):
        near, far = middle + stripe * 0.3, middle + stripe * 0.06
        pen.blend([(far, horizon), (far + 0.06, horizon), (near + 0.3, 1), (near, 1)], (150, 205, 80), 0.3)
    _mottle(pen, rng, horizon, 1, grain=40, depth=9)


def kitchen(pen: Pen, rng: np.random.Generator, horizon: float) -> None:
    """Glazed wall tiles in two tones over a checkered floor."""
    glaze, second = varied(rng, (222, 236, 228)), varied(rng, (128, 190, 178), 25)
    pen.box(0, 0, 1, 1, (176, 182, 178))
    side = rng.uniform(0.08, 0.11)
    accent = rng.integers(2, 4)
    for row, y in enumerate(np.arange(horizon - side, -side, -side)):
        for column, x in enumerate(np.arange(-rng.uniform(0, 0.01), 1, side)):
            tile = second if row == accent or (row < accent and (row + column) % 4 == 0) else glaze
            pen.box(x, y, x + 0.93 * side, y + 0.93 * side, varied(rng, tile, 5))
            pen.box(x, y, x + 0.93 * side, y + 0.15 * side, toned(tile, 1.12))
    pen.box(0, horizon, 1, 1, (236, 234, 226))
    dark = varied(rng, (58, 62, 68))
    depths = horizon + (1 - horizon) * np.array([0.0, 0.1, 0.24, 0.43, 0.68, 1.0])
    for row, (far, near) in enumerate(itertools.pairwise(depths)):
        for column in range(-9 + row % 2, 9, 2):
            corners = ((column, far), (column + 1, far), (column + 1, near), (column, near))
            pen.polygon([(0.5 + x * 0.13 * (0.8 + 2.2 * (y - horizon)), y) for x, y in corners], dark)


def sea(pen: Pen, rng: np.random.Generator, horizon: float) -> None:
    """Deep and shallow water with rows of waves, seen from a pale beach."""
    line, shore = 0.4 * horizon, horizon + 0.06
    _gradient(pen, 0, line, varied(rng, (120, 190, 235)), varied(rng, (226, 242, 246)))
    _gradient(pen, line, shore, varied(rng, (10, 84, 160)), varied(rng, (64, 200, 208)))
    y = line + 0.015
    while y < shore - 0.03:
        reach = 0.25 + 1.2 * (y - line)
        for x in np.arange(rng.uniform(-0.3, 0), 1, 0.45 * reach):
            bow = [(x + t * 0.26 * reach, y - 0.02 * reach * np.sin(np.pi * t)) for t in np.linspace(0, 1, 7)]
            pen.line(bow, 0.012 * reach, varied(rng, (176, 232, 242)))
        y += 0.085 * reach
    sand = varied(rng, (236, 220, 184), 8)
    xs = np.linspace(0, 1, 24)
    wash = shore + 0.012 * np.sin(rng.uniform(5, 9) * xs + rng.uniform(0, 6))
    for drop, colour in ((-0.02, (244, 252, 252)), (0.0, toned(sand, 0.8)), (0.035, sand)):
        pen.polygon([(1, 1), (0, 1), *zip(xs, wash + drop, strict=True)], colour)
    _mottle(pen, rng, shore + 0.05, 1, grain=56, depth=6)


def brick_wall(pen: Pen, rng: np.random.Generator, horizon: float) -> None:
    """Red bricks over a grey pavement."""
    brick = varied(rng, (168, 70, 50), 18)
    pen.box(0, 0, 1, horizon, (190, 180, 168))
    height = rng.uniform(0.045, 0.06)
    width = 2.3 * height
    for row, y in enumerate(np.arange(horizon - height, -height, -height)):
        for x in np.arange(-width * (0.5 if row % 2 else 0.05), 1, width):
            pen.box(x, y, x + 0.92 * width, y + 0.84 * height, toned(varied(rng, brick, 8), rng.uniform(0.8, 1.15)))
    stone = varied(rng, (138, 138, 142))
    _gradient(pen, horizon, 1, toned(stone, 0.85), toned(stone, 1.1))
    pen.box(0, horizon, 1, horizon + 0.02, toned(stone, 0.6))
    for x in np.linspace(-2, 3, 11) + rng.uniform(0, 0.4):
        pen.line([(0.5 + (x - 0.5) * 0.5, horizon + 0.02), (x, 1)], 0.005, toned(stone, 0.7))
    pen.line([(0, horizon + 0.4 * (1 - horizon)), (1, horizon + 0.4 * (1 - horizon))], 0.005, toned(stone, 0.7))
    _mottle(pen, rng, horizon, 1, grain=48, depth=6)


def plank_hall(pen: Pen, rng: np.random.Generator, horizon: float) -> None:
    """A hall of wood: upright planks, and floorboards that run away from us."""
    wood = varied(rng, (182, 120, 66), 14)
    x = -rng.uniform(0, 0.1)
    while x < 1:
        width = rng.uniform(0.09, 0.13)
        plank = toned(wood, rng.uniform(0.84, 1.12))
        pen.box(x, 0, x + width, horizon, plank)
        for grain in rng.uniform(0.15, 0.85, 3):
            drift = rng.uniform(-0.1, 0.1)
            pen.line([(x + grain * width, 0), (x + (grain + drift) * width, horizon)], 0.003, toned(plank, 0.85))
        pen.line([(x, 0), (x, horizon)], 0.008, toned(wood, 0.5))
        x += width
    floor = toned(varied(rng, (120, 70, 40)), 1.0)
    for number, x in enumerate(np.arange(-1.6, 2.6, 0.22)):
        far, next_far = 0.5 + (x - 0.5) * 0.55, 0.5 + (x + 0.22 - 0.5) * 0.55
        board = toned(floor, (0.9, 1.08, 0.98)[number % 3])
        pen.polygon([(far, horizon), (next_far, horizon), (x + 0.22, 1), (x, 1)], board)
        pen.line([(far, horizon), (x, 1)], 0.004, toned(floor, 0.6))
    pen.box(0, horizon - 0.025, 1, horizon, toned(wood, 0.55))


def night_city(pen: Pen, rng: np.random.Generator, horizon: float) -> None:
    """Dark towers with lit windows under a moon, and a wet street."""
    _gradient(pen, 0, horizon, varied(rng, (10, 12, 42), 6), varied(rng, (66, 44, 100)))
    pen.disc(rng.uniform(0.1, 0.9), rng.uniform(0.05, 0.15), rng.uniform(0.03, 0.05), (240, 236, 206))
    lights: tuple[Colour, ...] = ((255, 214, 110), (255, 180, 80), (150, 215, 255))
    x = -0.02
    while x < 1:
        width, top = rng.uniform(0.11, 0.2), horizon * rng.uniform(0.12, 0.6)
        pen.box(x, top, x + width, horizon, varied(rng, (30, 32, 58), 10))
        light = lights[rng.integers(len(lights))]
        for left in np.arange(x + 0.015, x + width - 0.025, 0.035):
            for y in np.arange(top + 0.02, horizon - 0.03, 0.045):
                lit = rng.random() < 0.55  # noqa: PLR2004
                pen.box(left, y, left + 0.018, y + 0.024, toned(light, rng.uniform(0.7, 1)) if lit else (44, 48, 76))
        x += width + 0.006
    _gradient(pen, horizon, 1, varied(rng, (44, 46, 66), 6), varied(rng, (66, 66, 86), 6))
    for x in rng.random(6):
        light = lights[rng.integers(len(lights))]
        pen.blend([(x, horizon), (x + 0.02, horizon), (x + 0.03, 1), (x - 0.01, 1)], light, rng.uniform(0.08, 0.2))


def snow(pen: Pen, rng: np.random.Generator, horizon: float) -> None:
    """White hills under a pale sky, and falling flakes."""
    _gradient(pen, 0, horizon, varied(rng, (158, 178, 206)), varied(rng, (214, 224, 236)))
    for rise, colour in ((0.22, (178, 194, 220)), (0.1, (206, 218, 236))):
        _ridge(pen, rng, horizon, rise, varied(rng, colour, 6))
    _gradient(pen, horizon, 1, (226, 234, 246), (250, 251, 255))
    for _ in range(4):
        x, y = rng.uniform(-0.2, 1), rng.uniform(horizon, 1)
        pen.blend([(x, y), (x + 0.25, y - 0.025), (x + 0.5, y), (x + 0.25, y + 0.012)], (186, 202, 230), 0.5)
    for x, y, radius in rng.random((70, 3)):
        pen.disc(x, y, 0.003 + 0.006 * radius, (255, 255, 255))


def desert(pen: Pen, rng: np.random.Generator, horizon: float) -> None:
    """Orange dunes with ripples under a hazy sun."""
    _gradient(pen, 0, horizon, varied(rng, (238, 170, 96)), varied(rng, (255, 226, 160)))
    pen.disc(rng.uniform(0.1, 0.9), rng.uniform(0.08, 0.25), rng.uniform(0.05, 0.07), (255, 246, 206))
    sand = varied(rng, (222, 146, 66))
    for rise, tone in ((0.16, 0.86), (0.08, 0.95)):
        _ridge(pen, rng, horizon, rise, toned(sand, tone))
    _gradient(pen, horizon, 1, sand, toned(sand, 1.1))
    phase = rng.uniform(0, 6)
    xs = np.linspace(0, 1, 24)
    for depth in np.linspace(0.04, 1, 9) ** 1.4:
        y = horizon + (1 - horizon) * depth
        wave = y + (0.004 + 0.014 * depth) * np.sin((14 - 6 * depth) * xs + phase + 9 * depth)
        pen.line(np.stack([xs, wave], axis=1), 0.003 + 0.006 * depth, toned(sand, 0.84))


def _gradient(pen: Pen, top: float, bottom: float, first: Colour, last: Colour) -> None:
    """Fill a band with rows that pass from one colour to another."""
    side = pen.pixels.shape[0]
    rows = slice(round(top * side), round(bottom * side))
    share = np.linspace(0, 1, rows.stop - rows.start)[:, None, None]
    pen.pixels[rows] = (1 - share) * np.asarray(first) + share * np.asarray(last)


def _mottle(pen: Pen, rng: np.random.Generator, top: float, bottom: float, *, grain: int, depth: float) -> None:
    """Roughen a band: smooth noise with ``grain`` knots along each side and a standard deviation of ``depth``."""
    side = pen.pixels.shape[0]
    band = pen.pixels[round(top * side) : round(bottom * side)]
    knots = np.repeat(rng.normal(0, depth, (grain, grain, 1)), 3, axis=2).astype(np.float32)
    noise = cv2.resize(knots, (band.shape[1], band.shape[0]), interpolation=cv2.INTER_LINEAR)
    cv2.add(band, noise, dst=band, dtype=cv2.CV_8U)


def _ridge(pen: Pen, rng: np.random.Generator, horizon: float, rise: float, colour: Colour) -> None:
    """Draw a line of hills that rise at most ``rise`` above the horizon."""
    xs = np.linspace(0, 1, 30)
    waves = np.sin(rng.uniform(3, 6) * xs + rng.uniform(0, 6)) + 0.5 * np.sin(
        rng.uniform(7, 12) * xs + rng.uniform(0, 6)
    )
    line = horizon - rise * (waves + 1.5) / 3
    pen.polygon([(1, horizon + 0.01), (0, horizon + 0.01), *zip(xs, line, strict=True)], colour)


def _cloud(pen: Pen, rng: np.random.Generator) -> None:
    for x in np.linspace(-1, 1, 5):
        pen.disc(x, rng.uniform(-0.1, 0.1), (0.5 - 0.25 * abs(x)) * rng.uniform(0.8, 1.1), (250, 252, 255))
