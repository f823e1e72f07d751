"""Random changes that move a photograph and its boxes together.

A change is one 3x3 matrix from the source's unit square (x to the right, y down, both in [0, 1]) to the output's. The
image is warped with it once; ``targets.human_mask`` sends the cells of the mask back through its inverse.
"""

from __future__ import annotations

import cv2
import numpy as np
from numpy.typing import NDArray

from lga_model.config import Augmentation

Matrix = NDArray[np.float64]


def random_matrix(rng: np.random.Generator, augmentation: Augmentation) -> Matrix:
    """Draw a flip, a rotation about the centre and a zoom.

    Always takes the same number of draws, so that one switch does not change the others' luck.

    Returns:
        ``[3, 3]``, float64, source unit square to output unit square.
    """
    flip = rng.random() < 0.5 and augmentation.flip  # noqa: PLR2004 - half of the images
    angle = np.deg2rad(rng.uniform(-augmentation.rotation_deg, augmentation.rotation_deg))
    zoom = rng.uniform(augmentation.zoom_min, augmentation.zoom_max)
    cos, sin = zoom * np.cos(angle), zoom * np.sin(angle)
    mirror = -1.0 if flip else 1.0
    around_centre = np.array([[cos * mirror, -sin, 0.0], [sin * mirror, cos, 0.0], [0.0, 0.0, 1.0]])
    to_centre = np.array([[1.0, 0.0, -0.5], [0.0, 1.0, -0.5], [0.0, 0.0, 1.0]])
    back = np.array([[1.0, 0.0, 0.5], [0.0, 1.0, 0.5], [0.0, 0.0, 1.0]])
    return np.asarray(back @ around_centre @ to_centre)


def warp_image(pixels_HWC: NDArray[np.uint8], matrix_33: Matrix) -> NDArray[np.uint8]:
    """Move an image by a matrix; where nothing comes from, the border pixels are repeated.

    Args:
        pixels_HWC: ``[H, W, 3]``, uint8.
        matrix_33: Source unit square to output unit square.

    Returns:
        ``[H, W, 3]``, uint8. The identity and a pure flip change no value.
    """
    height, width = pixels_HWC.shape[:2]
    # OpenCV counts pixel centres from 0; the unit square counts their edges. Hence the half pixel.
    to_unit = np.array([[1 / width, 0, 0.5 / width], [0, 1 / height, 0.5 / height], [0, 0, 1]])
    in_pixels = np.linalg.inv(to_unit) @ matrix_33 @ to_unit
    warped = cv2.warpAffine(
        pixels_HWC, in_pixels[:2], (width, height), flags=cv2.INTER_LINEAR, borderMode=cv2.BORDER_REPLICATE
    )
    return np.asarray(warped, dtype=np.uint8)
