"""A person of a rendered scene: a skeleton in some pose, given a body, clothes and a place.

Body units: a standing person is about 1 high. A person drawn from the side faces right, until mirrored.
"""

from __future__ import annotations

import colorsys
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from lga_model.datasets.scene_pen import Colour, Pen, toned, varied
from lga_model.datasets.scene_poses import POSES, Limb, Pose, jittered

_SKIN: tuple[Colour, ...] = ((255, 219, 186), (236, 188, 148), (208, 152, 108), (158, 104, 70), (104, 68, 48))
_HAIR: tuple[Colour, ...] = (
    (40, 30, 26),
    (84, 54, 34),
    (150, 100, 50),
    (216, 180, 110),
    (170, 76, 40),
    (150, 150, 150),
)

_SLEEVES, _SHORTS = 0.5, 0.3  # shares of people with sleeves to the wrist, and with shorts
_TRUNK, _UPPER_ARM, _FOREARM, _THIGH, _SHIN = 0.27, 0.155, 0.145, 0.225, 0.225
_SHOULDER_HALF, _HIP_HALF = (0.095, 0.052), (0.035, 0.02)  # (from the front, from the side): index with from_side


@dataclass(frozen=True, kw_only=True)
class Part:
    """A piece of the body: the convex hull of discs (x, y, radius), in one colour."""

    discs_N3: NDArray[np.float64]
    colour: Colour


@dataclass(frozen=True, kw_only=True)
class Figure:
    """A person's parts, from the farthest to the nearest."""

    groups: tuple[tuple[Part, ...], ...]
    """Parts of one group melt into each other, as thigh and shin do: the rim runs around the whole group."""

    @property
    def discs_N3(self) -> NDArray[np.float64]:
        """All discs (x, y, radius) of the body."""
        return np.concatenate([part.discs_N3 for group in self.groups for part in group])

    @property
    def box(self) -> tuple[float, float, float, float]:
        """The exact bounds (x0, y0, x1, y1): a hull reaches just as far as its discs."""
        discs = self.discs_N3
        low, high = discs[:, :2] - discs[:, 2:], discs[:, :2] + discs[:, 2:]
        return (*low.min(axis=0).tolist(), *high.max(axis=0).tolist())

    @property
    def footing(self) -> tuple[float, float]:
        """The left and right end of what is near the ground: there the shadow falls."""
        _, top, _, bottom = self.box
        discs = self.discs_N3
        low = discs[discs[:, 1] + discs[:, 2] > bottom - 0.1 * (bottom - top)]
        return float((low[:, 0] - low[:, 2]).min()), float((low[:, 0] + low[:, 2]).max())

    def mirrored(self) -> Figure:
        """Swap left and right."""
        return self._mapped(np.array([-1.0, 1.0, 1.0]), np.zeros(3))

    def placed(self, x0: float, y1: float, height: float) -> Figure:
        """Scale the person to a height, with the left end at ``x0`` and the lowest point at ``y1``."""
        left, top, _, bottom = self.box
        scale = height / (bottom - top)
        return self._mapped(np.full(3, scale), np.array([x0 - left * scale, y1 - bottom * scale, 0.0]))

    def draw(self, pen: Pen) -> None:
        """Paint every group with a dark rim and its light side up and left, which gives it volume."""
        for group in self.groups:
            for part in group:
                pen.hull(part.discs_N3, toned(part.colour, 0.66))
            for part in group:
                radius = part.discs_N3[:, 2:]
                pen.hull(np.hstack([part.discs_N3[:, :2] - 0.14 * radius, 0.76 * radius]), part.colour)

    def _mapped(self, scale_3: NDArray[np.float64], shift_3: NDArray[np.float64]) -> Figure:
        return Figure(
            groups=tuple(
                tuple(replace(part, discs_N3=part.discs_N3 * scale_3 + shift_3) for part in group)
                for group in self.groups
            )
        )


@dataclass(frozen=True, kw_only=True)
class Outfit:
    """The colours of a person."""

    skin: Colour
    hair: Colour
    shirt: Colour
    trousers: Colour
    shoes: Colour
    sleeves: bool
    """Whether the shirt covers the forearms."""
    shorts: bool


def random_outfit(rng: np.random.Generator) -> Outfit:
    """Draw skin, hair and clothes."""
    return Outfit(
        skin=varied(rng, _SKIN[rng.integers(len(_SKIN))], 8),
        hair=varied(rng, _HAIR[rng.integers(len(_HAIR))], 8),
        shirt=_cloth(rng, 0.6, 1.0),
        trousers=_cloth(rng, 0.3, 0.75),
        shoes=_cloth(rng, 0.2, 0.9),
        sleeves=bool(rng.random() < _SLEEVES),
        shorts=bool(rng.random() < _SHORTS),
    )


def random_figure(rng: np.random.Generator, action: str, *, jitter_deg: float = 5.0) -> Figure:
    """Draw one person in the pose of an action: random outfit and angles, facing either way, around the origin."""
    figure = build_figure(jittered(rng, POSES[action], jitter_deg), random_outfit(rng))
    return figure.mirrored() if rng.random() < 0.5 else figure  # noqa: PLR2004 - a coin


def build_figure(pose: Pose, outfit: Outfit) -> Figure:
    """Give the skeleton its body: hips at the origin."""
    up = _step(180.0 - pose.lean, 1.0)
    across = np.array([-up[1], up[0]])
    neck = _TRUNK * up
    side = int(pose.from_side)
    shoulder, hip = across * _SHOULDER_HALF[side], across * _HIP_HALF[side]
    trunk = Part(
        discs_N3=_discs(
            (neck - 0.8 * shoulder, 0.05),
            (neck + 0.8 * shoulder, 0.05),
            (0.2 * neck - hip, 0.06),
            (0.2 * neck + hip, 0.06),
        ),
        colour=outfit.shirt,
    )
    seat = Part(discs_N3=_discs((-hip, 0.066), (hip, 0.066)), colour=outfit.trousers)
    far_toe, near_toe, foot = (90, 90, 0.075) if pose.from_side else (-50, 50, 0.035)
    far_leg = _leg(-hip, pose.far_leg, outfit, toe=far_toe, foot=foot)
    near_leg = _leg(hip, pose.near_leg, outfit, toe=near_toe, foot=foot)
    far_arm, near_arm = _arm(neck - shoulder, pose.far_arm, outfit), _arm(neck + shoulder, pose.near_arm, outfit)
    if pose.from_side:
        far_leg, far_arm = _dimmed(far_leg), _dimmed(far_arm)
        return Figure(groups=(far_arm, far_leg, (*near_leg, seat), (trunk,), *_head(neck, pose, outfit), near_arm))
    return Figure(groups=((*far_leg, *near_leg, seat), (trunk,), *_head(neck, pose, outfit), far_arm, near_arm))


def _arm(shoulder: NDArray[np.float64], limb: Limb, outfit: Outfit) -> tuple[Part, ...]:
    elbow = shoulder + _step(limb[0], _UPPER_ARM)
    wrist = elbow + _step(limb[1], _FOREARM)
    return (
        Part(discs_N3=_discs((wrist + 0.1 * (wrist - elbow), 0.032)), colour=outfit.skin),
        Part(discs_N3=_discs((elbow, 0.032), (wrist, 0.026)), colour=outfit.shirt if outfit.sleeves else outfit.skin),
        Part(discs_N3=_discs((shoulder, 0.045), (elbow, 0.036)), colour=outfit.shirt),
    )


def _leg(hip: NDArray[np.float64], limb: Limb, outfit: Outfit, *, toe: float, foot: float) -> tuple[Part, ...]:
    """Build one leg; the foot, ``foot`` long, stands at the angle ``toe`` to the shin."""
    knee = hip + _step(limb[0], _THIGH)
    ankle = knee + _step(limb[1], _SHIN)
    tip = ankle + _step(limb[1] + toe, foot)
    return (
        Part(discs_N3=_discs((ankle, 0.036), (tip, 0.028)), colour=outfit.shoes),
        Part(discs_N3=_discs((knee, 0.044), (ankle, 0.03)), colour=outfit.skin if outfit.shorts else outfit.trousers),
        Part(discs_N3=_discs((hip, 0.062), (knee, 0.048)), colour=outfit.trousers),
    )


def _head(neck: NDArray[np.float64], pose: Pose, outfit: Outfit) -> tuple[tuple[Part, ...], ...]:
    """Neck, hair, face and eyes; the head follows half of the lean."""
    up = _step(180.0 - pose.lean / 2, 1.0)
    right = np.array([-up[1], up[0]])
    chin, crown = neck + 0.1 * up, neck + 0.15 * up
    ahead = (0.03 if pose.from_side else 0.0) * right
    face = Part(
        discs_N3=_discs((chin + 0.3 * ahead, 0.05), (crown - 0.03 * up + 0.3 * ahead, 0.062)), colour=outfit.skin
    )
    nose = Part(
        discs_N3=_discs((chin + 0.062 * right, 0.014), (chin + 0.05 * right + 0.02 * up, 0.014)), colour=outfit.skin
    )
    fringe = crown + 0.045 * up
    return (
        (Part(discs_N3=_discs((neck, 0.034), (chin, 0.03)), colour=toned(outfit.skin, 0.85)),),
        (Part(discs_N3=_discs((crown - ahead, 0.074)), colour=outfit.hair),),
        (nose, face) if pose.from_side else (face,),
        (
            Part(
                discs_N3=_discs(
                    (fringe - 0.05 * right, 0.024), (fringe + 0.05 * right, 0.024), (crown + 0.05 * up, 0.03)
                ),
                colour=outfit.hair,
            ),
        ),
        tuple(
            Part(discs_N3=_discs((chin + 0.025 * up + 0.055 * eye * right, 0.011)), colour=(20, 20, 25))
            for eye in ((0.6,) if pose.from_side else (-0.45, 0.45))
        ),
    )


def _discs(*centres_and_radii: tuple[NDArray[np.float64], float]) -> NDArray[np.float64]:
    return np.array([(*centre, radius) for centre, radius in centres_and_radii])


def _step(angle_deg: float, length: float) -> NDArray[np.float64]:
    """The way from one joint to the next."""
    angle = np.deg2rad(angle_deg)
    return length * np.array([np.sin(angle), np.cos(angle)])


def _dimmed(parts: tuple[Part, ...]) -> tuple[Part, ...]:
    """Put a far limb into the shade of the body."""
    return tuple(replace(part, colour=toned(part.colour, 0.78)) for part in parts)


def _cloth(rng: np.random.Generator, darkest: float, brightest: float) -> Colour:
    """Draw any hue, at a brightness (HSV value) within bounds."""
    red, green, blue = colorsys.hsv_to_rgb(rng.random(), rng.uniform(0.25, 0.9), rng.uniform(darkest, brightest))
    return 255 * red, 255 * green, 255 * blue
