"""The poses of rendered people: one for each action, as the angles of their joints.

Angles are in degrees, 0 hangs down, 90 points to the right of the picture, 180 up. A person seen from the side faces
right.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np

Limb = tuple[float, float]
"""Angles of the upper and of the lower half of an arm or a leg."""


@dataclass(frozen=True, kw_only=True)
class Pose:
    """What the body does. Seen from the front, ``far`` is the limb on the left of the picture."""

    far_arm: Limb
    near_arm: Limb
    far_leg: Limb = (-7, -5)
    near_leg: Limb = (7, 5)
    lean: float = 0.0
    """Angle of the trunk from upright, positive to the right."""
    from_side: bool = False
    tallest: float = 0.64
    """Largest height in the picture; low poses are wide, so they stay smaller."""


POSES = {
    "arms_up": Pose(far_arm=(-155, -172), near_arm=(155, 172)),
    "crouching": Pose(
        far_arm=(48, 72),
        near_arm=(32, 66),
        far_leg=(112, -32),
        near_leg=(98, -38),
        lean=32,
        from_side=True,
        tallest=0.5,
    ),
    "kicking": Pose(
        far_arm=(62, 80), near_arm=(-58, -40), far_leg=(-8, -12), near_leg=(82, 78), lean=-14, from_side=True
    ),
    "pointing": Pose(far_arm=(-10, -4), near_arm=(91, 90)),
    "running": Pose(
        far_arm=(52, 128), near_arm=(-58, 28), far_leg=(-22, -42), near_leg=(84, -18), lean=14, from_side=True
    ),
    "sitting": Pose(
        far_arm=(-26, -20),
        near_arm=(-34, -26),
        far_leg=(118, 62),
        near_leg=(90, 88),
        lean=-10,
        from_side=True,
        tallest=0.5,
    ),
    "t_pose": Pose(far_arm=(-90, -90), near_arm=(90, 90)),
    "waving": Pose(far_arm=(-12, -6), near_arm=(116, 180)),
}
"""The pose of every action, before its angles are jittered."""


def jittered(rng: np.random.Generator, pose: Pose, jitter_deg: float) -> Pose:
    """Move every joint a little: normal noise, cut at two standard deviations."""
    lean, *limbs = np.clip(rng.normal(0, jitter_deg, 9), -2 * jitter_deg, 2 * jitter_deg).tolist()
    return replace(
        pose,
        lean=pose.lean + lean / 2,
        far_arm=(pose.far_arm[0] + limbs[0], pose.far_arm[1] + limbs[1]),
        near_arm=(pose.near_arm[0] + limbs[2], pose.near_arm[1] + limbs[3]),
        far_leg=(pose.far_leg[0] + limbs[4] / 2, pose.far_leg[1] + limbs[5] / 2),
        near_leg=(pose.near_leg[0] + limbs[6] / 2, pose.near_leg[1] + limbs[7] / 2),
    )
