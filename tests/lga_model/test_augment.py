"""Image and boxes move together."""

from __future__ import annotations

import numpy as np
import pytest

from lga_model.augment import random_matrix, warp_image
from lga_model.config import Augmentation

NOTHING = Augmentation(flip=False, rotation_deg=0.0, zoom_min=1.0, zoom_max=1.0)
IMAGE = np.random.default_rng(0).integers(0, 255, (40, 40, 3), np.uint8)


def test_nothing_changes_nothing():
    """
    Without any change drawn, every pixel keeps its value.
    """
    matrix = random_matrix(np.random.default_rng(1), NOTHING)

    assert np.array_equal(IMAGE, warp_image(IMAGE, matrix))


def test_a_flip_is_a_mirror():
    """
    A flip alone mirrors the columns exactly; over many draws half of the images are flipped.
    """
    flips = Augmentation(flip=True, rotation_deg=0.0, zoom_min=1.0, zoom_max=1.0)
    matrices = [random_matrix(np.random.default_rng(seed), flips) for seed in range(400)]
    flipped = [matrix for matrix in matrices if matrix[0, 0] < 0]

    assert np.array_equal(IMAGE[:, ::-1], warp_image(IMAGE, flipped[0]))
    assert 200 == pytest.approx(len(flipped), abs=40)


@pytest.mark.parametrize("seed", range(10))
def test_a_bright_square_moves_with_its_place(seed):
    """
    The centre of mass of a small square lands where the matrix sends its centre.
    """
    image = np.zeros((200, 200, 3), np.uint8)
    image[60:70, 110:120] = 255
    matrix = random_matrix(np.random.default_rng(seed), Augmentation(rotation_deg=30.0, zoom_min=0.7, zoom_max=1.4))
    y, x = np.nonzero(warp_image(image, matrix)[:, :, 0] > 127)
    expected = matrix @ [115 / 200, 65 / 200, 1]

    assert expected[:2] * 200 == pytest.approx([x.mean() + 0.5, y.mean() + 0.5], abs=0.5)


def test_the_draws_stay_in_their_ranges():
    """
    Rotation and zoom of many draws fill their ranges and never leave them.
    """
    matrices = [random_matrix(np.random.default_rng(seed), Augmentation(flip=False)) for seed in range(500)]
    zooms = [np.hypot(matrix[0, 0], matrix[1, 0]) for matrix in matrices]
    angles = [np.degrees(np.arctan2(matrix[1, 0], matrix[0, 0])) for matrix in matrices]

    assert (0.9, 1.1) == (pytest.approx(min(zooms), abs=0.01), pytest.approx(max(zooms), abs=0.01))
    assert (-10, 10) == (pytest.approx(min(angles), abs=0.5), pytest.approx(max(angles), abs=0.5))


def test_the_border_is_repeated():
    """
    A picture made smaller has no black rim.
    """
    grey = np.full((50, 50, 3), 100, np.uint8)
    smaller = Augmentation(flip=False, rotation_deg=10.0, zoom_min=0.5, zoom_max=0.5)

    assert np.array_equal(grey, warp_image(grey, random_matrix(np.random.default_rng(0), smaller)))
