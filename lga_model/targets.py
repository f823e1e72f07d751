"""Person boxes -> human mask on the feature grid: the target of the localisation branch.

Shape suffixes: N = boxes, H W = cells of the feature map. The unit square is the frame of an image whatever its size
in pixels: x to the right and y down, both in [0, 1].
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

if TYPE_CHECKING:
    from collections.abc import Sequence

    from lga_model.annotations import Box, Point


def human_mask(
    boxes_N4: NDArray[np.floating],
    width: int,
    height: int,
    grid_hw: tuple[int, int],
    matrix_33: NDArray[np.floating] | None = None,
) -> NDArray[np.float32]:
    """Mark every cell whose centre lies on a person.

    Exact under augmentation: the centre of each cell is sent back to the source image and tested there, so a rotated
    person gets a rotated mask and not the box around it. A person who covers no centre still marks the cell that
    holds the middle of the box, if that is in the frame: nobody is too small to be looked at.

    Args:
        boxes_N4: ``[x0, y0, x1, y1]`` in pixels of the source image, N may be 0. What sticks out of the image is
            ignored.
        width: Width of the source image in pixels.
        height: Height of the source image in pixels.
        grid_hw: Cells (h, w) of the feature map.
        matrix_33: How the augmentation moved the image: source unit square -> output unit square, homogeneous,
            invertible. None for an image that was not moved.

    Returns:
        Mask ``[H, W]``, float32: 1 on a person, 0 elsewhere, outside of the source image too.

    Raises:
        ValueError: If the boxes are not ``[N, 4]``.
    """
    mask_HW = np.zeros(grid_hw, dtype=np.float32)
    if boxes_N4.size == 0:
        return mask_HW
    if boxes_N4.ndim != 2 or boxes_N4.shape[1] != 4:  # noqa: PLR2004 -- N boxes of 4 numbers
        raise ValueError(f"boxes must be [N, 4]; got {list(boxes_N4.shape)}")
    forward_33: NDArray[np.float64] = np.eye(3) if matrix_33 is None else matrix_33.astype(np.float64)
    unit_N4 = np.clip(boxes_N4.astype(np.float64) / (width, height, width, height), 0, 1)
    unit_N4 = unit_N4[(unit_N4[:, 0] < unit_N4[:, 2]) & (unit_N4[:, 1] < unit_N4[:, 3])]

    inside_NHW = _contains(unit_N4, _move(np.linalg.inv(forward_33), _cell_centres(grid_hw)))
    mask_HW[inside_NHW.any(axis=0)] = 1
    unmarked_N = ~inside_NHW.any(axis=(1, 2))
    middles_N2 = _move(forward_33, (unit_N4[:, :2] + unit_N4[:, 2:]) / 2)[unmarked_N]
    visible_N2 = middles_N2[((middles_N2 >= 0) & (middles_N2 < 1)).all(axis=1)]
    columns, rows = (visible_N2 * grid_hw[::-1]).astype(int).T
    mask_HW[rows, columns] = 1
    return mask_HW


def box_around(joints: Sequence[Point], expansion: float = 0.5) -> Box | None:
    """Give the box of a person of whom only the joints are known: the tight one, expanded.

    Args:
        joints: ``(x, y)`` in pixels.
        expansion: How much longer each side becomes, half of it at either end; 50 % as in the paper.

    Returns:
        ``(x0, y0, x1, y1)`` in pixels, maybe reaching out of the image; None when the joints span no area.
    """
    if not joints:
        return None
    xs, ys = zip(*joints, strict=True)
    x_margin, y_margin = ((max(values) - min(values)) * expansion / 2 for values in (xs, ys))
    if not x_margin or not y_margin:
        return None
    return min(xs) - x_margin, min(ys) - y_margin, max(xs) + x_margin, max(ys) + y_margin


def _cell_centres(grid_hw: tuple[int, int]) -> NDArray[np.float64]:
    """Give the (x, y) of the middle of every cell, ``[H, W, 2]``, in the unit square."""
    h, w = grid_hw
    y_HW, x_HW = np.meshgrid((np.arange(h) + 0.5) / h, (np.arange(w) + 0.5) / w, indexing="ij")
    return np.stack([x_HW, y_HW], axis=-1)


def _move(matrix_33: NDArray[np.floating], points_2: NDArray[np.floating]) -> NDArray[np.float64]:
    """Apply a homogeneous matrix to points ``[..., 2]``."""
    moved_3 = points_2 @ matrix_33[:, :2].T + matrix_33[:, 2]
    moved_2: NDArray[np.float64] = moved_3[..., :2] / moved_3[..., 2:]
    return moved_2


def _contains(boxes_N4: NDArray[np.float64], points_HW2: NDArray[np.float64]) -> NDArray[np.bool_]:
    """Tell which box holds which point, ``[N, H, W]``; the left and upper edges belong to a box, the others do not."""
    x0, y0, x1, y1 = boxes_N4.T[:, :, None, None]
    x_HW, y_HW = np.moveaxis(points_HW2, -1, 0)
    inside: NDArray[np.bool_] = (x0 <= x_HW) & (x_HW < x1) & (y0 <= y_HW) & (y_HW < y1)
    return inside
