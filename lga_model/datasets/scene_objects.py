"""The things of rendered scenes: eight kinds that nobody confuses.

A painter gets a pen whose origin is where the thing touches the ground, and whose unit is the thing's height.
"""

from __future__ import annotations

import colorsys
import itertools
from collections.abc import Callable

import numpy as np

from lga_model.datasets.scene_pen import Colour, Pen, toned, varied

Painter = Callable[[Pen, np.random.Generator], None]


def ball(pen: Pen, rng: np.random.Generator) -> None:
    """A football with dark patches."""
    colour, patch = varied(rng, (242, 242, 240)), varied(rng, (30, 30, 36), 20)
    pen = pen.moved(0, 0, 0.72)
    pen.shadow(0, -0.02, 0.55)
    pen.disc(0, -0.5, 0.5, toned(colour, 0.72))
    pen.disc(-0.04, -0.54, 0.44, colour)
    turn = rng.uniform(0, 2 * np.pi)
    angles = turn + np.arange(5) * 2 * np.pi / 5
    pen.polygon([(0.17 * np.cos(a), -0.5 + 0.17 * np.sin(a)) for a in angles], patch)
    for a in angles:
        pen.line([(s * np.cos(a), -0.5 + s * np.sin(a)) for s in (0.17, 0.34)], 0.03, patch)
        spread = ((0.34, -0.2), (0.34, 0.2), (0.46, 0.3), (0.49, 0.0), (0.46, -0.3))
        pen.polygon([(s * np.cos(a + d), -0.5 + s * np.sin(a + d)) for s, d in spread], patch)


def umbrella(pen: Pen, rng: np.random.Generator) -> None:
    """An open sunshade with panels in two colours."""
    first, second = _paint(rng), varied(rng, (245, 240, 228))
    pen.shadow(0, 0, 0.4)
    pen.line([(0, 0), (0, -1)], 0.045, (112, 86, 62))
    rim = np.linspace(-1, 1, 7)
    for number, (left, right) in enumerate(itertools.pairwise(rim)):
        hem = (0.31 * (left + right), -0.59)
        pen.polygon([*_rib(left), hem, *reversed(_rib(right))], (first, second)[number % 2])
    pen.disc(0, -0.98, 0.03, toned(first, 0.7))


def bicycle(pen: Pen, rng: np.random.Generator) -> None:
    """A bicycle, seen from its side."""
    frame = _paint(rng)
    pen.shadow(0, 0, 0.75)
    rear, front, crank, saddle, head = (-0.46, -0.32), (0.46, -0.32), (-0.06, -0.32), (-0.2, -0.78), (0.3, -0.76)
    for x, y in (rear, front):
        pen.ring(x, y, 0.3, 0.06, (28, 28, 32))
        pen.ring(x, y, 0.25, 0.02, (196, 198, 204))
        for a in np.arange(4) * np.pi / 4 + 0.3:
            reach = (0.25 * np.cos(a), 0.25 * np.sin(a))
            pen.line([(x - reach[0], y - reach[1]), (x + reach[0], y + reach[1])], 0.012, (196, 198, 204))
    pen.line([rear, crank, head, (-0.18, -0.7), rear], 0.055, frame)
    pen.line([crank, saddle], 0.055, frame)
    pen.line([front, head, (0.28, -0.9), (0.42, -0.94)], 0.05, toned(frame, 0.75))
    pen.line([(-0.32, -0.81), (-0.08, -0.8)], 0.09, (36, 30, 30))
    pen.disc(*crank, 0.07, (60, 60, 66))


def guitar(pen: Pen, rng: np.random.Generator) -> None:
    """A guitar that leans a little."""
    wood = varied(rng, (206, 112, 40), 25)
    pen.shadow(0, 0, 0.3)
    lean = rng.uniform(-0.12, 0.12)

    def at(x: float, y: float) -> tuple[float, float]:
        return x - lean * y, y

    pen.line([at(0, -0.45), at(0, -0.95)], 0.07, (84, 52, 32))
    pen.line([at(0, -0.9), at(0, -1.0)], 0.11, (50, 32, 24))
    for shrink, colour in ((1.0, toned(wood, 0.5)), (0.88, wood)):
        lower, waist, upper = at(0, -0.21), at(0, -0.36), at(0, -0.47)
        pen.disc(*lower, 0.21 * shrink, colour)
        pen.disc(*waist, 0.12 * shrink, colour)
        pen.disc(*upper, 0.155 * shrink, colour)
    pen.disc(*at(0, -0.38), 0.065, (40, 24, 18))
    pen.line([at(-0.08, -0.16), at(0.08, -0.16)], 0.035, (50, 30, 22))
    for x in (-0.02, 0.0, 0.02):
        pen.line([at(x, -0.16), at(x, -0.95)], 0.006, (236, 226, 200))


def boxes(pen: Pen, rng: np.random.Generator) -> None:
    """A stack of cardboard boxes."""
    pen.shadow(0, 0, 0.6)
    for x, y, side in ((-0.28, 0.0, 0.5), (0.26, 0.0, 0.46), (rng.uniform(-0.12, 0.05), -0.48, 0.42)):
        card = varied(rng, (200, 154, 98), 16)
        left, right, top, back = x - side / 2, x + side / 2, y - 0.94 * side, 0.16 * side
        pen.polygon(
            [(left, top), (left + back, top - back), (right + back, top - back), (right, top)], toned(card, 1.2)
        )
        pen.polygon([(right, top), (right + back, top - back), (right + back, y - back), (right, y)], toned(card, 0.6))
        pen.box(left, top, right, y, card)
        pen.box(x - 0.07 * side, top, x + 0.07 * side, y, toned(card, 0.82))
        pen.box(left + 0.08 * side, y - 0.3 * side, left + 0.34 * side, y - 0.12 * side, (240, 236, 226))


def tree(pen: Pen, rng: np.random.Generator) -> None:
    """A tree with a round crown."""
    leaf = varied(rng, (46, 122, 52), 22)
    pen.shadow(0, 0, 0.36)
    pen.polygon([(-0.07, 0), (0.07, 0), (0.04, -0.5), (-0.04, -0.5)], (96, 64, 40))
    crown = ((0, -0.48, 0.2), (-0.2, -0.56, 0.19), (0.2, -0.56, 0.19), (-0.1, -0.76, 0.2), (0.11, -0.76, 0.2))
    for tone, inset in ((0.62, 0.0), (1.0, 0.03), (1.3, 0.11)):
        for x, y, radius in crown:
            pen.disc(x - 0.6 * inset, y - 0.6 * inset, radius - inset, toned(leaf, tone))


def lamp(pen: Pen, rng: np.random.Generator) -> None:
    """A floor lamp that is on."""
    shade = varied(rng, (248, 214, 120), 10)
    pen.shadow(0, 0, 0.3)
    for radius, opacity in ((0.46, 0.16), (0.34, 0.2)):
        pen.blend([(radius * np.cos(a), -0.8 + radius * np.sin(a)) for a in np.linspace(0, 6.2, 24)], shade, opacity)
    metal = varied(rng, (70, 66, 70))
    pen.hull(np.array([[-0.15, -0.02, 0.025], [0.15, -0.02, 0.025], [0, -0.05, 0.025]]), metal)
    pen.line([(0, -0.03), (0, -0.7)], 0.04, metal)
    pen.polygon([(-0.26, -0.62), (0.26, -0.62), (0.14, -1), (-0.14, -1)], toned(shade, 0.8))
    pen.polygon([(-0.24, -0.64), (0.1, -0.64), (0.06, -0.98), (-0.13, -0.98)], shade)


def flag(pen: Pen, rng: np.random.Generator) -> None:
    """A waving flag with three stripes."""
    side = rng.choice([-1.0, 1.0])
    pen.shadow(0, 0, 0.2)
    xs = np.linspace(0, 1, 14)
    wave = 0.045 * np.sin(6.5 * xs + rng.uniform(0, 6)) * xs
    stripes: tuple[Colour, ...] = (_paint(rng), varied(rng, (244, 242, 236), 8), _paint(rng))
    for number, colour in enumerate(stripes):
        top = -0.98 + 0.15 * number
        upper = np.stack([side * 0.68 * xs, top + wave], axis=1)
        pen.polygon(np.concatenate([upper, upper[::-1] + np.array([0, 0.155])]), colour)
    pen.line([(0, 0), (0, -1)], 0.04, (214, 214, 218))
    pen.disc(0, -1, 0.035, (222, 184, 70))


def _rib(share: float) -> list[tuple[float, float]]:
    """One seam of the umbrella, from its tip to its rim."""
    return [(0.62 * share * np.sin(t), -0.56 - 0.4 * np.cos(t)) for t in np.linspace(0, np.pi / 2, 8)]


def _paint(rng: np.random.Generator) -> Colour:
    """Draw a bright colour of any hue."""
    red, green, blue = colorsys.hsv_to_rgb(rng.random(), rng.uniform(0.65, 0.95), rng.uniform(0.7, 0.95))
    return 255 * red, 255 * green, 255 * blue
