"""A synthetic data set whose surroundings mislead: the argument of the paper in miniature.

Every picture shows one person whose *pose* is the action. In the training and validation splits each action has its
own place and its own thing (kicking: a meadow and a ball), so that a classifier can score well without looking at the
person. In the test split the place and the thing are those of another action: who learnt the background fails, who
looks at the person does not.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import simplejpeg
from numpy.typing import NDArray

from lga_model.annotations import SPLITS, Annotation, Box, Split
from lga_model.datasets import scene_backgrounds, scene_objects
from lga_model.datasets.scene_figure import Figure, random_figure
from lga_model.datasets.scene_pen import Pen, blank, reduced
from lga_model.datasets.scene_poses import POSES

ACTIONS: tuple[str, ...] = tuple(sorted(POSES))
JPEG_QUALITY = 90

_MARGIN = 0.02
"""Share of the side that stays free around a person."""
_SHORTEST = 0.36
"""Height of the smallest person as a share of the side."""
_EMPTY_STREAM = len(SPLITS)
"""The random stream of pictures without a person, beside those of the splits."""


@dataclass(frozen=True, kw_only=True)
class Surroundings:
    """The place and the thing that go with an action."""

    background: scene_backgrounds.Painter
    thing: scene_objects.Painter


CONTEXTS: dict[str, Surroundings] = {
    "arms_up": Surroundings(background=scene_backgrounds.plank_hall, thing=scene_objects.guitar),
    "crouching": Surroundings(background=scene_backgrounds.brick_wall, thing=scene_objects.boxes),
    "kicking": Surroundings(background=scene_backgrounds.meadow, thing=scene_objects.ball),
    "pointing": Surroundings(background=scene_backgrounds.desert, thing=scene_objects.tree),
    "running": Surroundings(background=scene_backgrounds.night_city, thing=scene_objects.bicycle),
    "sitting": Surroundings(background=scene_backgrounds.kitchen, thing=scene_objects.lamp),
    "t_pose": Surroundings(background=scene_backgrounds.snow, thing=scene_objects.flag),
    "waving": Surroundings(background=scene_backgrounds.sea, thing=scene_objects.umbrella),
}
"""What surrounds each action when the surroundings tell the truth."""


@dataclass(frozen=True, kw_only=True)
class MisleadingConfig:
    """What to render. The same configuration gives the same pictures, in any process."""

    seed: int = 0
    train: int = 1200
    val: int = 240
    test: int = 480
    size_px: int = 160
    """Side of the square pictures."""
    strength: float = 0.9
    """Share of pictures whose context is the action's own (train, val) or another's (test). The others have any."""

    def __post_init__(self) -> None:
        if min(self.seed, self.train, self.val, self.test) < 0:
            raise ValueError("the seed and the number of scenes in each split cannot be negative")
        if not 32 <= self.size_px <= 4096:  # noqa: PLR2004 - below, no pose can be told; above, OpenCV's fixed point ends
            raise ValueError(f"scenes are 32 to 4096 pixels wide, not {self.size_px}")
        if not 0 <= self.strength <= 1:
            raise ValueError(f"strength is a probability between 0 and 1, not {self.strength:g}")

    def scenes(self, split: Split) -> int:
        """Return the number of scenes in a split."""
        return {"train": self.train, "val": self.val, "test": self.test}[split]


@dataclass(frozen=True, kw_only=True)
class Scene:
    """One rendered picture and what is known about it."""

    pixels_HWC: NDArray[np.uint8]
    """RGB, uint8 ``[H, W, 3]``."""
    action: str
    boxes: tuple[Box, ...]
    """The tight box ``(x0, y0, x1, y1)`` around the person, in pixels, inside the picture."""
    context: str
    """The action that the place and the thing belong to."""


def render_scene(config: MisleadingConfig, split: Split, index: int) -> Scene:
    """Render one scene: a pure function of its arguments. Its action is ``ACTIONS[index % 8]``.

    Raises:
        ValueError: If the index is negative.
    """
    return _render(config, split, index, person=True)


def render_empty_scene(config: MisleadingConfig, index: int) -> NDArray[np.uint8]:
    """Render a place and its thing without anybody there: RGB, uint8 ``[size_px, size_px, 3]``.

    Raises:
        ValueError: If the index is negative.
    """
    rng = _stream(config, _EMPTY_STREAM, index)
    pixels = blank(config.size_px)
    _draw_surroundings(Pen(pixels=pixels), rng, ACTIONS[rng.integers(len(ACTIONS))], person=None)
    return _photographed(pixels, rng)


def generate_misleading(root: Path, config: MisleadingConfig) -> Iterator[Annotation]:
    """Render every scene into ``root/images/<split>/`` as JPEG, and yield its annotation once the file is there.

    Args:
        root: Folder of the manifest; annotations name their images relative to it. It is made when absent.
        config: What to render.

    Raises:
        OSError: If a file cannot be written.
    """
    for split in SPLITS:
        folder = root / "images" / split
        folder.mkdir(parents=True, exist_ok=True)
        for index in range(config.scenes(split)):
            scene = render_scene(config, split, index)
            path = folder / f"{split}-{index:06d}.jpg"
            path.write_bytes(simplejpeg.encode_jpeg(scene.pixels_HWC, quality=JPEG_QUALITY))
            yield Annotation(
                image=path.relative_to(root).as_posix(),
                action=scene.action,
                split=split,
                boxes=scene.boxes,
                width=config.size_px,
                height=config.size_px,
            )


def _render(config: MisleadingConfig, split: Split, index: int, *, person: bool) -> Scene:
    """Render a scene. Without ``person`` the same picture lacks the figure alone, so that tests can compare."""
    rng = _stream(config, SPLITS.index(split), index)
    action = ACTIONS[index % len(ACTIONS)]
    context = _context(rng, config, split, action)
    figure = _placed(rng, action)
    pixels = blank(config.size_px)
    pen = Pen(pixels=pixels)
    _draw_surroundings(pen, rng, context, person=figure)
    if person:
        figure.draw(pen)
    x0, y0, x1, y1 = (edge * config.size_px for edge in figure.box)
    return Scene(pixels_HWC=_photographed(pixels, rng), action=action, boxes=((x0, y0, x1, y1),), context=context)


def _stream(config: MisleadingConfig, stream: int, index: int) -> np.random.Generator:
    """Give every picture random numbers of its own, so that none depends on those before it."""
    if index < 0:
        raise ValueError(f"scenes are counted from 0, there is no scene {index}")
    return np.random.default_rng(np.random.SeedSequence([config.seed, stream, index]))


def _context(rng: np.random.Generator, config: MisleadingConfig, split: Split, action: str) -> str:
    """Choose the surroundings: with probability ``strength`` what the split promises, else any of the eight."""
    anything = ACTIONS[rng.integers(len(ACTIONS))]
    others = [other for other in ACTIONS if other != action]
    promised = others[rng.integers(len(others))] if split == "test" else action
    return promised if rng.random() < config.strength else anything


def _placed(rng: np.random.Generator, action: str) -> Figure:
    """Put a person somewhere in the picture, wholly inside and in its lower part, where the ground is."""
    figure = random_figure(rng, action)
    x0, y0, x1, y1 = figure.box
    height = rng.uniform(_SHORTEST, POSES[action].tallest)
    width = (x1 - x0) / (y1 - y0) * height
    left = rng.uniform(_MARGIN, 1 - _MARGIN - width)
    return figure.placed(left, rng.uniform(max(0.64, height + _MARGIN), 1 - _MARGIN), height)


def _draw_surroundings(pen: Pen, rng: np.random.Generator, context: str, *, person: Figure | None) -> None:
    """Paint the place, and its thing where the person leaves most room; then the shadow at the person's feet."""
    horizon = rng.uniform(0.46, 0.58)
    CONTEXTS[context].background(pen, rng, horizon)
    nobody = rng.uniform(0.2, 0.8)
    left, _, right, feet = person.box if person else (nobody, 0.0, nobody, 0.9)
    size = rng.uniform(0.26, 0.38)
    middle = left / 2 if left > 1 - right else (1 + right) / 2
    x = np.clip(middle + rng.uniform(-0.08, 0.08), 0.4 * size, 1 - 0.4 * size)
    ground = max(horizon + 0.08, feet - rng.uniform(0.0, 0.15))
    CONTEXTS[context].thing(pen.moved(float(x), min(ground, 0.96), size), rng)
    if person:
        toe, heel = person.footing
        pen.shadow((toe + heel) / 2, feet - 0.012, 0.5 * (heel - toe) + 0.03)


def _photographed(pixels_HWC: NDArray[np.uint8], rng: np.random.Generator) -> NDArray[np.uint8]:
    """Reduce the picture to its size and expose it: brightness, a tint of the light, the noise of a sensor."""
    reduced_HWC = reduced(pixels_HWC)
    picture = rng.standard_normal(reduced_HWC.shape, np.float32)
    picture *= np.float32(rng.uniform(2.0, 7.0))
    gain = (rng.uniform(0.85, 1.12) * rng.uniform(0.95, 1.05, 3)).astype(np.float32)
    picture += reduced_HWC * gain
    return np.clip(picture, 0, 255, out=picture).astype(np.uint8)
